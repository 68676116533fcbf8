"""Sampling images and volumes at given places, as spatial transformers do."""

import math
from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional.interpolate import cubic_kernel


def grid_sample(
    input: Float[Array, "N C *spatial"],
    grid: Float[Array, "N *sampled dims"],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Float[Array, "N C *sampled"]:
    r"""Reads images or volumes at the places of a grid, between pixels by interpolation.

    A coordinate :math:`g` of the grid is the pixel :math:`((g + 1)\,n - 1) / 2` of an axis of
    :math:`n`, with `align_corners` the pixel :math:`(g + 1)(n - 1) / 2`: -1 and 1 are the image's
    edges, or its outer pixels' centres.

    Args:
        input: images ``(N, C, H, W)``, or volumes ``(N, C, D, H, W)``.
        grid: ``(N, H2, W2, 2)`` with coordinates (x, y), or ``(N, D2, H2, W2, 3)`` with (x, y, z);
            x goes along the width.
        mode: ``"bilinear"`` (for volumes it is trilinear), ``"nearest"``, or ``"bicubic"`` (images
            only).
        padding_mode: what lies outside: ``"zeros"``, ``"border"`` (the nearest pixel), or
            ``"reflection"`` (the image mirrored at its edges).
        align_corners: see above; None is False.

    Returns:
        ``(N, C, H2, W2)``, or ``(N, C, D2, H2, W2)``. Under ``"border"`` and ``"reflection"`` a NaN
        coordinate is the first pixel; at the border, and beyond, the coordinate's gradient is zero.

    Raises:
        ValueError: if shapes or modes do not fit.
        TypeError: if the dtypes differ, or are not floating.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> image = jnp.array([[[[1.0, 3.0], [5.0, 7.0]]]])
        >>> F.grid_sample(image, jnp.array([[[[0.0, 0.0], [-0.5, 0.5]]]])).tolist()
        [[[[4.0, 5.0]]]]

    Torch: ``torch.nn.functional.grid_sample``; without its warning if `align_corners` is None.

    Source: Jaderberg et al., "Spatial Transformer Networks", NeurIPS 2015.
    """
    _check(input, grid, mode, padding_mode)
    batch, channels, *shape = input.shape
    places = math.prod(grid.shape[1:-1])
    taps = [
        _taps(grid[..., i].reshape(batch, 1, places), size, mode, padding_mode, bool(align_corners))
        for i, size in enumerate(reversed(shape))
    ]
    place, weight, _ = reduce(lambda inner, outer: _combined(outer, inner), taps)
    inside = place >= 0
    if weight is not None and len(shape) == 3:
        weight = jnp.where(inside, weight, jnp.zeros_like(weight))
    index = jnp.where(inside, place, 0).reshape(batch, 1, place.shape[1] * places)
    values = jnp.take_along_axis(input.reshape(batch, channels, math.prod(shape)), index, axis=2)
    values = values.reshape(batch, channels, *place.shape[1:])
    values = jnp.where(inside[:, None], values, jnp.zeros_like(values))
    output = values[:, :, 0] if weight is None else jnp.sum(values * weight[:, None], 2)
    return output.reshape(batch, channels, *grid.shape[1:-1])


def _check(input: jax.Array, grid: jax.Array, mode: str, padding_mode: str) -> None:
    check_same_dtype("grid_sample", input=input, grid=grid)
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise TypeError(
            f"grid_sample: input: expected floats, got {input.dtype}. Convert with x.astype(...)."
        )
    expected = {4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
    check_ndim("grid_sample", "input", input, expected=expected)
    dims = input.ndim - 2
    if grid.ndim != input.ndim or grid.shape[-1] != dims:
        raise ValueError(
            f"grid_sample: grid: expected {input.ndim} axes, the last with {dims} coordinates, for "
            f"an input of shape {input.shape}, got {grid.shape}."
        )
    check_axis("grid_sample", "grid's batch", grid.shape[0], expected=input.shape[0], of="input")
    if min(input.shape[1:]) < 1:
        raise ValueError(
            f"grid_sample: input: expected at least one channel and pixel, got {input.shape}."
        )
    modes = ("bilinear", "nearest", "bicubic") if dims == 2 else ("bilinear", "nearest")
    if mode not in modes:
        raise ValueError(
            f"grid_sample: mode: expected one of {modes} for a {input.ndim}-D input, got {mode!r}."
        )
    paddings = ("zeros", "border", "reflection")
    if padding_mode not in paddings:
        raise ValueError(
            f"grid_sample: padding_mode: expected one of {paddings}, got {padding_mode!r}."
        )


def _taps(coordinate, size: int, mode: str, padding_mode: str, align_corners: bool):
    """Pixels on one axis ``(N, taps, places)``, -1 outside, their weights, and the axis's size."""
    if align_corners:
        pixel = (coordinate + 1) * ((size - 1) / 2)
    else:
        pixel = (coordinate + 1) * (size / 2) - 0.5
    if mode != "bicubic":
        pixel = _padded(pixel, size, padding_mode, align_corners)
    if mode == "nearest":
        return _inside(jnp.round(pixel), size), None, size
    low = jnp.floor(pixel)
    part = pixel - low
    if mode == "bilinear":
        pixels, weight = jnp.concatenate([low, low + 1], 1), jnp.concatenate([1 - part, part], 1)
    else:
        offset = jnp.arange(-1, 3, dtype=pixel.dtype)[:, None]
        pixels = _padded(low + offset, size, padding_mode, align_corners)
        signed = part - offset
        weight = cubic_kernel(jnp.where(offset <= 0, signed, -signed), -0.75)
    return _inside(pixels, size), weight, size


def _inside(pixels, size: int):
    """Whole pixels as integers; -1 for those outside, and for NaN."""
    inside = (pixels >= 0) & (pixels <= size - 1)
    return jnp.where(inside, pixels, -1).astype(jnp.int32)


def _padded(pixel, size: int, padding_mode: str, align_corners: bool):
    """Moves places outside to where their value comes from, with torch's gradients."""
    if padding_mode == "zeros":
        return pixel
    if padding_mode == "reflection":
        low, span = (0.0, max(size - 1, 1)) if align_corners else (-0.5, size)
        distance = pixel - low
        distance = jnp.where(distance < 0, -distance, distance)
        once = distance - jnp.floor(distance / (2 * span)) * (2 * span)
        pixel = jnp.where(once > span, 2 * span - once, once) + low
    top = size - 1
    edge = jnp.where(pixel >= top, jnp.full_like(pixel, top), jnp.zeros_like(pixel))
    return jnp.where((pixel > 0) & (pixel < top), pixel, edge)


def _combined(outer, inner):
    """The taps of two axes as those of one, row by row."""
    (rows, row_weight, height), (columns, column_weight, width) = outer, inner
    row, column = rows[:, :, None], columns[:, None]
    place = jnp.where((row >= 0) & (column >= 0), row * width + column, -1)
    shape = (place.shape[0], rows.shape[1] * columns.shape[1], place.shape[-1])
    weight = None
    if row_weight is not None:
        weight = (row_weight[:, :, None] * column_weight[:, None]).reshape(shape)
    return place.reshape(shape), weight, height * width


def affine_grid(
    theta: Float[Array, "N dims dims_plus_1"],
    size: Sequence[int],
    align_corners: bool | None = None,
) -> Float[Array, "N *spatial dims"]:
    r"""Makes the grid of :func:`grid_sample` that an affine map sends an image's pixels to.

    :math:`g = \theta\, (x, y, 1)^\top` for the coordinates :math:`x, y` of each pixel.

    Args:
        theta: one matrix for each image ``(N, 2, 3)``, or volume ``(N, 3, 4)``.
        size: of the output, ``(N, C, H, W)`` or ``(N, C, D, H, W)``.
        align_corners: whether -1 and 1 are the outer pixels' centres, and not their edges; None is
            False.

    Returns:
        ``(N, H, W, 2)``, or ``(N, D, H, W, 3)``.

    Raises:
        ValueError: if the shapes do not fit.
        TypeError: if `theta` is not floating.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> theta = jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        >>> F.affine_grid(theta, (1, 3, 1, 2)).tolist()
        [[[[-0.5, 0.0], [0.5, 0.0]]]]

    Torch: ``torch.nn.functional.affine_grid``; without its warnings.
    """
    dims = len(size) - 2
    if dims not in (2, 3):
        raise ValueError(
            f"affine_grid: size: expected (N, C, H, W) or (N, C, D, H, W), got {tuple(size)}."
        )
    if not jnp.issubdtype(theta.dtype, jnp.floating):
        raise TypeError(
            f"affine_grid: theta: expected floats, got {theta.dtype}. Convert with x.astype(...)."
        )
    if theta.shape != (size[0], dims, dims + 1):
        raise ValueError(
            f"affine_grid: theta: expected shape {(size[0], dims, dims + 1)} for size "
            f"{tuple(size)}, got {theta.shape}."
        )
    if min(size) < 1:
        raise ValueError(f"affine_grid: size: expected at least 1 everywhere, got {tuple(size)}.")
    output = theta[..., -1].reshape(-1, *(1,) * dims, dims)
    for i, length in enumerate(reversed(size[2:])):
        center = _centers(length, bool(align_corners)).reshape(-1, *(1,) * (i + 1))
        column = theta[..., i].reshape(-1, *(1,) * dims, dims)
        output = output + column * jnp.asarray(center, theta.dtype)
    return output


def _centers(length: int, align_corners: bool) -> np.ndarray:
    """Coordinates of the pixels' centres; that of a single one is 0."""
    if length == 1:
        return np.zeros(1)
    return np.linspace(-1, 1, length) * (1 if align_corners else (length - 1) / length)
