"""Dropout layers."""

from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.nn._module import Module, draw_key, forked_stream


class Dropout(Module):
    """Zeroes elements at random in training; see :func:`fdl.functional.dropout`.

    Raises:
        ValueError: if `p` is outside 0 to 1.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.Dropout(0.5, rngs=nnx.Rngs(0))
        >>> layer.eval()
        >>> layer(jnp.ones(3)).tolist()
        [1.0, 1.0, 1.0]

    Torch: ``torch.nn.Dropout``; `rngs` instead of a global generator, no `inplace`.
    """

    def __init__(self, p: float = 0.5, *, rngs: nnx.Rngs):
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p: expected a probability from 0 to 1, got {p}.")
        self.p = p
        self.stream = forked_stream(rngs, p)

    def __call__(self, input: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Drops elements in training, is the identity in evaluation."""
        return F.dropout(input, self.p, self.training, key=draw_key(self.stream, self.training))
