"""Windows over the last axes of an input, and maxima whose places decide where gradients go."""

from functools import partial, reduce
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fdl._checks import check_ndim
from fdl.functional._spatial import Size, layouts, per_axis, positive_per_axis


class Windows(NamedTuple):
    """Where windows lie; each entry has one number for each spatial axis."""

    size: tuple[int, ...]
    count: tuple[int, ...]
    kernel: tuple[int, ...]
    step: tuple[int, ...]
    pad: tuple[int, ...]
    gap: tuple[int, ...]

    def edges(self, lead: int) -> list[tuple[int, int]]:
        """Padding that the windows reach into, after `lead` axes without."""
        highs = (self.starts(a)[-1] + self.extent(a) - n for a, n in enumerate(self.size))
        return [(0, 0)] * lead + [(p, max(int(h), 0)) for p, h in zip(self.pad, highs, strict=True)]

    def extent(self, axis: int) -> int:
        """Pixels from a window's first to its last, both included."""
        return self.gap[axis] * (self.kernel[axis] - 1) + 1

    def starts(self, axis: int) -> np.ndarray:
        """The first pixel of every window; negative in the low padding."""
        return np.arange(self.count[axis]) * self.step[axis] - self.pad[axis]

    def taps(self) -> list[tuple[int, ...]]:
        """The pixels of a window, relative to its first."""
        return [*product(*(range(0, k * g, g) for k, g in zip(self.kernel, self.gap, strict=True)))]


def windows_over(
    function: str,
    input: jax.Array,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    dims: int,
) -> Windows:
    """Checks torch's arguments of a pooling function and lays out its windows.

    Raises:
        ValueError: if shape, window or padding do not fit.
    """
    check_planes(function, input, dims)
    kernel = positive_per_axis(function, "kernel_size", kernel_size, dims)
    step = kernel if stride is None else positive_per_axis(function, "stride", stride, dims)
    gap = positive_per_axis(function, "dilation", dilation, dims)
    pad = per_axis(function, "padding", padding, dims)
    if any(not 0 <= 2 * p <= k for p, k in zip(pad, kernel, strict=True)):
        raise ValueError(
            f"{function}: padding: expected 0 to half of kernel_size={kernel}, got {pad}."
        )
    size = input.shape[-dims:]
    axes = zip(size, kernel, step, pad, gap, strict=True)
    count = tuple(_count(*axis, ceil_mode) for axis in axes)
    if min(count) < 1:
        raise ValueError(
            f"{function}: input: expected at least one window of {kernel} in {size} with padding "
            f"{pad}, got none. Use a smaller window."
        )
    return Windows(size, count, kernel, step, pad, gap)


def _count(length: int, kernel: int, step: int, pad: int, gap: int, ceil_mode: bool) -> int:
    room = length + 2 * pad - gap * (kernel - 1) - 1
    count = (-(-room // step) if ceil_mode else room // step) + 1
    starts_in_padding = ceil_mode and (count - 1) * step >= length + pad
    return count - starts_in_padding


def check_planes(function: str, input: jax.Array, dims: int) -> None:
    """Checks that an input is ``(N, C, ...)`` or ``(C, ...)`` with `dims` axes that hold pixels."""
    check_ndim(function, "input", input, expected=layouts(dims))
    if 0 in input.shape[-dims:]:
        raise ValueError(
            f"{function}: input: expected at least one pixel along each axis, got shape "
            f"{input.shape}. Only the batch may be empty."
        )


def check_floating(function: str, input: jax.Array) -> None:
    """Checks that means of an input can be told in its own dtype."""
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise TypeError(
            f"{function}: input: expected a floating dtype, got {input.dtype}. Convert with "
            "x.astype(...)."
        )


def divided(total: jax.Array, lengths: list[np.ndarray]) -> jax.Array:
    """Sums over windows, divided by the windows' sizes, which are the lengths' outer product."""
    sizes = reduce(np.multiply.outer, lengths)
    same = sizes.size and (sizes == sizes.flat[0]).all()
    return total / jnp.asarray(sizes.flat[0] if same else sizes, total.dtype)


def lowest(dtype: Any) -> Any:
    """What is larger than no number of a dtype."""
    return -jnp.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min


def pixels(shape: tuple[int, ...], dims: int) -> jax.Array:
    """For every element of an input, its flat number among the last `dims` axes."""
    plane = shape[-dims:]
    numbers = jnp.arange(np.prod(plane), dtype=jnp.int32).reshape(plane)
    return jnp.broadcast_to(numbers, shape)


def first_larger(a: Any, b: Any) -> Any:
    """The larger of two (value, place); the first of equals, and the last NaN before any number."""
    (x, i), (y, j) = a, b
    both, earlier = jnp.isnan(x) & jnp.isnan(y), j < i
    second = (y > x) | ((y == x) & earlier) | (jnp.isnan(y) & ~jnp.isnan(x)) | (both & ~earlier)
    return jnp.where(second, y, x), jnp.where(second, j, i)


def first_largest(
    values: jax.Array, places: jax.Array, outside: int, axis: int
) -> tuple[jax.Array, jax.Array]:
    """The maxima along an axis and their places, all of which are smaller than `outside`."""
    initial = jnp.array(lowest(values.dtype), values.dtype), jnp.array(outside, places.dtype)
    return lax.reduce((values, places), initial, first_larger, (axis,))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def taken_from(input: jax.Array, values: jax.Array, places: jax.Array, dims: int) -> jax.Array:
    """`values`, which stand in `input` at `places`; they change as those elements do."""
    del input, places, dims
    return values


@taken_from.defjvp
def _taken_from_jvp(dims, primals, tangents):
    primal, values, places = primals
    return taken_from(primal, values, places, dims), taken(tangents[0], places, dims)


def taken(input: jax.Array, places: jax.Array, dims: int) -> jax.Array:
    """The elements at flat numbers of the last `dims` axes; both have the same leading axes."""
    lead = input.shape[:-dims]
    flat, where = (x.reshape(*lead, int(np.prod(x.shape[len(lead) :]))) for x in (input, places))
    return jnp.take_along_axis(flat, where, -1, mode="clip").reshape(places.shape)
