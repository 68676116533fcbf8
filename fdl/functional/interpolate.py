"""Resizing: every mode is a weighted sum of a few input pixels along each axis."""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fdl._checks import check_ndim

_DIMS = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5, "lanczos": 4}
_UNALIGNED = ("nearest", "nearest-exact", "area")
_ANTIALIASED = ("bilinear", "bicubic", "lanczos")
_UNROLLED = 4
_SMALL = 128


class _Taps(NamedTuple):
    """Which input pixels make each output pixel of one axis.

    Attributes:
        index: pixel numbers ``(outputs, taps)``.
        weight: likewise; zero where an output needs fewer taps than others.
    """

    index: np.ndarray
    weight: np.ndarray


class _Axis(NamedTuple):
    """One axis to resize; `scale` is the factor that the user gave, or None."""

    inputs: int
    outputs: int
    scale: float | None

    def step(self, align_corners: bool) -> float:
        """Distance of neighbouring outputs, in input pixels."""
        if align_corners:
            return (self.inputs - 1) / (self.outputs - 1) if self.outputs > 1 else 0.0
        return 1 / self.scale if self.scale else self.inputs / self.outputs

    def source(self, align_corners: bool) -> np.ndarray:
        """Where each output lies, in input pixels."""
        step, place = self.step(align_corners), np.arange(self.outputs)
        return step * place if align_corners else step * (place + 0.5) - 0.5


def interpolate(
    input: Float[Array, "N C *spatial"],
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Float[Array, "N C *resized"]:
    r"""Resizes signals, images or volumes, along each spatial axis in turn.

    :math:`y_i = \sum_k w_{ik}\, x_{s(i) + k}`, where output :math:`i` lies at
    :math:`s = (i + 1/2) / f - 1/2` of the input, or, with `align_corners`, at
    :math:`s = i\,(n - 1) / (m - 1)` for `n` input and `m` output pixels.

    Args:
        input: ``(N, C, L)``, ``(N, C, H, W)`` or ``(N, C, D, H, W)``.
        size: pixels of the output: one number, or one for each spatial axis.
        scale_factor: in place of `size`, outputs for each input pixel; the size is rounded down.
        mode: ``"nearest"``, ``"nearest-exact"`` (the former is half a pixel off) or ``"area"``
            (means of windows) for any rank; ``"linear"`` (3-D), ``"bilinear"`` and ``"bicubic"``
            (4-D), ``"trilinear"`` (5-D), ``"lanczos"`` (4-D, with `antialias` only).
        align_corners: whether the corner pixels' centres, and not their corners, stay in place;
            for the last group of modes only. None is False.
        recompute_scale_factor: whether :math:`f` is the ratio of the rounded sizes, and not
            `scale_factor` itself.
        antialias: whether filters widen where an image shrinks; 4-D ``"bilinear"``, ``"bicubic"``
            and ``"lanczos"`` only.

    Returns:
        The resized input, in its dtype.

    Raises:
        ValueError: if rank, sizes and options do not go together.
        TypeError: if the input is not floating (``"nearest"`` and ``"nearest-exact"`` take all).

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.interpolate(jnp.array([[[1.0, 3.0]]]), scale_factor=2, mode="linear").tolist()
        [[[1.0, 1.5, 2.5, 3.0]]]

    Torch: ``torch.nn.functional.interpolate`` on the CPU, in gradients too: where a `scale_factor`
    leaves an axis as long as it was (or doubles it), some modes of torch differentiate another map
    than they compute, and so does this; ``"nearest"`` then has yet another map for images of at
    most 128 rows and columns together. Integer images can only be resized by ``"nearest"`` and
    ``"nearest-exact"``.
    """
    expected = {3: "(N, C, L)", 4: "(N, C, H, W)", 5: "(N, C, D, H, W)"}
    check_ndim("interpolate", "input", input, expected=expected)
    _check_mode(input, mode, align_corners, antialias)
    if recompute_scale_factor and size is not None:
        raise ValueError(
            "interpolate: recompute_scale_factor: expected None or False with a size, got True. "
            "Pass scale_factor instead of size."
        )
    recompute = bool(recompute_scale_factor) or mode == "area"
    axes = _axes(input.shape[2:], size, scale_factor, recompute)
    forward, backward = _plans(axes, mode, bool(align_corners), antialias, input.dtype)
    return _resize(input, forward, backward)


def _check_mode(input: jax.Array, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in _UNALIGNED and mode not in _DIMS:
        known = ", ".join(map(repr, (*_UNALIGNED, *_DIMS)))
        raise ValueError(f"interpolate: mode: expected one of {known}, got {mode!r}.")
    if _DIMS.get(mode, input.ndim) != input.ndim:
        raise ValueError(
            f"interpolate: mode: {mode!r} expected a {_DIMS[mode]}-D input, got {input.ndim}-D, "
            f"shape {input.shape}. Use 'linear' for 3-D, 'bilinear' for 4-D, 'trilinear' for 5-D."
        )
    if align_corners is not None and mode in _UNALIGNED:
        raise ValueError(
            f"interpolate: align_corners: expected None with mode={mode!r}, got {align_corners}. "
            "Leave it out; only the linear and cubic modes know it."
        )
    if antialias and mode not in _ANTIALIASED:
        raise ValueError(
            f"interpolate: antialias: expected False with mode={mode!r}, got True. It goes with "
            "'bilinear', 'bicubic' and 'lanczos', and 4-D input."
        )
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError(
            "interpolate: mode: 'lanczos' expected antialias=True and no align_corners, got "
            f"antialias={antialias}, align_corners={align_corners}."
        )
    if not mode.startswith("nearest") and not jnp.issubdtype(input.dtype, jnp.floating):
        raise TypeError(
            f"interpolate: input: expected floats with mode={mode!r}, got {input.dtype}. Convert "
            "with x.astype(...)."
        )


def _axes(
    shape: tuple[int, ...],
    size: int | Sequence[int] | None,
    scale_factor: float | Sequence[float] | None,
    recompute: bool,
) -> list[_Axis]:
    if (size is None) == (scale_factor is None):
        raise ValueError(
            "interpolate: size, scale_factor: expected exactly one of them, got "
            f"{'none' if size is None else 'both'}."
        )
    if size is not None:
        axes = [_Axis(n, m, None) for n, m in zip(shape, _spread("size", size, shape), strict=True)]
    else:
        factors = _spread("scale_factor", scale_factor, shape)
        axes = [
            _Axis(n, math.floor(n * f), None if recompute else f)
            for n, f in zip(shape, factors, strict=True)
        ]
    if any(axis.outputs != int(axis.outputs) for axis in axes):
        raise TypeError(f"interpolate: size: expected whole numbers, got {size}.")
    if any(min(axis[:2]) < 1 for axis in axes):
        raise ValueError(
            "interpolate: size, scale_factor: expected at least 1 pixel of input and output, got "
            f"{shape} to {tuple(axis.outputs for axis in axes)}."
        )
    return axes


def _spread(name: str, value, shape: tuple[int, ...]) -> tuple:
    if not isinstance(value, Sequence):
        return (value,) * len(shape)
    if len(value) != len(shape):
        raise ValueError(
            f"interpolate: {name}: expected one number or {len(shape)}, one for each spatial axis "
            f"of the input, got {len(value)}: {tuple(value)}."
        )
    return tuple(value)


def _plans(
    axes: Sequence[_Axis], mode: str, align_corners: bool, antialias: bool, dtype
) -> tuple[list[_Taps], list[_Taps]]:
    """The taps of each axis, for outputs and for gradients: torch computes them apart."""
    if mode.startswith("nearest"):
        return _nearest_plans(axes, mode == "nearest-exact", dtype)
    if antialias:
        gradients = [_antialiased(axis, mode, align_corners) for axis in axes]
        return [
            _identity(axis) if axis.inputs == axis.outputs else taps
            for axis, taps in zip(axes, gradients, strict=True)
        ], gradients
    if mode == "bicubic":
        outputs = [_cubic(axis, align_corners) for axis in axes]
        kept = all(axis.inputs == axis.outputs for axis in axes)
        return outputs, [_identity(axis) for axis in axes] if kept else outputs
    make = _area if mode == "area" else lambda axis: _linear(axis, align_corners)
    outputs = [make(axis) for axis in axes]
    return outputs, outputs


def _nearest_plans(axes: Sequence[_Axis], exact: bool, dtype) -> tuple[list[_Taps], list[_Taps]]:
    """Torch's kernel for small images is that of all gradients; other outputs have another."""
    copied = [
        not exact and axis.outputs in (axis.inputs, 2 * axis.inputs) for axis in axes
    ]  # whole factors, whatever scale the user gave
    gradients = [
        _nearest(axis._replace(scale=None) if copy else axis, exact, np.float32)
        for axis, copy in zip(axes, copied, strict=True)
    ]
    if len(axes) == 2 and sum(axis.outputs for axis in axes) <= _SMALL:
        return gradients, gradients
    precision = np.float64 if dtype == jnp.float64 else np.float32
    return [_nearest(axis, exact, precision) for axis in axes], gradients


def _identity(axis: _Axis) -> _Taps:
    return _Taps(np.arange(axis.inputs)[:, None], np.ones((axis.inputs, 1)))


def _nearest(axis: _Axis, exact: bool, precision: type) -> _Taps:
    """Torch multiplies in this precision and rounds down in float32."""
    step = precision(1 / axis.scale) if axis.scale else precision(axis.inputs) / axis.outputs
    place = np.arange(axis.outputs).astype(precision) + precision(0.5 * exact)
    index = np.floor((place * step).astype(np.float32)).astype(int)
    return _Taps(np.minimum(index, axis.inputs - 1)[:, None], np.ones((axis.outputs, 1)))


def _linear(axis: _Axis, align_corners: bool) -> _Taps:
    if axis.inputs == axis.outputs:
        return _identity(axis)
    source = np.maximum(axis.source(align_corners), 0)
    low = np.minimum(np.floor(source).astype(int), axis.inputs - 1)
    part = np.clip(source - low, 0, 1)
    high = np.minimum(low + 1, axis.inputs - 1)
    return _Taps(np.stack([low, high], 1), np.stack([1 - part, part], 1))


def _cubic(axis: _Axis, align_corners: bool) -> _Taps:
    source = axis.source(align_corners)
    low = np.minimum(np.floor(source).astype(int), axis.inputs - 1)
    part = np.clip(source - low, 0, 1)
    offset = np.arange(-1, 3)
    index = np.clip(low[:, None] + offset, 0, axis.inputs - 1)
    return _Taps(index, cubic_kernel(np.abs(part[:, None] - offset), -0.75))


def cubic_kernel(distance: Any, a: float) -> Any:
    """Keys' cubic convolution kernel at distances from 0 to 2, NumPy's or JAX's."""
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    where = np.where if isinstance(distance, np.ndarray) else jnp.where
    return where(distance <= 1, near, far)


_FILTERS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "bilinear": (1, lambda x: 1 - x),
    "bicubic": (2, lambda x: cubic_kernel(x, -0.5)),
    "lanczos": (3, lambda x: np.sinc(x) * np.sinc(x / 3)),
}
"""By mode: the radius of the filter, and the filter within it."""


def _antialiased(axis: _Axis, mode: str, align_corners: bool) -> _Taps:
    radius, kernel = _FILTERS[mode]
    step = axis.step(align_corners)
    stretch = max(step, 1.0)
    center = step * (np.arange(axis.outputs) + 0.5)
    start = np.maximum(np.trunc(center - radius * stretch + 0.5), 0).astype(int)
    stop = np.minimum(np.trunc(center + radius * stretch + 0.5), axis.inputs).astype(int)

    def weigh(index):
        distance = np.abs(index - center[:, None] + 0.5) / stretch
        return np.where(distance < radius, kernel(distance), 0)

    return _windows(start, stop, weigh)


def _area(axis: _Axis) -> _Taps:
    place = np.arange(axis.outputs)
    stop = -((place + 1) * axis.inputs // -axis.outputs)
    return _windows(place * axis.inputs // axis.outputs, stop, np.ones_like)


def _windows(
    start: np.ndarray, stop: np.ndarray, weigh: Callable[[np.ndarray], np.ndarray]
) -> _Taps:
    """Taps from `start` to before `stop`, their weights divided by their sum."""
    index = start[:, None] + np.arange(max(stop - start))
    inside = index < stop[:, None]
    weight = np.where(inside, weigh(index), 0).astype(np.float64)
    return _Taps(np.where(inside, index, start[:, None]), weight / weight.sum(1, keepdims=True))


def _resize(input: jax.Array, outputs: Sequence[_Taps], gradients: Sequence[_Taps]) -> jax.Array:
    """Gathers pixels, so that NaN stays where it is, and differentiates by matrices."""

    def gather(image):
        for i in reversed(range(len(outputs))):
            image = _gathered(image, outputs[i], axis=2 + i)
        return image

    def multiply(image):
        for i in reversed(range(len(gradients))):
            matrix = _matrix(gradients[i], image.shape[2 + i])
            if matrix.shape[0] != matrix.shape[1] or (matrix != np.eye(len(matrix))).any():
                product = jnp.tensordot(
                    image,
                    jnp.asarray(matrix.T, image.dtype),
                    (2 + i, 0),
                    precision=jax.lax.Precision.HIGHEST,
                )
                image = jnp.moveaxis(product, -1, 2 + i)
        return image

    if not jnp.issubdtype(input.dtype, jnp.inexact):
        return gather(input)
    resize = jax.custom_jvp(gather)
    resize.defjvp(lambda primals, tangents: (gather(*primals), multiply(*tangents)))
    return resize(input)


def _gathered(image: jax.Array, taps: _Taps, *, axis: int) -> jax.Array:
    index, weight = taps
    if index.shape == (image.shape[axis], 1) and (index[:, 0] == np.arange(len(index))).all():
        return image
    if index.shape[1] == 1:
        return jnp.take(image, index[:, 0], axis)
    trailing = (1,) * (image.ndim - 1 - axis)
    if index.shape[1] <= _UNROLLED:
        column = (len(index), *trailing)
        taken = [
            jnp.take(image, index[:, k], axis)
            * jnp.asarray(weight[:, k].reshape(column), image.dtype)
            for k in range(index.shape[1])
        ]
        return reduce(jnp.add, taken)
    shape = (*index.shape, *trailing)
    weights = jnp.asarray(weight.reshape(shape), image.dtype)
    products = jnp.take(image, index, axis) * weights
    used = jnp.asarray(weight.reshape(shape) != 0)
    return jnp.sum(jnp.where(used, products, jnp.zeros_like(products)), axis + 1)


def _matrix(taps: _Taps, inputs: int) -> np.ndarray:
    matrix = np.zeros((len(taps.index), inputs))
    np.add.at(matrix, (np.arange(len(taps.index))[:, None], taps.index), taps.weight)
    return matrix
