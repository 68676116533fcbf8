"""Affine layers."""

from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.nn import init
from fdl.nn._module import Dtype, Module, parameter, value_or_none


class Linear(Module):
    r"""Applies :math:`y = x W^\top + b` to the last axis.

    Attributes:
        weight: ``(out_features, in_features)``.
        bias: ``(out_features,)``, or None.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> fdl.nn.Linear(3, 2, rngs=nnx.Rngs(0))(jnp.ones((4, 3))).shape
        (4, 2)

    Torch: ``torch.nn.Linear``; `rngs` instead of a global generator.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        self.in_features = in_features
        self.out_features = out_features
        draw = init.uniform(init.default_bound(in_features))
        self.weight = parameter(rngs.params(), draw, (out_features, in_features), dtype)
        self.bias = parameter(rngs.params(), draw, (out_features,), dtype) if bias else None

    def __call__(self, input: Float[Array, "*batch I"]) -> Float[Array, "*batch O"]:
        """Maps features ``I -> O``."""
        return F.linear(input, self.weight[...], value_or_none(self.bias))
