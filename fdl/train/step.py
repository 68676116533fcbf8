"""One training step as one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl._model import put_back
from fdl._types import Buffers, Params
from fdl.optim.applying import apply_gradients
from fdl.optim.grad_scaler import loss_scale
from fdl.train.objective import LossFn


class State(NamedTuple):
    """Everything that a training step reads and writes.

    Attributes:
        params: learnable tensors by name.
        buffers: running statistics by name.
        opt_state: the optimizer's.
        key: random key of the whole run; step t uses ``fold_in(key, t)``.
        step: number of steps taken.
    """

    params: Params
    buffers: Buffers
    opt_state: optax.OptState
    key: jax.Array
    step: jax.Array


Step = Callable[[State, tuple[Any, ...]], tuple[State, dict[str, jax.Array]]]


def init_state(
    params: Params, buffers: Buffers, optimizer: optax.GradientTransformation, *, key: jax.Array
) -> State:
    """Makes the state before the first step, from copies of the given tensors.

    Args:
        params: from ``model.init`` or an import.
        buffers: likewise.
        optimizer: any Optax transform.
        key: random key of the run, for dropout and shuffling.

    Returns:
        A state that owns its arrays, so that steps may reuse their memory.
    """
    params, buffers, opt_state, key = jax.tree.map(
        jnp.copy, (params, buffers, optimizer.init(params), key)
    )
    return State(params, buffers, opt_state, key, jnp.zeros((), jnp.int32))


class _Evaluated(NamedTuple):
    """What one evaluation gives beside the gradient."""

    value: jax.Array
    params: Params
    buffers: Buffers
    metrics: dict[str, jax.Array]


def make_step(
    loss_fn: LossFn, optimizer: optax.GradientTransformation, *, micro_batches: int = 1
) -> Step:
    """Compiles forward pass, gradient, update and buffers into one jitted function.

    The optimizer gets, if it takes extra arguments, also `value`, the loss, `grad`, its gradient,
    and ``value_fn(params)``, to evaluate the loss elsewhere, on the same batch with the same random
    key. The buffers of the returned state are those of the first evaluation. The loss is multiplied
    by the scale of an ``fdl.optim.grad_scaler`` in the optimizer before it is differentiated;
    `value`, `value_fn` and the metrics are not.

    Args:
        loss_fn: as :func:`fdl.train.supervised` makes it.
        optimizer: any Optax transform, fdl's among them.
        micro_batches: number of parts of equal size, in the order of the rows, that each batch is
            divided into. They are seen one after the other, in less memory: the gradients and the
            metrics are averaged, buffers go from part to part, each part draws its own dropout
            masks, and the optimizer moves once. The loss has to be a mean over rows.

    Returns:
        ``step(state, batch) -> (state, metrics)``. The given state is donated: its memory is
        reused, so go on with the returned one. ``step.__wrapped__`` is the function before
        ``jax.jit``.

    Raises:
        ValueError: if `micro_batches` is below 1; from the step, if it does not divide the rows.

    Example:
        >>> import fdl, jax, jax.numpy as jnp, fdl.functional as F
        >>> model = fdl.models.mlp([4, 2])
        >>> optimizer = fdl.optim.adamw(1e-3)
        >>> step = fdl.train.make_step(fdl.train.supervised(model, F.cross_entropy), optimizer)
        >>> state = fdl.train.init_state(
        ...     *model.init(jax.random.key(0)), optimizer, key=jax.random.key(1)
        ... )
        >>> state, metrics = step(state, (jnp.ones((8, 4)), jnp.zeros(8, int)))
        >>> int(state.step), list(metrics)
        (1, ['loss'])

    Torch: the loop of ``zero_grad``, ``backward`` and ``step``; with `micro_batches` that of
    ``(loss / k).backward()`` over ``batch.chunk(k)``. With ``fdl.optim.lbfgs`` a step is one
    ``step(closure)``; there, torch's batch norms count every evaluation of the closure.
    """
    if micro_batches < 1:
        raise ValueError(f"make_step: micro_batches: expected 1 or more, got {micro_batches}.")

    def step(state: State, batch: tuple[Any, ...]) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        scale = loss_scale(state.opt_state)
        gradient = partial(_gradient, loss_fn, scale, micro_batches)
        if micro_batches == 1:
            grads, first = gradient(state.params, state.buffers, batch, key)
        else:
            batch, key = _divided(batch, micro_batches), jax.random.split(key, micro_batches)
            grads, first = _accumulated(gradient, state.params, state.buffers, batch, key)

        def value_fn(params: Params) -> jax.Array:
            def value(part):
                return loss_fn(params, state.buffers, part[0], train=True, key=part[1])[0]

            if micro_batches == 1:
                return value((batch, key))
            return jax.lax.map(value, (batch, key)).mean()

        more = {"value": first.value, "grad": grads, "value_fn": value_fn}
        params, opt_state = apply_gradients(optimizer, first.params, state.opt_state, grads, **more)
        return State(params, first.buffers, opt_state, state.key, state.step + 1), first.metrics

    return jax.jit(step, donate_argnames="state")


def _gradient(
    loss_fn: LossFn,
    scale: float | jax.Array,
    parts: int,
    params: Params,
    buffers: Buffers,
    batch: tuple[Any, ...],
    key: jax.Array,
) -> tuple[Params, _Evaluated]:
    """The gradient of a part's share in the scaled loss, and what its forward pass gives."""

    def objective(params):
        value, (updated, metrics) = loss_fn(params, buffers, batch, train=True, key=key)
        share = value if parts == 1 else value / parts
        if isinstance(scale, jax.Array):
            share = share.astype(scale.dtype) * scale
        return share, (value, updated, metrics)

    grads, (value, updated, metrics) = jax.grad(objective, has_aux=True)(params)
    return grads, _Evaluated(value, *put_back(params, buffers, updated), metrics)


def _accumulated(
    gradient: Callable[..., tuple[Params, _Evaluated]],
    params: Params,
    buffers: Buffers,
    batches: tuple[Any, ...],
    keys: jax.Array,
) -> tuple[Params, _Evaluated]:
    """The sum of the parts' gradients; each part goes on from what the one before left."""

    def add(carry, part):
        total, params, buffers = carry
        grads, seen = gradient(params, buffers, *part)
        total = jax.tree.map(jnp.add, total, grads)
        return (total, seen.params, seen.buffers), (seen.value, seen.metrics)

    start = optax.tree.zeros_like(params), params, buffers
    (total, params, buffers), measured = jax.lax.scan(add, start, (batches, keys))
    value, metrics = jax.tree.map(lambda x: x.mean(0), measured)
    return total, _Evaluated(value, params, buffers, metrics)


def _divided(batch: tuple[Any, ...], parts: int) -> tuple[Any, ...]:
    """Each array ``(rows, ...)`` as ``(parts, rows / parts, ...)``."""
    shapes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)}
    if any(not shape or shape[0] % parts for shape in shapes):
        rows = ", ".join(str(shape[0]) if shape else "a scalar" for shape in sorted(shapes))
        raise ValueError(
            f"make_step: micro_batches: expected a divisor of the number of rows, got {parts} for "
            f"{rows}. Choose a batch size that is a multiple of {parts}."
        )
    return jax.tree.map(lambda x: jnp.reshape(x, (parts, -1, *jnp.shape(x)[1:])), batch)
