"""Maximum pooling layers and their partial inverse."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Array, Float, Int

import fdl.functional as F
from fdl.functional._spatial import Size, per_axis, static
from fdl.nn._module import Module


class _MaxPool(Module):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        self.kernel_size = static(kernel_size)
        self.stride = self.kernel_size if stride is None else static(stride)
        self.padding = static(padding)
        self.dilation = static(dilation)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _options(self) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        return {name: getattr(self, name) for name in names}


class MaxPool1d(_MaxPool):
    """Takes the maximum over sliding windows; see :func:`fdl.functional.max_pool2d`.

    Torch: ``torch.nn.MaxPool1d``; indices are int32.
    """

    def __call__(self, input: Float[Array, "*N C L"]) -> Any:
        """Maps sequences ``(N, C, L)``, or one sequence ``(C, L)``."""
        return F.max_pool1d(input, **self._options())


class MaxPool2d(_MaxPool):
    """Takes the maximum over sliding windows; see :func:`fdl.functional.max_pool2d`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.MaxPool2d(kernel_size=2)(jnp.ones((8, 3, 32, 32))).shape
        (8, 3, 16, 16)

    Torch: ``torch.nn.MaxPool2d``; indices are int32.
    """

    def __call__(self, input: Float[Array, "*N C H W"]) -> Any:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        return F.max_pool2d(input, **self._options())


class MaxPool3d(_MaxPool):
    """Takes the maximum over sliding windows; see :func:`fdl.functional.max_pool2d`.

    Torch: ``torch.nn.MaxPool3d``; indices are int32.
    """

    def __call__(self, input: Float[Array, "*N C D H W"]) -> Any:
        """Maps volumes ``(N, C, D, H, W)``, or one volume ``(C, D, H, W)``."""
        return F.max_pool3d(input, **self._options())


class _MaxUnpool(Module):
    _dims: int

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0):
        name = type(self).__name__
        step = kernel_size if stride is None else stride
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self._dims)
        self.stride = per_axis(name, "stride", step, self._dims)
        self.padding = per_axis(name, "padding", padding, self._dims)


class MaxUnpool1d(_MaxUnpool):
    """Puts maxima back to their places; see :func:`fdl.functional.max_unpool2d`.

    Torch: ``torch.nn.MaxUnpool1d``; indices may be of any integer dtype.
    """

    _dims = 1

    def __call__(
        self,
        input: Float[Array, "*N C L"],
        indices: Int[Array, "*N C L"],
        output_size: Sequence[int] | None = None,
    ) -> Float[Array, "*N C L2"]:
        """Maps maxima ``(N, C, L)``, or those of one sequence ``(C, L)``."""
        return F.max_unpool1d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class MaxUnpool2d(_MaxUnpool):
    """Puts maxima back to their places; see :func:`fdl.functional.max_unpool2d`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> output, indices = fdl.nn.MaxPool2d(2, return_indices=True)(jnp.ones((8, 3, 5, 5)))
        >>> fdl.nn.MaxUnpool2d(2)(output, indices, output_size=(5, 5)).shape
        (8, 3, 5, 5)

    Torch: ``torch.nn.MaxUnpool2d``; indices may be of any integer dtype.
    """

    _dims = 2

    def __call__(
        self,
        input: Float[Array, "*N C H W"],
        indices: Int[Array, "*N C H W"],
        output_size: Sequence[int] | None = None,
    ) -> Float[Array, "*N C H2 W2"]:
        """Maps maxima ``(N, C, H, W)``, or those of one image ``(C, H, W)``."""
        return F.max_unpool2d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


class MaxUnpool3d(_MaxUnpool):
    """Puts maxima back to their places; see :func:`fdl.functional.max_unpool2d`.

    Torch: ``torch.nn.MaxUnpool3d``; indices may be of any integer dtype.
    """

    _dims = 3

    def __call__(
        self,
        input: Float[Array, "*N C D H W"],
        indices: Int[Array, "*N C D H W"],
        output_size: Sequence[int] | None = None,
    ) -> Float[Array, "*N C D2 H2 W2"]:
        """Maps maxima ``(N, C, D, H, W)``, or those of one volume ``(C, D, H, W)``."""
        return F.max_unpool3d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )
