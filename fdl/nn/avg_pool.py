"""Average and power-mean pooling layers."""

from typing import Any

from jaxtyping import Array, Float

import fdl.functional as F
from fdl.functional._spatial import Size, static
from fdl.nn._module import Module


class AvgPool1d(Module):
    """Averages sliding windows; see :func:`fdl.functional.avg_pool2d`.

    Torch: ``torch.nn.AvgPool1d``; floats only.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        self.kernel_size = static(kernel_size)
        self.stride = self.kernel_size if stride is None else static(stride)
        self.padding = static(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def __call__(self, input: Float[Array, "*N C L"]) -> Float[Array, "*N C L2"]:
        """Maps sequences ``(N, C, L)``, or one sequence ``(C, L)``."""
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )


class _AvgPool(Module):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ):
        self.kernel_size = static(kernel_size)
        self.stride = self.kernel_size if stride is None else static(stride)
        self.padding = static(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def _options(self) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
        return {name: getattr(self, name) for name in (*names, "divisor_override")}


class AvgPool2d(_AvgPool):
    """Averages sliding windows; see :func:`fdl.functional.avg_pool2d`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.AvgPool2d(kernel_size=2)(jnp.ones((8, 3, 32, 32))).shape
        (8, 3, 16, 16)

    Torch: ``torch.nn.AvgPool2d``; floats only.
    """

    def __call__(self, input: Float[Array, "*N C H W"]) -> Float[Array, "*N C H2 W2"]:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        return F.avg_pool2d(input, **self._options())


class AvgPool3d(_AvgPool):
    """Averages sliding windows; see :func:`fdl.functional.avg_pool2d`.

    Torch: ``torch.nn.AvgPool3d``; floats only; a window may be larger than the input.
    """

    def __call__(self, input: Float[Array, "*N C D H W"]) -> Float[Array, "*N C D2 H2 W2"]:
        """Maps volumes ``(N, C, D, H, W)``, or one volume ``(C, D, H, W)``."""
        return F.avg_pool3d(input, **self._options())


class _LPPool(Module):
    def __init__(
        self,
        norm_type: float,
        kernel_size: Size,
        stride: Size | None = None,
        ceil_mode: bool = False,
    ):
        self.norm_type = norm_type
        self.kernel_size = static(kernel_size)
        self.stride = None if stride is None else static(stride)
        self.ceil_mode = ceil_mode


class LPPool1d(_LPPool):
    """Takes a power mean's root over sliding windows; see :func:`fdl.functional.lp_pool2d`.

    Torch: ``torch.nn.LPPool1d``; no deviation.
    """

    def __call__(self, input: Float[Array, "*N C L"]) -> Float[Array, "*N C L2"]:
        """Maps sequences ``(N, C, L)``, or one sequence ``(C, L)``."""
        return F.lp_pool1d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPool):
    """Takes a power mean's root over sliding windows; see :func:`fdl.functional.lp_pool2d`.

    Torch: ``torch.nn.LPPool2d``; no deviation.
    """

    def __call__(self, input: Float[Array, "*N C H W"]) -> Float[Array, "*N C H2 W2"]:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        return F.lp_pool2d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)


class LPPool3d(_LPPool):
    """Takes a power mean's root over sliding windows; see :func:`fdl.functional.lp_pool2d`.

    Torch: ``torch.nn.LPPool3d``; a window may be larger than the input.
    """

    def __call__(self, input: Float[Array, "*N C D H W"]) -> Float[Array, "*N C D2 H2 W2"]:
        """Maps volumes ``(N, C, D, H, W)``, or one volume ``(C, D, H, W)``."""
        return F.lp_pool3d(input, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)
