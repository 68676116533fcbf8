"""Maximum pooling, with torch's rule at ties: the first of a window's maxima has the gradient."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from fdl.functional._spatial import Size
from fdl.functional._windows import (
    Windows,
    first_larger,
    lowest,
    pixels,
    taken,
    windows_over,
)

_FEW = 16
"""Windows of more pixels are gathered: selecting them pixel by pixel compiles slowly."""


def max_pool1d(
    input: Float[Array, "*N C L"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Float[Array, "*N C L2"] | tuple[Float[Array, "*N C L2"], Int[Array, "*N C L2"]]:
    """Takes the maximum over windows of ``(N, C, L)`` or ``(C, L)``; see :func:`max_pool2d`.

    Torch: ``torch.nn.functional.max_pool1d``; indices are int32.
    """
    windows = windows_over(
        "max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode, dims=1
    )
    output, indices = _maximum(input, windows)
    return (output, indices) if return_indices else output


def max_pool2d(
    input: Float[Array, "*N C H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Float[Array, "*N C H2 W2"] | tuple[Float[Array, "*N C H2 W2"], Int[Array, "*N C H2 W2"]]:
    r"""Takes the maximum over sliding windows.

    :math:`H_2 = \lfloor (H + 2\,pad - dilation\,(k - 1) - 1) / stride \rfloor + 1`, rounded up with
    `ceil_mode`, save that no window starts in the high padding.

    Args:
        input: ``(N, C, H, W)``, or one image ``(C, H, W)``.
        kernel_size: window, in pixels: one number, or (height, width).
        stride: step of the window; `kernel_size` if None.
        padding: pixels of minus infinity on both sides, at most half the window.
        dilation: distance between the window's pixels.
        ceil_mode: keep a last window that hangs over the edge.
        return_indices: also return where each maximum is, as ``row * W + column``.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image; with `return_indices` a pair of such.
        NaN wins over every number.

    Raises:
        ValueError: if shape, window or padding do not fit.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.max_pool2d(jnp.arange(16.0).reshape(1, 1, 4, 4), 2).tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]

    Torch: ``torch.nn.functional.max_pool2d``; indices are int32.
    """
    windows = windows_over(
        "max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode, dims=2
    )
    output, indices = _maximum(input, windows)
    return (output, indices) if return_indices else output


def max_pool3d(
    input: Float[Array, "*N C D H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> (
    Float[Array, "*N C D2 H2 W2"]
    | tuple[Float[Array, "*N C D2 H2 W2"], Int[Array, "*N C D2 H2 W2"]]
):
    """Takes the maximum over windows of ``(N, C, D, H, W)`` or ``(C, D, H, W)``.

    As :func:`max_pool2d`; an index is ``(slice * H + row) * W + column``.

    Torch: ``torch.nn.functional.max_pool3d``; indices are int32.
    """
    windows = windows_over(
        "max_pool3d", input, kernel_size, stride, padding, dilation, ceil_mode, dims=3
    )
    output, indices = _maximum(input, windows)
    return (output, indices) if return_indices else output


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _maximum(input: jax.Array, windows: Windows) -> tuple[jax.Array, jax.Array]:
    """Returns the maxima and their flat pixel numbers, in one reduction.

    The numbers decide where gradients go. Comparing again in the backward pass would not do: XLA
    may compute the input anew there and round it differently, and equal neighbours, as in the
    background of an image, would no longer tie.
    """
    dims = len(windows.size)
    lead = (1,) * (input.ndim - dims)
    outside = jnp.array(math.prod(windows.size), jnp.int32)
    return lax.reduce_window(
        (input, pixels(input.shape, dims)),
        (jnp.array(lowest(input.dtype), input.dtype), outside),
        first_larger,
        window_dimensions=lead + windows.kernel,
        window_strides=lead + windows.step,
        padding=windows.edges(len(lead)),
        window_dilation=lead + windows.gap,
    )


@_maximum.defjvp
def _maximum_jvp(windows, primals, tangents):
    (primal,), (tangent,) = primals, tangents
    output, indices = _maximum(primal, windows)
    if math.prod(windows.kernel) > _FEW:
        moved = taken(tangent, indices, len(windows.size))
    else:
        taps = zip(_slices(tangent, windows), _places(windows), strict=True)
        moved = sum(jnp.where(indices == place, tap, jnp.zeros_like(tap)) for tap, place in taps)
    return (output, indices), (moved, np.zeros(indices.shape, jax.dtypes.float0))


def _slices(input: jax.Array, windows: Windows) -> list[jax.Array]:
    """The first pixel of every window, the second of every window, and so on; 0 outside."""
    edges = windows.edges(input.ndim - len(windows.size))
    padded = lax.pad(input, jnp.zeros((), input.dtype), [(low, high, 0) for low, high in edges])
    along = [((n - 1) * s + 1, s) for n, s in zip(windows.count, windows.step, strict=True)]
    return [
        padded[(..., *(slice(t, t + n, s) for t, (n, s) in zip(tap, along, strict=True)))]
        for tap in windows.taps()
    ]


def _places(windows: Windows) -> list[np.ndarray]:
    """The flat pixel numbers that :func:`_slices` takes, in the same order."""

    def place(tap: tuple[int, ...]) -> np.ndarray:
        flat = np.zeros((), np.int32)
        for axis, (length, offset) in enumerate(zip(windows.size, tap, strict=True)):
            flat = flat[..., None] * length + windows.starts(axis) + offset
        return flat.astype(np.int32)

    return [place(tap) for tap in windows.taps()]
