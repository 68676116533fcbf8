"""The whole step of an optimizer: its update, and the parameters after it."""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from fdl.functional._formulations import apart, by_platform


class Elementwise(optax.GradientTransformationExtraArgs):
    """An optimizer whose update of a number depends on nothing else of its array.

    So arrays may be reshaped while it works. What it does with extra arguments is its own affair:
    it has to be the same without them.
    """


def apply_gradients(
    optimizer: optax.GradientTransformation,
    params: optax.Params,
    opt_state: optax.OptState,
    grads: optax.Updates,
    **extra: Any,
) -> tuple[Any, optax.OptState]:
    """Takes one step: the optimizer's update, added to the parameters.

    On CPUs an optimizer that works element by element, as torch's SGD, Adam and their kin do, sees
    kernels of convolutions as rows of numbers: twice as fast over ResNet-18's.

    Args:
        optimizer: any Optax transform, fdl's among them.
        params: the parameters.
        opt_state: the optimizer's state.
        grads: gradients, a leaf for each parameter.
        **extra: further arguments of the optimizer's update, if it takes them.

    Returns:
        The parameters and the optimizer's state after the step.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.sgd(lr=0.5)
        >>> params = {"w": jnp.ones(2)}
        >>> grads = {"w": jnp.array([1.0, 2.0])}
        >>> params, _ = fdl.optim.apply_gradients(optimizer, params, optimizer.init(params), grads)
        >>> params["w"].tolist()
        [0.5, 0.0]

    Torch: ``optimizer.step()``.
    """
    if isinstance(optimizer, Elementwise) and any(map(_is_kernel, jax.tree.leaves(params))):

        def library(*operands: Any) -> Any:
            return _applied(optimizer, *operands)

        def rows(*operands: Any) -> Any:
            return _applied_in_rows(optimizer, *operands)

        return by_platform("update", params, opt_state, grads, library=library, cpu=rows)
    return _applied(optimizer, params, opt_state, grads, **extra)


def _applied(optimizer, params, opt_state, grads, **extra):
    update = optax.with_extra_args_support(optimizer).update
    updates, opt_state = update(grads, opt_state, params, **extra)
    with jax.numpy_dtype_promotion("standard"):  # an update may be wider than its parameter
        return cast(Any, optax.apply_updates(params, updates)), opt_state


def _applied_in_rows(optimizer, params, opt_state, grads):
    """The step on kernels as rows: XLA's loops on CPUs go along the last axis, of 3 numbers here.

    Apart, or it would merge the reshapes with the loops.
    """
    rows = jax.tree.map(_as_rows, (params, opt_state, grads))
    moved = apart(partial(_applied, optimizer), *rows, never=lambda *rows: rows[:2])
    return jax.tree.map(lambda x, y: y.reshape(x.shape), (params, opt_state), moved)


def _is_kernel(array: jax.Array) -> bool:
    return jnp.ndim(array) > 2


def _as_rows(array: jax.Array) -> jax.Array:
    """A kernel as ``(O, ...)``: its first axis stays, over which it may lie on several devices."""
    return array.reshape(len(array), -1) if _is_kernel(array) else array
