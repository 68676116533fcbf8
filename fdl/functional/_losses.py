"""What the losses share: reductions, checks, and torch's derivatives at kinks."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from fdl._checks import check_axis, check_same_dtype

EPSILON = 9.999999960041972e-13
"""Torch's 1e-12, which is a float32 there in any precision."""


def reduced(function: str, losses: Array, reduction: str) -> Array:
    """Applies a reduction; the mean divides by the number of losses."""
    match reduction:
        case "mean":
            return summed(losses) / losses.size
        case "sum":
            return summed(losses)
        case "none":
            return losses
    raise ValueError(
        f"{function}: reduction: expected 'mean', 'sum' or 'none', got {reduction!r}. "
        "Reductions of other kinds are written on the losses of reduction='none'."
    )


def summed(losses: Array) -> Array:
    """The sum of many numbers of one size, as exact as torch's.

    XLA's CPU adds in order, so the later ones are rounded to the size of the sum, all alike where
    they are alike. What that leaves out is added: it is zero but for rounding, and so is its
    derivative.
    """
    total = jnp.sum(losses)
    level = lax.stop_gradient(total) / max(losses.size, 1)
    missed = jnp.sum(lax.stop_gradient(losses) - level)
    return total + jnp.where(jnp.isfinite(missed), missed, 0)


def check_pair(function: str, name: str, value: Array, *, input: Array, of: str = "input") -> None:
    """Checks that two float tensors agree in dtype and shape."""
    check_same_dtype(function, **{of: input, name: value})
    check_shape(function, name, value, expected=input.shape, of=of)


def check_shape(
    function: str, name: str, value: Array, *, expected: tuple[int, ...], of: str
) -> None:
    """Checks that a tensor has the shape that another one asks for."""
    if value.shape != expected:
        raise ValueError(
            f"{function}: {name}: expected {of}'s shape {expected}, got {value.shape}. A "
            f"missing axis would broadcast to a wrong loss: add it with {name}[..., None]."
        )


def check_broadcast(function: str, name: str, value: Array, *, input: Array) -> None:
    """Checks that a weight broadcasts to the input's shape."""
    check_same_dtype(function, input=input, **{name: value})
    try:
        fits = jnp.broadcast_shapes(value.shape, input.shape) == input.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"{function}: {name}: expected a shape that broadcasts to input's {input.shape}, "
            f"got {value.shape}. One weight for each class goes along the last axis."
        )


def check_classes(
    function: str,
    target: Array,
    *,
    shape: tuple[int, ...],
    classes: int,
    ignore_index: int | None = None,
) -> None:
    """Checks class indices; their values only where they are concrete."""
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise TypeError(
            f"{function}: target: expected class indices (integers), got {target.dtype}. "
            "Convert with target.astype(int)."
        )
    if target.shape != shape:
        raise ValueError(
            f"{function}: target: expected class indices of shape {shape}, got {target.shape}. "
            "One index stands for each row of scores; drop or add axes."
        )
    if isinstance(target, jax.core.Tracer):
        return
    seen = np.asarray(target).astype(np.int64)  # NumPy: inside jax.jit, JAX would trace a constant
    wrong = (seen < 0) | (seen >= classes)
    if ignore_index is not None:
        wrong = wrong & (seen != ignore_index)
    if wrong.any():
        ignored = "" if ignore_index is None else f" or ignore_index={ignore_index}"
        raise ValueError(
            f"{function}: target: expected class indices from 0 to {classes - 1}{ignored}, got "
            f"{int(seen[wrong][0])}. Classes count from 0."
        )


def at_class(scores: Array, index: Array, axis: int = -1) -> Array:
    """The score of one class for each row.

    An index out of range makes NaN; clamping or counting from the end would hide a wrong label.
    """
    picked = jnp.take_along_axis(scores, jnp.expand_dims(index, axis), axis, mode="fill")
    return jnp.where(index < 0, jnp.nan, picked.squeeze(axis))


def weights_of(
    function: str, weight: Array | None, index: Array, *, like: Array, classes: int
) -> Array:
    """Each target's class weight, which is 1 without weights."""
    if weight is None:
        return jnp.ones_like(like, shape=index.shape)
    check_class_weight(function, weight, like=like, classes=classes)
    return weight[index]


def check_class_weight(function: str, weight: Array, *, like: Array, classes: int) -> None:
    """Checks one weight for each class."""
    check_same_dtype(function, input=like, weight=weight)
    if weight.ndim != 1:
        raise ValueError(
            f"{function}: weight: expected shape ({classes},), got {weight.shape}. "
            "Pass one weight for each class."
        )
    check_axis(function, "weight", weight.size, expected=classes, of="input")


def labels(function: str, target: Array, *, like: Array) -> Array:
    """Labels or counts as floats: integers are converted, floats must have the input's dtype."""
    if jnp.issubdtype(target.dtype, jnp.integer):
        return target.astype(like.dtype)
    check_same_dtype(function, input=like, target=target)
    return target


def absolute(x: Array) -> Array:
    """The absolute value, with derivative 0 at 0."""
    return jnp.where(x > 0, x, jnp.where(x < 0, -x, lax.stop_gradient(x)))


def at_least_zero(x: Array) -> Array:
    """The positive part, with derivative 1 at 0."""
    return jnp.where(x >= 0, x, jnp.where(x < 0, 0, lax.stop_gradient(x)))


def raised(x: Array, floor: float) -> Array:
    """`x` raised to at least `floor`, with derivative 1 even where it is raised."""
    return jnp.where(x < floor, x + lax.stop_gradient(floor - x), x)
