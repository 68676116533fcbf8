"""The inputs' gradient of a strided convolution, as gradients of unstrided ones.

Pixels a stride apart meet the same taps of a filter, and those between them meet others. So for
each place within a stride, a phase, it is the gradient of an unstrided convolution with some of the
taps, which sees no zeros between the windows.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import gcd
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fdl.functional._convolution.channels_last import channels_first, channels_last
from fdl.functional._convolution.geometry import Geometry


class Met(NamedTuple):
    """What the pixels of one phase meet along one axis.

    Attributes:
        taps: of the filters.
        padding: of the phase's pixels.
        dilation: phase's pixels from one of these taps to the next.
    """

    taps: slice
    padding: tuple[int, int]
    dilation: int


def pull_input(
    output: jax.Array,
    weight: jax.Array,
    *,
    geometry: Geometry,
    size: Sequence[int],
    unstrided: Callable[..., jax.Array],
) -> jax.Array:
    """Pulls a cotangent of the output back to inputs of some size, phase by phase.

    Args:
        output: ``(N, O, *windows)``.
        weight: ``(O, C / groups, *kernel)``.
        geometry: how the filters go over the inputs.
        size: of the inputs.
        unstrided: does the same where the stride is 1.

    Returns:
        ``(N, C, *size)``.
    """
    pixels = tuple(-(-n // s) for n, s in zip(size, geometry.stride, strict=True))
    channels = weight.shape[1] * geometry.groups
    along = _along(geometry, pixels, output.shape[2:], weight.shape[2:])

    def pulled(phase: Sequence[Met | None]) -> jax.Array:
        if None in phase:
            return jnp.zeros((output.shape[0], *pixels, channels), output.dtype)
        taps, padding, dilation = zip(*phase, strict=True)
        inside = Geometry((1,) * geometry.dims, padding, dilation, geometry.groups)
        part = unstrided(output, weight[:, :, *taps], geometry=inside, size=pixels)
        return channels_last(part)

    parts = [pulled(phase) for phase in product(*along)]
    joined = _interleaved(parts, geometry.stride)
    return channels_first(joined[:, *(slice(n) for n in size)])


def _along(
    geometry: Geometry, pixels: Sequence[int], windows: Sequence[int], kernel: Sequence[int]
) -> Iterator[list[Met | None]]:
    """For each axis, what its phases meet."""
    axes = zip(geometry.stride, geometry.padding, geometry.dilation, strict=True)
    sizes = zip(pixels, windows, kernel, strict=True)
    for (stride, (low, _), dilation), axis in zip(axes, sizes, strict=True):
        yield [_met(place + low, stride, dilation, *axis) for place in range(stride)]


def _met(
    place: int, stride: int, dilation: int, pixels: int, windows: int, kernel: int
) -> Met | None:
    """What pixels ``stride * q + place`` of a padded axis meet, or None.

    They are tap `k` of window `j` if ``stride * j + dilation * k`` is the same. Taps that are
    ``stride / gcd(stride, dilation)`` apart meet pixels that are ``dilation / gcd`` apart in `q`.
    """
    common = gcd(stride, dilation)
    step = stride // common
    firsts = [k for k in range(min(step, kernel)) if (place - dilation * k) % stride == 0]
    if not firsts:
        return None
    first, apart = firsts[0], dilation // common
    before, reach = (place - dilation * first) // stride, apart * ((kernel - 1 - first) // step)
    return Met(slice(first, None, step), (before, windows - pixels - before + reach), apart)


def _interleaved(parts: Sequence[jax.Array], stride: Sequence[int]) -> jax.Array:
    """Phases ``(N, *pixels, C)``, the last axis' fastest, as ``(N, *(stride * pixels), C)``."""
    dims, (images, *pixels, channels) = len(stride), parts[0].shape
    apart = jnp.stack(parts).reshape(*stride, *parts[0].shape)
    between = [axis for k in range(dims) for axis in (dims + 1 + k, k)]
    size = [n * s for n, s in zip(pixels, stride, strict=True)]
    return apart.transpose(dims, *between, -1).reshape(images, *size, channels)
