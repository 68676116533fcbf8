"""Layers that turn windows into columns and back."""

from jaxtyping import Array, Float

import fdl.functional as F
from fdl.functional._spatial import Size
from fdl.nn._module import Module


class Unfold(Module):
    """Writes every window of an image as a column; see :func:`fdl.functional.unfold`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.Unfold(kernel_size=4, stride=4)(jnp.ones((8, 3, 32, 32))).shape
        (8, 48, 64)

    Torch: ``torch.nn.Unfold``; no deviation.
    """

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1):
        self.kernel_size = _hashable(kernel_size)
        self.dilation = _hashable(dilation)
        self.padding = _hashable(padding)
        self.stride = _hashable(stride)

    def __call__(self, input: Float[Array, "*N C H W"]) -> Float[Array, "*N CKK L"]:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(Module):
    """Sums columns into the windows of an image; see :func:`fdl.functional.fold`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.Fold(output_size=32, kernel_size=4, stride=4)(jnp.ones((8, 48, 64))).shape
        (8, 3, 32, 32)

    Torch: ``torch.nn.Fold``; no deviation.
    """

    def __init__(
        self,
        output_size: Size,
        kernel_size: Size,
        dilation: Size = 1,
        padding: Size = 0,
        stride: Size = 1,
    ):
        self.output_size = _hashable(output_size)
        self.kernel_size = _hashable(kernel_size)
        self.dilation = _hashable(dilation)
        self.padding = _hashable(padding)
        self.stride = _hashable(stride)

    def __call__(self, input: Float[Array, "*N CKK L"]) -> Float[Array, "*N C H W"]:
        """Maps columns ``(N, C * KH * KW, L)``, or those of one image."""
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )


def _hashable(size: Size) -> int | tuple[int, ...]:
    return size if isinstance(size, int) else tuple(size)
