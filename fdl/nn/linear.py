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


class Bilinear(Module):
    r"""Maps pairs of vectors by :math:`y_o = x_1^\top W_o x_2 + b_o`.

    Attributes:
        weight: ``(out_features, in1_features, in2_features)``.
        bias: ``(out_features,)``, or None.

    Raises:
        ValueError: if `in1_features` is 0.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.Bilinear(3, 2, 5, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((4, 3)), jnp.ones((4, 2))).shape
        (4, 5)

    Torch: ``torch.nn.Bilinear``; `rngs` instead of a global generator.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        if in1_features < 1:
            raise ValueError(f"Bilinear: in1_features: expected at least 1, got {in1_features}.")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        draw = init.uniform(init.default_bound(in1_features))
        self.weight = parameter(rngs.params(), draw, shape, dtype)
        self.bias = parameter(rngs.params(), draw, (out_features,), dtype) if bias else None

    def __call__(
        self, input1: Float[Array, "*batch I1"], input2: Float[Array, "*batch I2"]
    ) -> Float[Array, "*batch O"]:
        """Maps features ``(I1, I2) -> O``."""
        return F.bilinear(input1, input2, self.weight[...], value_or_none(self.bias))
