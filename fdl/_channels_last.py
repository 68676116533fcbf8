"""Networks over images with channels last inside, whatever the layers and their callers see.

Torch's images are ``(N, C, *size)``. Convolutions compute on ``(N, *size, C)``, where a pixel's
channels are one stretch of memory, and so each of them would turn its input and its output. Here a
traced network is computed again, with images turned once, at its edges and where an operation needs
them in torch's order: results of convolutions stay as they are through everything that works
element by element, sums over axes, and what moves pixels about.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from fdl._equations import bound, evaluate

_CONVOLUTIONS = {"fdl_correlate", "fdl_pull_input"}
_WINDOWS = {"custom_jvp_call", "reduce_window", "reduce_window_max", "reduce_window_sum"}
"""Pooling and batch norm: turned back and forth, which cancels out where they turn it inside."""
_REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"}
_ELEMENTWISE = {
    *("abs", "add", "add_any", "and", "atan2", "cbrt", "ceil", "clamp", "convert_element_type"),
    *("copy", "cos", "cosh", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1"),
    *("fdl_rectify", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p"),
    *("logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow", "reduce_precision"),
    *("rem", "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square"),
    *("stop_gradient", "sub", "tan", "tanh", "xor"),
}


class Turned(NamedTuple):
    """An array ``(N, C, *size)`` that is held as ``(N, *size, C)``."""

    last: jax.Array


Value = jax.Array | Turned


def with_channels_last(function: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    """Calls a function that is being traced, and has channels last inside.

    Args:
        function: of pytrees, to a pytree of arrays.
        operands: what it is called with; leaves that are no arrays stay as they are.

    Returns:
        What it returns.
    """
    leaves, tree = jax.tree.flatten(operands)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray)]
    arrays = [leaves[i] for i in places]

    def of_arrays(arrays: list[Any]) -> Any:
        given = dict(zip(places, arrays, strict=True))
        return function(*tree.unflatten([given.get(i, leaf) for i, leaf in enumerate(leaves)]))

    traced, shapes = jax.make_jaxpr(of_arrays, return_shape=True)(arrays)
    outputs = evaluate(traced.jaxpr, traced.consts, arrays, _computed)
    return jax.tree.unflatten(jax.tree.structure(shapes), map(_plain, outputs))


def _computed(equation: Any, inputs: list[Value]) -> list[Value]:
    """The results of one operation."""
    name = equation.primitive.name
    inner = equation.params.get("jaxpr")
    if name in ("jit", "pjit") and isinstance(inner, ClosedJaxpr):
        return evaluate(inner.jaxpr, inner.consts, inputs, _computed)
    if name in _CONVOLUTIONS:
        return [_turned(x) for x in bound(equation, map(_plain, inputs))]
    if not any(isinstance(x, Turned) for x in inputs):
        return bound(equation, inputs)
    if name in _ELEMENTWISE:
        return [Turned(x) for x in bound(equation, map(_last, inputs))]
    if name in _REDUCTIONS:
        return [_reduced(equation, inputs[0])]
    if name in _MOVES:
        return [Turned(_MOVES[name](equation, [*map(_last, inputs)]))]
    outputs = bound(equation, map(_plain, inputs))
    if name in _WINDOWS:
        return [_turned(x) if jnp.ndim(x) > 2 else x for x in outputs]
    return outputs


def _reduced(equation: Any, operand: Any) -> jax.Array:
    dims, axes = operand.last.ndim, equation.params["axes"]
    (reduced,) = bound(equation, [operand.last], axes=tuple(_axis(axis, dims) for axis in axes))
    if 1 in axes:
        return reduced
    return jnp.moveaxis(reduced, -1, 0 if 0 in axes else 1)


def _concatenated(equation: Any, inputs: list[Any]) -> jax.Array:
    axis = _axis(equation.params["dimension"], inputs[0].ndim)
    return bound(equation, inputs, dimension=axis)[0]


def _padded(equation: Any, inputs: list[Any]) -> jax.Array:
    edges = _in_order(equation.params["padding_config"])
    return bound(equation, inputs, padding_config=edges)[0]


def _sliced(equation: Any, inputs: list[Any]) -> jax.Array:
    names = ("start_indices", "limit_indices", "strides")
    spans = {name: equation.params[name] and _in_order(equation.params[name]) for name in names}
    return bound(equation, inputs, **spans)[0]


_MOVES = {"concatenate": _concatenated, "pad": _padded, "slice": _sliced}


def _turned(array: jax.Array) -> Turned:
    return Turned(jnp.moveaxis(array, 1, -1))


def _plain(value: Value) -> jax.Array:
    return jnp.moveaxis(value.last, -1, 1) if isinstance(value, Turned) else value


def _last(value: Value) -> jax.Array:
    """With channels last; scalars, as a pad's value, are none."""
    if isinstance(value, Turned):
        return value.last
    return value if jnp.ndim(value) == 0 else jnp.moveaxis(value, 1, -1)


def _axis(axis: int, dims: int) -> int:
    """Where an axis is when channels are last."""
    return axis if axis == 0 else (axis - 2) % (dims - 1) + 1


def _in_order(of_axes: Sequence[Any]) -> tuple[Any, ...]:
    """What belongs to axes, when channels are last."""
    first, channels, *size = of_axes
    return (first, *size, channels)
