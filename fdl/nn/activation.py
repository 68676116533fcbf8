"""Activation layers."""

from jaxtyping import Array, Float

import fdl.functional as F
from fdl.nn._module import Module


class ReLU(Module):
    r"""Computes :math:`\max(x, 0)`.

    Torch: ``torch.nn.ReLU``; nothing happens in place, so there is no `inplace`.
    """

    def __call__(self, input: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Maps each element."""
        return F.relu(input)


class Sigmoid(Module):
    r"""Computes :math:`1 / (1 + e^{-x})`.

    Torch: ``torch.nn.Sigmoid``; no deviation.
    """

    def __call__(self, input: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Maps each element."""
        return F.sigmoid(input)


class Tanh(Module):
    r"""Computes the hyperbolic tangent.

    Torch: ``torch.nn.Tanh``; no deviation.
    """

    def __call__(self, input: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Maps each element."""
        return F.tanh(input)
