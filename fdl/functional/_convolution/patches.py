"""Convolution as one matrix product of all windows' pixels with the filters.

The product's inner axis runs over taps and channels. Filters come with channels outside, images
have them inside; so either the filters or the windows' pixels are put into the other's order,
whichever are fewer.
"""

from collections.abc import Sequence
from math import prod

import jax
import jax.numpy as jnp

from fdl.functional import _product
from fdl.functional._convolution.channels_last import (
    channels_first,
    channels_last,
    padded,
    rows,
    tap,
    total,
    untap,
)
from fdl.functional._convolution.geometry import Geometry


def correlate(input: jax.Array, weight: jax.Array, *, geometry: Geometry) -> jax.Array:
    """Correlates inputs with filters."""
    kernel = weight.shape[2:]
    windows = (len(input), *geometry.windows(input.shape[2:], kernel))
    outside = _channels_outside(windows, weight.shape)
    seen = _patches(input, kernel, geometry, outside)
    product = _product.project(seen, _matrix(weight, outside))
    return channels_first(product.reshape(*windows, len(weight)))


def pull_input(
    output: jax.Array, weight: jax.Array, *, geometry: Geometry, size: Sequence[int]
) -> jax.Array:
    """Adds up what every window's pixels receive."""
    last = channels_last(output)
    outside = _channels_outside(last.shape[:-1], weight.shape)
    taps = geometry.taps(weight.shape[2:])
    seen = _product.pull_input(rows(last), _matrix(weight, outside))
    order = (-1, len(taps)) if outside else (len(taps), -1)
    parts = jnp.moveaxis(seen.reshape(*last.shape[:-1], *order), -1 if outside else -2, 0)
    moved = (untap(part, t, size, geometry) for part, t in zip(parts, taps, strict=True))
    return channels_first(total(moved))


def pull_weight(
    input: jax.Array, output: jax.Array, *, geometry: Geometry, kernel: Sequence[int]
) -> jax.Array:
    """Correlates pixels of windows with what the windows receive."""
    last = channels_last(output)
    channels = input.shape[1]
    outside = _channels_outside(last.shape[:-1], (last.shape[-1], channels, *kernel))
    received, seen = rows(last), _patches(input, kernel, geometry, outside)
    if received.shape[1] <= seen.shape[1]:
        product = _product.pull_weight(received, seen)
    else:
        product = _product.pull_weight(seen, received).T
    if outside:
        return product.reshape(-1, channels, *kernel)
    return jnp.moveaxis(product.reshape(-1, *kernel, channels), -1, 1)


def _channels_outside(windows: Sequence[int], weight: Sequence[int]) -> bool:
    """Whether the pixels, if they are fewer than the filters' numbers, are put in their order."""
    return prod(windows) < weight[0]


def _patches(
    input: jax.Array, kernel: Sequence[int], geometry: Geometry, outside: bool
) -> jax.Array:
    """The pixels that windows see, a row each: by taps and channels, or by channels and taps."""
    windows = geometry.windows(input.shape[2:], kernel)
    images = padded(channels_last(input), geometry)
    seen = [tap(images, t, windows, geometry) for t in geometry.taps(kernel)]
    joined = jnp.stack(seen, -1) if outside else jnp.concatenate(seen, -1)
    return joined.reshape(len(input) * prod(windows), -1)


def _matrix(weight: jax.Array, outside: bool) -> jax.Array:
    """Filters ``(O, C, *kernel)`` as a row for each output, in the order of the patches."""
    ordered = weight if outside else jnp.moveaxis(weight, 1, -1)
    return ordered.reshape(len(weight), -1)
