"""Layers of softmax and its kin."""

from jaxtyping import Array, Float

import fdl.functional as F
from fdl._checks import check_ndim
from fdl.nn._module import Module

Elements = Float[Array, "*shape"]


class Softmax(Module):
    """Makes elements positive with sum 1 along `dim`; see :func:`fdl.functional.softmax`.

    Raises:
        ValueError: if the input has no axis `dim`, when called.

    Torch: ``torch.nn.Softmax``; no deviation.
    """

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def __call__(self, input: Elements) -> Elements:
        """Normalises along `dim`."""
        return F.softmax(input, self.dim)


class Softmin(Module):
    """Softmax of the negated input; see :func:`fdl.functional.softmin`.

    Torch: ``torch.nn.Softmin``; no deviation.
    """

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def __call__(self, input: Elements) -> Elements:
        """Normalises along `dim`."""
        return F.softmin(input, self.dim)


class LogSoftmax(Module):
    """The logarithm of softmax; see :func:`fdl.functional.log_softmax`.

    Torch: ``torch.nn.LogSoftmax``; no deviation.
    """

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def __call__(self, input: Elements) -> Elements:
        """Normalises along `dim`."""
        return F.log_softmax(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of an image.

    Raises:
        ValueError: if the input has neither 3 nor 4 axes, when called.

    Torch: ``torch.nn.Softmax2d``; no deviation.
    """

    def __call__(self, input: Float[Array, "*N C H W"]) -> Float[Array, "*N C H W"]:
        """Normalises over the channels of each pixel."""
        check_ndim("Softmax2d", "input", input, expected={4: "(N, C, H, W)", 3: "(C, H, W)"})
        return F.softmax(input, -3)
