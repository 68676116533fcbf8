"""Pooling layers that are given their output's size."""

from typing import Any

from jaxtyping import Array, Float

import fdl.functional as F
from fdl.functional._spatial import static
from fdl.functional.adaptive_pool import OutputSize
from fdl.nn._module import Module


class _AdaptiveAvgPool(Module):
    def __init__(self, output_size: OutputSize):
        self.output_size = static(output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Averages down to a length; see :func:`fdl.functional.adaptive_avg_pool2d`.

    Torch: ``torch.nn.AdaptiveAvgPool1d``; floats only.
    """

    def __call__(self, input: Float[Array, "*N C L"]) -> Float[Array, "*N C L2"]:
        """Maps sequences ``(N, C, L)``, or one sequence ``(C, L)``."""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Averages down to a size; see :func:`fdl.functional.adaptive_avg_pool2d`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.AdaptiveAvgPool2d((7, None))(jnp.ones((8, 3, 32, 32))).shape
        (8, 3, 7, 32)

    Torch: ``torch.nn.AdaptiveAvgPool2d``; floats only.
    """

    def __call__(self, input: Float[Array, "*N C H W"]) -> Float[Array, "*N C H2 W2"]:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Averages down to a size; see :func:`fdl.functional.adaptive_avg_pool2d`.

    Torch: ``torch.nn.AdaptiveAvgPool3d``; floats only.
    """

    def __call__(self, input: Float[Array, "*N C D H W"]) -> Float[Array, "*N C D2 H2 W2"]:
        """Maps volumes ``(N, C, D, H, W)``, or one volume ``(C, D, H, W)``."""
        return F.adaptive_avg_pool3d(input, self.output_size)


class _AdaptiveMaxPool(Module):
    def __init__(self, output_size: OutputSize, return_indices: bool = False):
        self.output_size = static(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Takes maxima down to a length; see :func:`fdl.functional.adaptive_max_pool2d`.

    Torch: ``torch.nn.AdaptiveMaxPool1d``; indices are int32.
    """

    def __call__(self, input: Float[Array, "*N C L"]) -> Any:
        """Maps sequences ``(N, C, L)``, or one sequence ``(C, L)``."""
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Takes maxima down to a size; see :func:`fdl.functional.adaptive_max_pool2d`.

    Torch: ``torch.nn.AdaptiveMaxPool2d``; indices are int32.
    """

    def __call__(self, input: Float[Array, "*N C H W"]) -> Any:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Takes maxima down to a size; see :func:`fdl.functional.adaptive_max_pool2d`.

    Torch: ``torch.nn.AdaptiveMaxPool3d``; indices are int32.
    """

    def __call__(self, input: Float[Array, "*N C D H W"]) -> Any:
        """Maps volumes ``(N, C, D, H, W)``, or one volume ``(C, D, H, W)``."""
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)
