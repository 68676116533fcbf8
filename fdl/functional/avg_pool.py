"""Average pooling over sliding windows."""

import jax
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fdl.functional._spatial import Size
from fdl.functional._windows import Windows, check_floating, divided, windows_over


def avg_pool1d(
    input: Float[Array, "*N C L"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "*N C L2"]:
    """Averages windows of ``(N, C, L)`` or ``(C, L)``; see :func:`avg_pool2d`.

    Torch: ``torch.nn.functional.avg_pool1d``; floats only.
    """
    windows = windows_over("avg_pool1d", input, kernel_size, stride, padding, 1, ceil_mode, dims=1)
    return _averages("avg_pool1d", input, windows, count_include_pad, None)


def avg_pool2d(
    input: Float[Array, "*N C H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Float[Array, "*N C H2 W2"]:
    r"""Averages sliding windows.

    :math:`H_2 = \lfloor (H + 2\,pad - k) / stride \rfloor + 1`, rounded up with `ceil_mode`, save
    that no window starts in the high padding. What hangs over the padded edge never counts.

    Args:
        input: ``(N, C, H, W)``, or one image ``(C, H, W)``.
        kernel_size: window, in pixels: one number, or (height, width).
        stride: step of the window; `kernel_size` if None.
        padding: zeros on both sides, at most half the window.
        ceil_mode: keep a last window that hangs over the edge.
        count_include_pad: whether padding counts in the number that a sum is divided by.
        divisor_override: divide by this number instead.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image.

    Raises:
        ValueError: if shape, window, padding or divisor do not fit.
        TypeError: if the input is not floating.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.avg_pool2d(jnp.arange(16.0).reshape(1, 1, 4, 4), 2).tolist()
        [[[[2.5, 4.5], [10.5, 12.5]]]]

    Torch: ``torch.nn.functional.avg_pool2d``; floats only.
    """
    windows = windows_over("avg_pool2d", input, kernel_size, stride, padding, 1, ceil_mode, dims=2)
    return _averages("avg_pool2d", input, windows, count_include_pad, divisor_override)


def avg_pool3d(
    input: Float[Array, "*N C D H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Float[Array, "*N C D2 H2 W2"]:
    """Averages windows of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see :func:`avg_pool2d`.

    Torch: ``torch.nn.functional.avg_pool3d``; floats only; a window may be larger than the input.
    """
    windows = windows_over("avg_pool3d", input, kernel_size, stride, padding, 1, ceil_mode, dims=3)
    return _averages("avg_pool3d", input, windows, count_include_pad, divisor_override)


def _averages(
    function: str,
    input: jax.Array,
    windows: Windows,
    count_include_pad: bool,
    divisor_override: int | None,
) -> jax.Array:
    check_floating(function, input)
    if divisor_override == 0:
        raise ValueError(f"{function}: divisor_override: expected a number but 0, or None, got 0.")
    lead = (1,) * (input.ndim - len(windows.size))
    total = lax.reduce_window(
        input,
        np.zeros((), input.dtype),  # only with a known start can JAX differentiate a sum
        lax.add,
        window_dimensions=lead + windows.kernel,
        window_strides=lead + windows.step,
        padding=windows.edges(len(lead)),
    )
    if divisor_override is not None:
        return total / divisor_override
    return divided(total, _counted(windows, count_include_pad))


def _counted(windows: Windows, count_include_pad: bool) -> list[np.ndarray]:
    """How many pixels of each window count, for each axis."""
    counted = []
    for axis, (length, kernel, pad) in enumerate(
        zip(windows.size, windows.kernel, windows.pad, strict=True)
    ):
        edge = pad if count_include_pad else 0
        starts = windows.starts(axis)
        counted.append(np.minimum(starts + kernel, length + edge) - np.maximum(starts, -edge))
    return counted
