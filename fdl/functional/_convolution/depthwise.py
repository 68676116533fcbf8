"""Convolution of each channel by itself, as a sum of shifted images."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from fdl.functional._convolution.channels_last import (
    channels_first,
    channels_last,
    padded,
    tap,
    total,
    untap,
)
from fdl.functional._convolution.geometry import Geometry


def correlate(input: jax.Array, weight: jax.Array, *, geometry: Geometry) -> jax.Array:
    """Correlates inputs with filters ``(C, 1, *kernel)``."""
    kernel = weight.shape[2:]
    windows = geometry.windows(input.shape[2:], kernel)
    images = padded(channels_last(input), geometry)
    taps = zip(geometry.taps(kernel), _vectors(weight), strict=True)
    return channels_first(total(tap(images, t, windows, geometry) * w for t, w in taps))


def pull_input(
    output: jax.Array, weight: jax.Array, *, geometry: Geometry, size: Sequence[int]
) -> jax.Array:
    """Adds up what every window's pixels receive."""
    last = channels_last(output)
    taps = zip(geometry.taps(weight.shape[2:]), _vectors(weight), strict=True)
    return channels_first(total(untap(last * w, t, size, geometry) for t, w in taps))


def pull_weight(
    input: jax.Array, output: jax.Array, *, geometry: Geometry, kernel: Sequence[int]
) -> jax.Array:
    """Adds up, tap by tap, the products of pixels with what their windows receive."""
    last = channels_last(output)
    windows = last.shape[1:-1]
    images = padded(channels_last(input), geometry)
    products = [tap(images, t, windows, geometry) * last for t in geometry.taps(kernel)]
    zeros = [jnp.zeros((), last.dtype)] * len(products)
    sums = lax.reduce(products, zeros, _added, [*range(1, last.ndim - 1)])
    return jnp.stack(sums, -1).sum(0).reshape(-1, 1, *kernel)


def _added(totals: Sequence[jax.Array], terms: Sequence[jax.Array]) -> list[jax.Array]:
    return [total + term for total, term in zip(totals, terms, strict=True)]


def _vectors(weight: jax.Array) -> list[jax.Array]:
    """One number for each channel, tap by tap.

    As slices that are joined, which the loop over pixels reads as they lie; fused with a transpose
    it would gather them anew for each pixel, three times as slow.
    """
    flat = weight.reshape(len(weight), -1)
    return list(jnp.concatenate([flat[None, :, k] for k in range(flat.shape[1])]))
