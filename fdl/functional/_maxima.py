"""Maxima over windows, and which pixel of its window each of them is.

That decides where gradients go. It is decided once: comparing again in the backward pass would not
do, as XLA may compute the input anew there and round it differently, and equal neighbours, as in
the background of an image, would no longer tie.
"""

import math
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fdl.functional._formulations import apart, by_platform
from fdl.functional._windows import Windows, first_larger, lowest, pixels, taken

_FEW = 16
"""Windows of more pixels are not taken apart: that would be slow to compile and to run."""


def maxima_and_places(input: jax.Array, windows: Windows) -> tuple[jax.Array, jax.Array]:
    """The maxima, and the flat numbers of the pixels that they are."""
    values, choices = _chosen(input, windows)
    return values, _places(choices, windows)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def maxima(input: jax.Array, windows: Windows) -> jax.Array:
    """The maximum of each window; NaN wins. Places are found for the gradient only."""
    library, cpu = (partial(f, windows=windows) for f in (_reduced, _reduced_slices))
    if math.prod(windows.kernel) > _FEW:
        return library(input)
    return by_platform("max_pool", input, library=library, cpu=cpu)


@maxima.defjvp
def _maxima_jvp(windows, primals, tangents):
    (primal,), (tangent,) = primals, tangents
    values, choices = _chosen(primal, windows)
    return values, _followed(tangent, choices, windows)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _chosen(input: jax.Array, windows: Windows) -> tuple[jax.Array, jax.Array]:
    """The maxima, and which pixels of their windows they are, counted as `windows.taps()` is."""
    library, cpu = (partial(f, windows=windows) for f in (_located, _located_slices))
    if math.prod(windows.kernel) > _FEW:
        return library(input)
    return by_platform("max_pool", input, library=library, cpu=cpu)


@_chosen.defjvp
def _chosen_jvp(windows, primals, tangents):
    (primal,), (tangent,) = primals, tangents
    values, choices = _chosen(primal, windows)
    no_tangent = np.zeros(choices.shape, jax.dtypes.float0)
    return (values, choices), (_followed(tangent, choices, windows), no_tangent)


def _followed(tangent: jax.Array, choices: jax.Array, windows: Windows) -> jax.Array:
    """What the chosen pixels of the tangent are."""
    if math.prod(windows.kernel) > _FEW:
        return taken(tangent, _places(choices, windows), len(windows.size))
    slices = _slices(_channels_last(tangent, windows), windows, fill=0)
    numbers = _channels_last(choices, windows)
    moved = (jnp.where(numbers == tap, x, jnp.zeros_like(x)) for tap, x in enumerate(slices))
    return _channels_first(reduce(jnp.add, moved), windows)


# --- the library's own reduction


def _reduced(input: jax.Array, windows: Windows) -> jax.Array:
    lead = (1,) * (input.ndim - len(windows.size))
    return lax.reduce_window(
        input,
        np.array(lowest(input.dtype), input.dtype),
        lax.max,
        window_dimensions=lead + windows.kernel,
        window_strides=lead + windows.step,
        padding=windows.edges(len(lead)),
        window_dilation=lead + windows.gap,
    )


def _located(input: jax.Array, windows: Windows) -> tuple[jax.Array, jax.Array]:
    dims = len(windows.size)
    lead = (1,) * (input.ndim - dims)
    outside = jnp.array(math.prod(windows.size), jnp.int32)
    values, places = lax.reduce_window(
        (input, pixels(input.shape, dims)),
        (jnp.array(lowest(input.dtype), input.dtype), outside),
        first_larger,
        window_dimensions=lead + windows.kernel,
        window_strides=lead + windows.step,
        padding=windows.edges(len(lead)),
        window_dilation=lead + windows.gap,
    )
    return values, _choices(places, windows)


# --- for CPUs: the larger of slices, one for each pixel of a window


@partial(jax.jit, static_argnames="windows")
def _reduced_slices(input: jax.Array, windows: Windows) -> jax.Array:
    slices = _slices(_channels_last(input, windows), windows, fill=lowest(input.dtype))
    return _channels_first(reduce(jnp.maximum, slices), windows)


@partial(jax.jit, static_argnames="windows")
def _located_slices(input: jax.Array, windows: Windows) -> tuple[jax.Array, jax.Array]:
    """One comparison after another; apart, or the backward pass would compare for every pixel."""
    images = _channels_last(input, windows)
    values, choices = apart(partial(_compared, windows=windows), images)
    return _channels_first(values, windows), _channels_first(choices, windows)


def _compared(images: jax.Array, windows: Windows) -> tuple[jax.Array, jax.Array]:
    values, *others = _slices(images, windows, fill=lowest(images.dtype))
    first = jnp.asarray(_first_inside(windows)[..., None], _number_dtype(windows))
    choices = jnp.broadcast_to(first, values.shape)
    for tap, other in enumerate(others, 1):
        larger = (other > values) | jnp.isnan(other)
        values = jnp.where(larger, other, values)
        choices = jnp.where(larger, jnp.array(tap, choices.dtype), choices)
    return values, choices


def _slices(images: jax.Array, windows: Windows, fill: float) -> list[jax.Array]:
    """The first pixel of every window, the second of every window, and so on; channels last."""
    edges = [*windows.edges(images.ndim - len(windows.size) - 1), (0, 0)]
    outside = jnp.array(fill, images.dtype)
    padded = lax.pad(images, outside, [(low, high, 0) for low, high in edges])
    along = [((n - 1) * s + 1, s) for n, s in zip(windows.count, windows.step, strict=True)]
    steps = [
        tuple(slice(t, t + n, s) for t, (n, s) in zip(tap, along, strict=True))
        for tap in windows.taps()
    ]
    return [padded[(..., *step, slice(None))] for step in steps]


def _channels_last(planes: jax.Array, windows: Windows) -> jax.Array:
    """As convolutions on CPUs have them, and so that neighbours in memory share their window."""
    return jnp.moveaxis(planes, -1 - len(windows.size), -1)


def _channels_first(images: jax.Array, windows: Windows) -> jax.Array:
    return jnp.moveaxis(images, -1, -1 - len(windows.size))


# --- the numbers of pixels, within a window and within the input


def _number_dtype(windows: Windows):
    return jnp.int8 if math.prod(windows.kernel) <= _FEW else jnp.int32


def _first_inside(windows: Windows) -> np.ndarray:
    """The number of each window's first pixel that is not in the padding."""
    number = np.zeros((), int)
    for axis, (kernel, gap) in enumerate(zip(windows.kernel, windows.gap, strict=True)):
        number = number[..., None] * kernel - np.minimum(windows.starts(axis), 0) // gap
    return number


def _places(choices: jax.Array, windows: Windows) -> jax.Array:
    """Numbers within windows as flat numbers within the input."""
    places = jnp.zeros((), jnp.int32)
    taps = jnp.unravel_index(choices.astype(jnp.int32), windows.kernel)
    for axis, (tap, length) in enumerate(zip(taps, windows.size, strict=True)):
        places = places * length + _starts(windows, axis) + tap * windows.gap[axis]
    return places


def _choices(places: jax.Array, windows: Windows) -> jax.Array:
    """Flat numbers within the input as numbers within windows."""
    choices = jnp.zeros((), jnp.int32)
    pixel = jnp.unravel_index(places, windows.size)
    for axis, (place, kernel) in enumerate(zip(pixel, windows.kernel, strict=True)):
        choices = choices * kernel + (place - _starts(windows, axis)) // windows.gap[axis]
    return choices.astype(_number_dtype(windows))


def _starts(windows: Windows, axis: int) -> np.ndarray:
    """The first pixels of windows along one axis, to broadcast over the others."""
    later = (1,) * (len(windows.size) - 1 - axis)
    return windows.starts(axis).astype(np.int32).reshape(-1, *later)
