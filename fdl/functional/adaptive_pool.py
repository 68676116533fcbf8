"""Pooling to a given output size, in windows that divide the input as evenly as pixels allow."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from fdl.functional._windows import (
    check_floating,
    check_planes,
    divided,
    first_largest,
    lowest,
    pixels,
    taken_from,
)

OutputSize = int | Sequence[int | None]


def adaptive_avg_pool1d(
    input: Float[Array, "*N C L"], output_size: OutputSize
) -> Float[Array, "*N C L2"]:
    """Averages ``(N, C, L)`` or ``(C, L)`` down to a length; see :func:`adaptive_avg_pool2d`.

    Torch: ``torch.nn.functional.adaptive_avg_pool1d``; floats only.
    """
    return _averages("adaptive_avg_pool1d", input, output_size, dims=1)


def adaptive_avg_pool2d(
    input: Float[Array, "*N C H W"], output_size: OutputSize
) -> Float[Array, "*N C H2 W2"]:
    r"""Averages windows, as many as the output has pixels.

    Window :math:`i` has the rows from :math:`\lfloor i H / H_2 \rfloor` up to, but without,
    :math:`\lceil (i + 1) H / H_2 \rceil`, and columns likewise: neighbours overlap where the sizes
    do not divide.

    Args:
        input: ``(N, C, H, W)``, or one image ``(C, H, W)``.
        output_size: one number, or (H2, W2); None in a pair keeps the input's.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image.

    Raises:
        ValueError: if the input's shape or `output_size` do not fit.
        TypeError: if the input is not floating.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.adaptive_avg_pool2d(jnp.arange(15.0).reshape(1, 3, 5), (1, 2)).tolist()
        [[[6.0, 8.0]]]

    Torch: ``torch.nn.functional.adaptive_avg_pool2d``; floats only.
    """
    return _averages("adaptive_avg_pool2d", input, output_size, dims=2)


def adaptive_avg_pool3d(
    input: Float[Array, "*N C D H W"], output_size: OutputSize
) -> Float[Array, "*N C D2 H2 W2"]:
    """Averages ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see :func:`adaptive_avg_pool2d`.

    Torch: ``torch.nn.functional.adaptive_avg_pool3d``; floats only.
    """
    return _averages("adaptive_avg_pool3d", input, output_size, dims=3)


def adaptive_max_pool1d(
    input: Float[Array, "*N C L"], output_size: OutputSize, return_indices: bool = False
) -> Float[Array, "*N C L2"] | tuple[Float[Array, "*N C L2"], Int[Array, "*N C L2"]]:
    """Takes the maxima of ``(N, C, L)`` or ``(C, L)``; see :func:`adaptive_max_pool2d`.

    Torch: ``torch.nn.functional.adaptive_max_pool1d``; indices are int32.
    """
    output, indices = _maxima("adaptive_max_pool1d", input, output_size, dims=1)
    return (output, indices) if return_indices else output


def adaptive_max_pool2d(
    input: Float[Array, "*N C H W"], output_size: OutputSize, return_indices: bool = False
) -> Float[Array, "*N C H2 W2"] | tuple[Float[Array, "*N C H2 W2"], Int[Array, "*N C H2 W2"]]:
    """Takes the maximum over windows, as many as the output has pixels.

    The windows are those of :func:`adaptive_avg_pool2d`. The first of a window's maxima has the
    gradient; NaN wins over every number.

    Args:
        input: ``(N, C, H, W)``, or one image ``(C, H, W)``.
        output_size: one number, or (H2, W2); None in a pair keeps the input's.
        return_indices: also return where each maximum is, as ``row * W + column``.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image; with `return_indices` a pair of such.

    Raises:
        ValueError: if the input's shape or `output_size` do not fit.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.adaptive_max_pool2d(jnp.arange(15.0).reshape(1, 3, 5), (1, 2)).tolist()
        [[[12.0, 14.0]]]

    Torch: ``torch.nn.functional.adaptive_max_pool2d``; indices are int32.
    """
    output, indices = _maxima("adaptive_max_pool2d", input, output_size, dims=2)
    return (output, indices) if return_indices else output


def adaptive_max_pool3d(
    input: Float[Array, "*N C D H W"], output_size: OutputSize, return_indices: bool = False
) -> (
    Float[Array, "*N C D2 H2 W2"]
    | tuple[Float[Array, "*N C D2 H2 W2"], Int[Array, "*N C D2 H2 W2"]]
):
    """Takes the maxima of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see :func:`adaptive_max_pool2d`.

    Torch: ``torch.nn.functional.adaptive_max_pool3d``; indices are int32.
    """
    output, indices = _maxima("adaptive_max_pool3d", input, output_size, dims=3)
    return (output, indices) if return_indices else output


def _averages(function: str, input: jax.Array, output_size: OutputSize, dims: int) -> jax.Array:
    check_floating(function, input)
    sizes = _sizes(function, input, output_size, dims)
    total, lengths = input, []
    for axis, windows in enumerate(sizes, input.ndim - dims):
        lengths.append(_bounds(input.shape[axis], windows)[1])
        total = jnp.sum(_split(total, axis, windows, fill=0), axis + 1)
    return divided(total, lengths)


def _maxima(
    function: str, input: jax.Array, output_size: OutputSize, dims: int
) -> tuple[jax.Array, jax.Array]:
    """Maxima along one axis after the other, each with its flat pixel number."""
    sizes = _sizes(function, input, output_size, dims)
    outside = int(np.prod(input.shape[-dims:]))
    values, places = lax.stop_gradient(input), pixels(input.shape, dims)
    for axis, windows in enumerate(sizes, input.ndim - dims):
        split = partial(_split, axis=axis, windows=windows)
        inside = split(values, fill=lowest(values.dtype)), split(places, fill=outside)
        values, places = first_largest(*inside, outside, axis + 1)
    return taken_from(input, values, places, dims), places


def _bounds(length: int, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Where windows start along an axis, and how long they are."""
    index = np.arange(windows)
    starts = index * length // max(windows, 1)
    return starts, -(-(index + 1) * length // max(windows, 1)) - starts


def _split(input: jax.Array, axis: int, windows: int, fill: float) -> jax.Array:
    """An axis as (windows, pixels of the longest), filled up in shorter ones."""
    length = input.shape[axis]
    if windows and length % windows == 0:
        shape = (*input.shape[:axis], windows, length // windows, *input.shape[axis + 1 :])
        return input.reshape(shape)
    starts, lengths = _bounds(length, windows)
    offset = np.arange(lengths.max(initial=1))
    index = np.minimum(starts[:, None] + offset, length - 1)
    inside = (offset < lengths[:, None]).reshape(*index.shape, *(1,) * (input.ndim - axis - 1))
    pixels_of = jnp.take(input, index, axis, mode="clip")
    return jnp.where(inside, pixels_of, jnp.array(fill, input.dtype))


def _sizes(function: str, input: jax.Array, output_size: OutputSize, dims: int) -> tuple[int, ...]:
    check_planes(function, input, dims)
    wanted = (output_size,) * dims if isinstance(output_size, int) else output_size
    if not isinstance(wanted, Sequence) or len(wanted) != dims:
        raise ValueError(
            f"{function}: output_size: expected one number, or {dims} numbers or None, got "
            f"{output_size}."
        )
    sizes = tuple(
        n if size is None else size for size, n in zip(wanted, input.shape[-dims:], strict=True)
    )
    if min(sizes) < 0:
        raise ValueError(f"{function}: output_size: expected 0 or more, got {output_size}.")
    return sizes
