"""The partial inverse of maximum pooling."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fdl.functional._spatial import Size, per_axis, positive_per_axis
from fdl.functional._windows import check_planes


def max_unpool1d(
    input: Float[Array, "*N C L"],
    indices: Int[Array, "*N C L"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Float[Array, "*N C L2"]:
    """Puts the maxima of ``(N, C, L2)`` back to their places; see :func:`max_unpool2d`.

    Torch: ``torch.nn.functional.max_unpool1d``; as there.
    """
    given = input, indices, kernel_size, stride, padding, output_size
    return _unpooled("max_unpool1d", *given, dims=1)


def max_unpool2d(
    input: Float[Array, "*N C H W"],
    indices: Int[Array, "*N C H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Float[Array, "*N C H2 W2"]:
    """Puts maxima back to the places that they were taken from, and 0 everywhere else.

    If two have the same place, one of them stays, and both have its gradient.

    Args:
        input: maxima ``(N, C, H, W)``, or of one image ``(C, H, W)``.
        indices: where each belongs, as ``max_pool2d(..., return_indices=True)`` tells it.
        kernel_size: the window of the pooling: one number, or (height, width).
        stride: step of the window; `kernel_size` if None.
        padding: padding of the pooling.
        output_size: the pooling's input size, of which several fit one output: (H2, W2), or a
            whole shape; without it, the windows' full extent.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image.

    Raises:
        ValueError: if shapes or sizes do not fit, or an index lies outside of the output. Under
            ``jax.jit`` indices are not looked at: what lies outside is left out.
        TypeError: if `indices` are not integers.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> image = jnp.asarray([[[1.0, 3.0, 2.0, 0.0]]])
        >>> output, indices = F.max_pool2d(image, (1, 2), return_indices=True)
        >>> F.max_unpool2d(output, indices, (1, 2)).tolist()
        [[[0.0, 3.0, 2.0, 0.0]]]

    Torch: ``torch.nn.functional.max_unpool2d``; indices may be of any integer dtype.
    """
    given = input, indices, kernel_size, stride, padding, output_size
    return _unpooled("max_unpool2d", *given, dims=2)


def max_unpool3d(
    input: Float[Array, "*N C D H W"],
    indices: Int[Array, "*N C D H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Float[Array, "*N C D2 H2 W2"]:
    """Puts the maxima of ``(N, C, D2, H2, W2)`` back to their places; see :func:`max_unpool2d`.

    Torch: ``torch.nn.functional.max_unpool3d``; as there.
    """
    given = input, indices, kernel_size, stride, padding, output_size
    return _unpooled("max_unpool3d", *given, dims=3)


def _unpooled(
    function: str,
    input: jax.Array,
    indices: jax.Array,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    output_size: Sequence[int] | None,
    dims: int,
) -> jax.Array:
    check_planes(function, input, dims)
    kernel = positive_per_axis(function, "kernel_size", kernel_size, dims)
    step = kernel if stride is None else positive_per_axis(function, "stride", stride, dims)
    pad = per_axis(function, "padding", padding, dims)
    axes = zip(input.shape[-dims:], kernel, step, pad, strict=True)
    full = tuple((n - 1) * s + k - 2 * p for n, k, s, p in axes)
    size = full if output_size is None else _given_size(function, output_size, full, step)
    if min(size) < 1:
        raise ValueError(f"{function}: padding: expected an output with pixels, got {size}.")
    pixels = math.prod(size)
    _check_indices(function, input, indices, pixels)
    lead, planes = input.shape[:-dims], math.prod(input.shape[:-dims])
    flat = (x.reshape(planes, math.prod(input.shape[-dims:])) for x in (input, indices))
    return _placed(*flat, pixels).reshape(*lead, *size)


def _given_size(
    function: str, output_size: Sequence[int], full: tuple[int, ...], step: tuple[int, ...]
) -> tuple[int, ...]:
    dims, given = len(full), tuple(output_size)
    size = given[2:] if len(given) == dims + 2 else given
    if len(size) != dims:
        raise ValueError(
            f"{function}: output_size: expected {dims} numbers, or {dims + 2} with batch and "
            f"channels, got {given}."
        )
    if any(abs(n - m) >= s for n, m, s in zip(size, full, step, strict=True)):
        raise ValueError(
            f"{function}: output_size: expected less than stride={step} away from {full}, got "
            f"{size}. Pass the size that was pooled."
        )
    return size


def _check_indices(function: str, input: jax.Array, indices: jax.Array, pixels: int) -> None:
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise TypeError(f"{function}: indices: expected an integer dtype, got {indices.dtype}.")
    if indices.shape != input.shape:
        raise ValueError(
            f"{function}: indices: expected the input's shape {input.shape}, got {indices.shape}."
        )
    if isinstance(indices, jax.core.Tracer) or not indices.size:
        return
    known = np.asarray(indices)
    low, high = int(known.min()), int(known.max())
    if low < 0 or high >= pixels:
        raise ValueError(
            f"{function}: indices: expected 0 to {pixels - 1}, got {low} to {high}. Pass the "
            "pooling's own kernel_size, stride and padding, and its input's size as output_size."
        )


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _placed(values: jax.Array, places: jax.Array, pixels: int) -> jax.Array:
    """Rows of `pixels` zeros, with values at places."""

    def row(values, places):
        empty = jnp.zeros_like(values, shape=pixels)
        return empty.at[places].set(values, mode="drop", wrap_negative_indices=False)

    return jax.vmap(row)(values, places)


@_placed.defjvp
def _placed_jvp(pixels, primals, tangents):
    """Transposes to torch's gradient, by which values of one place all have its gradient."""
    values, places = primals

    def row(tangent, places):
        empty = jnp.zeros_like(tangent, shape=pixels)
        return empty.at[places].add(tangent, mode="drop", wrap_negative_indices=False)

    return _placed(values, places, pixels), jax.vmap(row)(tangents[0], places)
