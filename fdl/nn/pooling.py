"""Pooling layers."""

from typing import Any

from jaxtyping import Array, Float

import fdl.functional as F
from fdl.functional._spatial import Size
from fdl.nn._module import Module


class MaxPool2d(Module):
    """Takes the maximum over sliding windows; see :func:`fdl.functional.max_pool2d`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.MaxPool2d(kernel_size=2)(jnp.ones((8, 3, 32, 32))).shape
        (8, 3, 16, 16)

    Torch: ``torch.nn.MaxPool2d``; no deviation.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def __call__(self, input: Float[Array, "*N C H W"]) -> Any:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )
