"""Containers."""

from typing import Any

from flax import nnx

from fdl.nn._module import Module


class Sequential(Module):
    """Applies layers one after another; their names are ``"0"``, ``"1"``, ... as in torch.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> rngs = nnx.Rngs(0)
        >>> net = fdl.nn.Sequential(fdl.nn.Linear(3, 4, rngs=rngs), fdl.nn.ReLU())
        >>> net(jnp.ones((2, 3))).shape, len(net)
        ((2, 4), 2)

    Torch: ``torch.nn.Sequential``; positional layers only.
    """

    def __init__(self, *layers: nnx.Module):
        self.length = len(layers)
        for index, layer in enumerate(layers):
            setattr(self, str(index), layer)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> nnx.Module:
        return getattr(self, str(range(self.length)[index]))

    def __call__(self, input: Any) -> Any:
        """Feeds `input` through every layer in order."""
        output = input
        for index in range(self.length):
            output = self[index](output)
        return output
