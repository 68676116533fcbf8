"""Distances and similarities of vectors, with torch's derivatives at 0 and at ties."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fdl._checks import check_ndim, check_same_dtype
from fdl.functional._losses import absolute, raised


def cosine_similarity(
    x1: Float[Array, "..."], x2: Float[Array, "..."], dim: int = 1, eps: float = 1e-8
) -> Float[Array, "..."]:
    r"""Cosine :math:`x_1 \cdot x_2 / (\max(|x_1|, \epsilon) \max(|x_2|, \epsilon))` along one axis.

    The gradient ignores the maxima; that of a norm at 0 is 0.

    Args:
        x1: vectors along `dim`.
        x2: vectors; the shapes broadcast.
        dim: the axis of the vectors, counted in the broadcast shape.
        eps: the least norm.

    Returns:
        The broadcast shape less `dim`.

    Raises:
        ValueError: if the shapes do not broadcast, or have no axis `dim`.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.cosine_similarity(jnp.array([[3.0, 4.0]]), jnp.array([[4.0, 3.0]])).round(4).tolist()
        [0.9599999785423279]

    Torch: ``torch.nn.functional.cosine_similarity``; no deviation.
    """
    shape = _broadcast("cosine_similarity", x1, x2)
    if not -len(shape) <= dim < len(shape):
        raise ValueError(
            f"cosine_similarity: dim: expected an axis of shape {shape}, got {dim}. "
            "A vector alone has dim=0."
        )
    unit1, unit2 = (
        x / raised(_norm(x, 2, axis=dim, keepdims=True), eps)
        for x in (jnp.broadcast_to(x1, shape), jnp.broadcast_to(x2, shape))
    )
    return jnp.sum(unit1 * unit2, dim)


def pairwise_distance(
    x1: Float[Array, "*N D"],
    x2: Float[Array, "*N D"],
    p: float = 2.0,
    eps: float = 1e-6,
    keepdim: bool = False,
) -> Float[Array, "..."]:
    r"""Distance :math:`\| x_1 - x_2 + \epsilon \|_p` of each vector to its partner.

    Args:
        x1: vectors along the last axis.
        x2: vectors; the shapes broadcast.
        p: the norm's degree, perhaps infinite or negative.
        eps: added to each difference, so that equal vectors have a gradient.
        keepdim: keep the last axis, 1 long.

    Returns:
        The broadcast shape less its last axis.

    Raises:
        ValueError: if the shapes do not broadcast.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.pairwise_distance``; no deviation.
    """
    shape = _broadcast("pairwise_distance", x1, x2)
    if not shape:
        raise ValueError(
            "pairwise_distance: x1: expected vectors (..., D), got shape (). Add an axis with "
            "x[None]."
        )
    return _norm(x1 - x2 + eps, p, axis=-1, keepdims=keepdim)


def pdist(input: Float[Array, "N D"], p: float = 2.0) -> Float[Array, " M"]:
    r"""Distances :math:`\| x_i - x_j \|_p` of all pairs of rows :math:`i < j`.

    Args:
        input: vectors.
        p: the norm's degree, at least 0, perhaps infinite.

    Returns:
        ``M = N (N - 1) / 2`` distances, in the order (0, 1), (0, 2), ..., (1, 2), ...

    Raises:
        ValueError: if `input` is no matrix or `p` is negative.

    Torch: ``torch.nn.functional.pdist``; no deviation.
    """
    check_ndim("pdist", "input", input, expected={2: "(N, D)"})
    if p < 0:
        raise ValueError(f"pdist: p: expected at least 0, got {p}. Infinity is the largest.")
    first, second = np.triu_indices(len(input), 1)
    difference = input[first] - input[second]
    if p < math.inf:
        return _norm(difference, p, axis=-1)
    return _maximum(absolute(difference))


def _broadcast(function: str, x1: Array, x2: Array) -> tuple[int, ...]:
    check_same_dtype(function, x1=x1, x2=x2)
    try:
        return jnp.broadcast_shapes(x1.shape, x2.shape)
    except ValueError:
        raise ValueError(
            f"{function}: x2: expected a shape that broadcasts with x1's {x1.shape}, got "
            f"{x2.shape}. For all pairs use x1[:, None] and x2[None]."
        ) from None


def _norm(x: Array, p: float, *, axis: int, keepdims: bool = False) -> Array:
    """The p-norm; where it is 0 its derivative is 0, and that of an element that is 0 too."""
    size = absolute(x)
    if p == 0:
        return jnp.sum(x != 0, axis, keepdims=keepdims, dtype=x.dtype)
    if p == 1:
        return jnp.sum(size, axis, keepdims=keepdims)
    if math.isinf(p):
        return (jnp.max if p > 0 else jnp.min)(size, axis, keepdims=keepdims)
    if p == 2:
        total = jnp.sum(jnp.square(x), axis, keepdims=keepdims)
        return jnp.where(total == 0, 0, jnp.sqrt(jnp.where(total == 0, 1, total)))
    powers = jnp.where(x == 0, 0 if p > 0 else jnp.inf, jnp.where(x == 0, 1, size) ** p)
    total = jnp.sum(powers, axis, keepdims=keepdims)
    return jnp.where(total == 0, 0, jnp.where(total == 0, 1, total) ** (1 / p))


def _maximum(size: Array) -> Array:
    """The maximum along the last axis, of which every element that has it takes the gradient."""
    most = lax.stop_gradient(jnp.max(size, -1, keepdims=True, initial=0))
    ties = jnp.where(size == most, size - lax.stop_gradient(size), 0)
    return most[..., 0] + jnp.sum(ties, -1)
