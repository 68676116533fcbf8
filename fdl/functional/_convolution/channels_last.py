"""Inputs with channels last, where a pixel's channels are one stretch of memory."""

from collections.abc import Iterable, Sequence
from functools import reduce
from math import prod
from operator import add

import jax
import jax.numpy as jnp
from jax import lax

from fdl.functional._convolution.geometry import Geometry


def channels_last(images: jax.Array) -> jax.Array:
    """``(N, C, *size)`` to ``(N, *size, C)``."""
    return jnp.moveaxis(images, 1, -1)


def channels_first(images: jax.Array) -> jax.Array:
    """``(N, *size, C)`` to ``(N, C, *size)``."""
    return jnp.moveaxis(images, -1, 1)


def padded(images: jax.Array, geometry: Geometry) -> jax.Array:
    """``(N, *size, C)`` with the zeros around it that windows reach into."""
    edges = [(0, 0, 0), *((low, high, 0) for low, high in geometry.padding), (0, 0, 0)]
    return lax.pad(images, jnp.zeros((), images.dtype), edges)


def tap(
    images: jax.Array, offset: Sequence[int], windows: Sequence[int], geometry: Geometry
) -> jax.Array:
    """One pixel of every window, ``(N, *windows, C)``."""
    spans = zip(offset, windows, geometry.stride, strict=True)
    index = (slice(o, o + (n - 1) * s + 1, s) for o, n, s in spans)
    return images[(slice(None), *index)]


def untap(
    values: jax.Array, offset: Sequence[int], size: Sequence[int], geometry: Geometry
) -> jax.Array:
    """Puts ``(N, *windows, C)`` where :func:`tap` takes it from, zeros elsewhere."""
    axes = zip(offset, geometry.padding, values.shape[1:-1], geometry.stride, size, strict=True)
    edges = [(o - low, n - (o - low) - (w - 1) * s - 1, s - 1) for o, (low, _), w, s, n in axes]
    return lax.pad(values, jnp.zeros((), values.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def rows(images: jax.Array) -> jax.Array:
    """``(N, *size, C)`` as a matrix of pixels by channels."""
    return images.reshape(prod(images.shape[:-1]), images.shape[-1])


def total(terms: Iterable[jax.Array]) -> jax.Array:
    """The sum of one or more arrays of one shape."""
    return reduce(add, terms)
