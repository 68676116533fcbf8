"""Sliding windows as columns, and columns summed back into images."""

from functools import partial
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_ndim
from fdl.functional._spatial import Size, layouts, per_axis, positive_per_axis

_Windows = tuple[tuple[int, ...], ...]
"""kernel_size, dilation, padding and stride, each for (height, width)."""


def unfold(
    input: Float[Array, "*N C H W"],
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Float[Array, "*N CKK L"]:
    r"""Writes every window of an image as a column.

    Args:
        input: images ``(N, C, H, W)``, or one image ``(C, H, W)``.
        kernel_size: window, in pixels: one number, or (height, width).
        dilation: distance between the window's pixels.
        padding: zeros added on both sides.
        stride: step of the window.

    Returns:
        ``(N, C * KH * KW, L)``: channels and pixels of each of the ``L`` windows, row by row; or
        ``(C * KH * KW, L)`` for one image.

    Raises:
        ValueError: if shape, window or padding do not fit.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.unfold(jnp.ones((8, 3, 32, 32)), kernel_size=4, stride=4).shape
        (8, 48, 64)

    Torch: ``torch.nn.functional.unfold``; no deviation.
    """
    check_ndim("unfold", "input", input, expected=layouts(2))
    if 0 in input.shape[-3:]:
        raise ValueError(
            f"unfold: input: expected at least one channel and pixel, got shape {input.shape}. "
            "Only a batch may be empty."
        )
    windows = _windows("unfold", kernel_size, dilation, padding, stride)
    size = input.shape[-2:]
    _check_room("unfold", "input", size, windows)
    return _columns(input, windows)


def fold(
    input: Float[Array, "*N CKK L"],
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Float[Array, "*N C H W"]:
    """Sums columns into the windows of an image: the transpose of :func:`unfold`.

    Args:
        input: columns ``(N, C * KH * KW, L)`` as :func:`unfold` makes them, or
            ``(C * KH * KW, L)``.
        output_size: the image's size, in pixels: one number, or (height, width).
        kernel_size: window, in pixels.
        dilation: distance between the window's pixels.
        padding: pixels around the image that windows reach into and that are not returned.
        stride: step of the window.

    Returns:
        ``(N, C, H, W)`` or ``(C, H, W)``: each pixel is the sum of its values in all windows.

    Raises:
        ValueError: if the columns are not those of such windows.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.fold(jnp.ones((1, 4, 4)), output_size=3, kernel_size=2).tolist()
        [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]

    Torch: ``torch.nn.functional.fold``; no deviation.
    """
    columns = {2: "(C * KH * KW, L)", 3: "(N, C * KH * KW, L)"}
    check_ndim("fold", "input", input, expected=columns)
    size = positive_per_axis("fold", "output_size", output_size, 2)
    windows = _windows("fold", kernel_size, dilation, padding, stride)
    _check_room("fold", "output_size", size, windows)
    *batch, length, number = input.shape
    taps = prod(windows[0])
    if length == 0 or length % taps:
        raise ValueError(
            f"fold: input: expected a multiple of {taps}, the pixels of kernel_size="
            f"{windows[0]}, in its last axis but one, got {length}. Check the window's size."
        )
    count = prod(_counts(size, windows))
    check_axis("fold", "input's last axis", number, expected=count, of="the number of windows")
    image = jax.ShapeDtypeStruct((*batch, length // taps, *size), input.dtype)
    return jax.linear_transpose(partial(_columns, windows=windows), image)(jnp.asarray(input))[0]


def _windows(function: str, kernel: Size, dilation: Size, padding: Size, stride: Size) -> _Windows:
    pads = per_axis(function, "padding", padding, 2)
    if min(pads) < 0:
        raise ValueError(f"{function}: padding: expected 0 or more, got {padding}.")
    return (
        positive_per_axis(function, "kernel_size", kernel, 2),
        positive_per_axis(function, "dilation", dilation, 2),
        pads,
        positive_per_axis(function, "stride", stride, 2),
    )


def _counts(size: tuple[int, ...], windows: _Windows) -> list[int]:
    """How many windows fit into each axis."""
    axes = zip(size, *windows, strict=True)
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in axes]


def _check_room(function: str, name: str, size: tuple[int, ...], windows: _Windows) -> None:
    if min(_counts(size, windows)) < 1:
        raise ValueError(
            f"{function}: {name}: expected room for at least one window of {windows[0]} with "
            f"dilation {windows[1]}, got {tuple(size)} with padding {windows[2]}. Use a smaller "
            "window, or padding."
        )


def _columns(image: Array, windows: _Windows) -> Array:
    kernel, dilation, padding, stride = windows
    counts = _counts(image.shape[-2:], windows)
    edges = [(0, 0, 0)] * (image.ndim - 2) + [(p, p, 0) for p in padding]
    padded = lax.pad(image, jnp.zeros((), image.dtype), edges)
    for axis in (-2, -1):  # (..., H, W) -> (..., KH, rows, W) -> (..., KH, rows, KW, columns)
        starts = range(0, kernel[axis] * dilation[axis], dilation[axis])
        last = (counts[axis] - 1) * stride[axis] + 1
        at = padded.ndim + axis
        taps = [lax.slice_in_dim(padded, i, i + last, stride[axis], at) for i in starts]
        padded = jnp.stack(taps, at)
    ordered = padded.swapaxes(-3, -2)
    *batch, channels = image.shape[:-2]
    return jnp.reshape(ordered, (*batch, channels * prod(kernel), prod(counts)))
