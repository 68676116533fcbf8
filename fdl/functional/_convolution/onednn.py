"""Convolution by oneDNN, where a CPU's jaxlib has it; its gradients are other ones."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from fdl.functional._convolution.channels_last import channels_first, channels_last
from fdl.functional._convolution.geometry import Geometry
from fdl.functional._onednn import convolution


def correlate(input: jax.Array, weight: jax.Array, *, geometry: Geometry) -> jax.Array:
    """Correlates inputs with filters."""
    return channels_first(convolution(channels_last(input), weight, **geometry._asdict()))


def pull_input(
    output: jax.Array, weight: jax.Array, *, geometry: Geometry, size: Sequence[int]
) -> jax.Array:
    """Correlates what windows receive, a stride apart, with the mirrored filters.

    Where the filters have more numbers, the images before and after are mirrored in their place:
    3x3 over 512 channels of four 7x7 images takes 0.82 of the time then, over 128 channels of
    sixteen 8x8 ones 0.93, as XLA's loops are slow at mirroring filters.
    """
    received, edges = _received(output, weight, geometry, size)
    pixels, taps = [*range(1, 1 + geometry.dims)], [*range(2, 2 + geometry.dims)]
    alone = geometry.groups == 1
    turned = (1, 0, *taps) if alone else ()
    mirrors_images = alone and weight.size > output.size
    if mirrors_images:
        received, edges = jnp.flip(received, pixels), tuple((high, low) for low, high in edges)
    else:
        weight = jnp.flip(weight, taps)
    if not alone:
        weight = _swapped(weight, geometry.groups)
    back = geometry._replace(padding=edges, stride=(1,) * geometry.dims)
    found = convolution(received, weight, axes=turned, **back._asdict())
    return channels_first(jnp.flip(found, pixels) if mirrors_images else found)


def pull_weight(
    input: jax.Array, output: jax.Array, *, geometry: Geometry, kernel: Sequence[int]
) -> jax.Array:
    """Correlates each channel of the images with what windows receive, which are the filters.

    Images and channels change places, and so do stride and dilation.
    """
    dims = geometry.dims
    edges = weight_padding(input.shape[2:], output.shape[2:], kernel, geometry)
    back = Geometry(geometry.dilation, edges, geometry.stride)
    channels, received = jnp.moveaxis(input, 0, -1), channels_last(output)
    axes = (dims + 1, 0, *range(1, dims + 1))
    found = convolution(channels, received, axes=axes, **back._asdict())
    return jnp.moveaxis(found, (-1, 0), (0, 1))


def weight_padding(
    size: Sequence[int], windows: Sequence[int], kernel: Sequence[int], geometry: Geometry
) -> tuple[tuple[int, int], ...]:
    """The zeros around inputs of some size, less those behind the last window."""
    wide, apart = reach(kernel, geometry), zip(windows, geometry.stride, strict=True)
    ends = [s * (w - 1) + r + 1 for (w, s), r in zip(apart, wide, strict=True)]
    axes = zip(ends, size, geometry.padding, strict=True)
    return tuple((low, end - n - low) for end, n, (low, _) in axes)


def _received(
    output: jax.Array, weight: jax.Array, geometry: Geometry, size: Sequence[int]
) -> tuple[jax.Array, tuple[tuple[int, int], ...]]:
    """What windows receive, with zeros for a stride between them, and the zeros around it."""
    wide = reach(weight.shape[2:], geometry)
    axes = zip(output.shape[2:], geometry.stride, size, geometry.padding, strict=True)
    ends = [n + low - (w - 1) * s - 1 for w, s, n, (low, _) in axes]
    beyond = [max(0, end - r) for end, r in zip(ends, wide, strict=True)]
    apart = [(0, b, s - 1) for b, s in zip(beyond, geometry.stride, strict=True)]
    zero = jnp.zeros((), output.dtype)
    received = lax.pad(channels_last(output), zero, [(0, 0, 0), *apart, (0, 0, 0)])
    rows = zip(wide, geometry.padding, ends, beyond, strict=True)
    return received, tuple((r - low, end - b) for r, (low, _), end, b in rows)


def reach(kernel: Sequence[int], geometry: Geometry) -> list[int]:
    """How far a window's last pixel is from its first, along each axis."""
    return [d * (k - 1) for d, k in zip(geometry.dilation, kernel, strict=True)]


def _swapped(weight: jax.Array, groups: int) -> jax.Array:
    """Filters ``(O, C / groups, *kernel)`` as ``(C, O / groups, *kernel)``."""
    outside, inside, *kernel = weight.shape
    split = weight.reshape(groups, outside // groups, inside, *kernel)
    return split.swapaxes(1, 2).reshape(groups * inside, outside // groups, *kernel)
