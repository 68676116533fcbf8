"""Convolution by oneDNN, where a CPU's jaxlib has it; the inputs' gradient is another one."""

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
    """Correlates what windows receive, a stride apart, with the mirrored filters."""
    wide = reach(weight.shape[2:], geometry)
    axes = zip(output.shape[2:], geometry.stride, size, geometry.padding, strict=True)
    ends = [n + low - (w - 1) * s - 1 for w, s, n, (low, _) in axes]
    beyond = [max(0, end - r) for end, r in zip(ends, wide, strict=True)]
    apart = [(0, b, s - 1) for b, s in zip(beyond, geometry.stride, strict=True)]
    zero = jnp.zeros((), output.dtype)
    received = lax.pad(channels_last(output), zero, [(0, 0, 0), *apart, (0, 0, 0)])
    rows = zip(wide, geometry.padding, ends, beyond, strict=True)
    edges = tuple((r - low, end - b) for r, (low, _), end, b in rows)
    back = geometry._replace(padding=edges, stride=(1,) * geometry.dims)
    mirrored = jnp.flip(weight, [*range(2, weight.ndim)])
    swapped = mirrored if geometry.groups == 1 else _swapped(mirrored, geometry.groups)
    options = back._asdict() | {"transposed": geometry.groups == 1}
    return channels_first(convolution(received, swapped, **options))


def reach(kernel: Sequence[int], geometry: Geometry) -> list[int]:
    """How far a window's last pixel is from its first, along each axis."""
    return [d * (k - 1) for d, k in zip(geometry.dilation, kernel, strict=True)]


def _swapped(weight: jax.Array, groups: int) -> jax.Array:
    """Filters ``(O, C / groups, *kernel)`` as ``(C, O / groups, *kernel)``."""
    outside, inside, *kernel = weight.shape
    split = weight.reshape(groups, outside // groups, inside, *kernel)
    return split.swapaxes(1, 2).reshape(groups * inside, outside // groups, *kernel)
