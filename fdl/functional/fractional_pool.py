"""Maximum pooling by a fraction, in windows of one size at random distances."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from fdl._checks import check_same_dtype
from fdl.functional._spatial import Size, per_axis, positive_per_axis
from fdl.functional._windows import check_planes, first_largest, pixels, taken_from

Ratio = float | Sequence[float]


def fractional_max_pool2d(
    input: Float[Array, "*N C H W"],
    kernel_size: Size,
    output_size: Size | None = None,
    output_ratio: Ratio | None = None,
    return_indices: bool = False,
    _random_samples: Float[Array, "N C 2"] | None = None,
    *,
    key: jax.Array | None = None,
) -> Float[Array, "*N C H2 W2"] | tuple[Float[Array, "*N C H2 W2"], Int[Array, "*N C H2 W2"]]:
    r"""Takes the maximum over as many windows as the output has pixels, at random distances.

    With one uniform :math:`u` for each plane and axis, window :math:`i` starts at
    :math:`\lfloor (i + u)\,\alpha \rfloor - \lfloor u\,\alpha \rfloor`, where
    :math:`\alpha = (H - k) / (H_2 - 1)`, and the last at :math:`H - k`.

    Args:
        input: ``(N, C, H, W)``, or one image ``(C, H, W)``.
        kernel_size: window, in pixels: one number, or (height, width).
        output_size: one number, or (H2, W2).
        output_ratio: instead of `output_size`, the output's share of the input's height and width,
            between 0 and 1.
        return_indices: also return where each maximum is, as ``row * W + column``.
        _random_samples: :math:`u` in [0, 1) as ``(N, C, 2)``, first for the width; N is 1 for one
            image. Without them they are drawn.
        key: what they are drawn from.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image; with `return_indices` a pair of such.

    Raises:
        ValueError: if shapes or sizes do not fit, or neither a key nor samples are given.
        TypeError: if the dtypes of samples and input differ.

    Example:
        >>> import jax, jax.numpy as jnp, fdl.functional as F
        >>> image = jnp.ones((1, 3, 9, 9))
        >>> F.fractional_max_pool2d(image, 2, output_ratio=0.7, key=jax.random.key(0)).shape
        (1, 3, 6, 6)

    Torch: ``torch.nn.functional.fractional_max_pool2d``; indices are int32; `key` instead of a
    global generator.

    Source: Graham, "Fractional Max-Pooling", 2014.
    """
    name, dims = "fractional_max_pool2d", 2
    check_planes(name, input, dims)
    size = _output_size(name, input, output_size, output_ratio, dims)
    samples = _samples(name, input, _random_samples, key, dims)[..., ::-1]  # torch's: width first
    output, indices = _maxima(name, input, kernel_size, size, samples)
    return (output, indices) if return_indices else output


def fractional_max_pool3d(
    input: Float[Array, "*N C D H W"],
    kernel_size: Size,
    output_size: Size | None = None,
    output_ratio: Ratio | None = None,
    return_indices: bool = False,
    _random_samples: Float[Array, "N C 3"] | None = None,
    *,
    key: jax.Array | None = None,
) -> (
    Float[Array, "*N C D2 H2 W2"]
    | tuple[Float[Array, "*N C D2 H2 W2"], Int[Array, "*N C D2 H2 W2"]]
):
    """As :func:`fractional_max_pool2d`, of ``(N, C, D, H, W)`` or ``(C, D, H, W)``.

    `_random_samples` are ``(N, C, 3)``, for depth, height and width.

    Torch: ``torch.nn.functional.fractional_max_pool3d``; as there, and windows may just fit, which
    torch refuses in three dimensions.
    """
    name, dims = "fractional_max_pool3d", 3
    check_planes(name, input, dims)
    size = _output_size(name, input, output_size, output_ratio, dims)
    samples = _samples(name, input, _random_samples, key, dims)
    output, indices = _maxima(name, input, kernel_size, size, samples)
    return (output, indices) if return_indices else output


def _output_size(
    function: str,
    input: jax.Array,
    output_size: Size | None,
    output_ratio: Ratio | None,
    dims: int,
) -> tuple[int, ...]:
    if output_size is not None:
        return per_axis(function, "output_size", output_size, dims)
    if output_ratio is None:
        raise ValueError(
            f"{function}: output_size, output_ratio: expected one of them, got None for both."
        )
    ratios = (output_ratio,) * dims if isinstance(output_ratio, int | float) else output_ratio
    if len(ratios) != dims:
        raise ValueError(
            f"{function}: output_ratio: expected one number or {dims}, got {output_ratio}."
        )
    return tuple(int(n * r) for n, r in zip(input.shape[-dims:], ratios, strict=True))


def _samples(
    function: str,
    input: jax.Array,
    given: jax.Array | None,
    key: jax.Array | None,
    dims: int,
) -> jax.Array:
    """One number for each plane and axis, ``(N, C, dims)``."""
    batch = input.shape[0] if input.ndim == dims + 2 else 1
    shape = (batch, input.shape[-dims - 1], dims)
    if given is None:
        if key is None:
            raise ValueError(
                f"{function}: key: expected a jax.random.key or _random_samples, got None."
            )
        return jax.random.uniform(key, shape, input.dtype)
    check_same_dtype(function, input=input, _random_samples=given)
    if given.ndim != 3 or given.shape[0] < batch or given.shape[1:] != shape[1:]:
        raise ValueError(f"{function}: _random_samples: expected shape {shape}, got {given.shape}.")
    return lax.stop_gradient(given[:batch])


def _maxima(
    function: str,
    input: jax.Array,
    kernel_size: Size,
    size: tuple[int, ...],
    samples: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Maxima along one axis after the other, each with its flat pixel number."""
    dims = len(size)
    kernel = positive_per_axis(function, "kernel_size", kernel_size, dims)
    plane = input.shape[-dims:]
    if any(out < 0 or k + out - 1 > n for n, k, out in zip(plane, kernel, size, strict=True)):
        raise ValueError(
            f"{function}: output_size: expected at most {plane} + 1 - kernel_size={kernel}, got "
            f"{size}. Use a smaller window or output."
        )
    batched = input if input.ndim == dims + 2 else input[None]
    outside = int(np.prod(plane))
    values, places = lax.stop_gradient(batched), pixels(batched.shape, dims)
    for axis, (length, width, windows) in enumerate(zip(plane, kernel, size, strict=True)):
        starts = _starts(samples[..., axis], length - width, windows)
        index = starts[..., None] + jnp.arange(width, dtype=starts.dtype)
        values, places = (_split(x, index, axis + 2) for x in (values, places))
        values, places = first_largest(values, places, outside, axis + 3)
    output = taken_from(batched, values, places, dims)
    return (output, places) if input.ndim == dims + 2 else (output[0], places[0])


def _starts(samples: jax.Array, last: int, windows: int) -> jax.Array:
    """Where windows start along an axis, ``(N, C, windows)``, truncated as torch does."""
    step = np.asarray(last, samples.dtype) / np.asarray(max(windows - 1, 1), samples.dtype)
    number = np.arange(windows)
    offset = samples[..., None]
    from_zero = (offset + jnp.asarray(number, samples.dtype)) * jnp.asarray(step)
    starts = from_zero.astype(jnp.int32) - (offset * jnp.asarray(step)).astype(jnp.int32)
    return jnp.where(number == windows - 1, jnp.int32(last), starts)


def _split(input: jax.Array, index: jax.Array, axis: int) -> jax.Array:
    """An axis as (windows, pixels of a window), at other places in each ``(N, C)``."""
    batch, channels, windows, width = index.shape
    after = (1,) * (input.ndim - axis - 1)
    flat = index.reshape(batch, channels, *(1,) * (axis - 2), windows * width, *after)
    taken = jnp.take_along_axis(input, flat, axis, mode="clip")
    return taken.reshape(*input.shape[:axis], windows, width, *input.shape[axis + 1 :])
