"""One training step as one compiled program."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from fdl._model import put_back
from fdl._types import Buffers, Params
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
    params, buffers, key = jax.tree.map(jnp.copy, (params, buffers, key))
    return State(params, buffers, optimizer.init(params), key, jnp.zeros((), jnp.int32))


def make_step(loss_fn: LossFn, optimizer: optax.GradientTransformation) -> Step:
    """Compiles forward pass, gradient, update and buffers into one jitted function.

    Args:
        loss_fn: as :func:`fdl.train.supervised` makes it.
        optimizer: any Optax transform, fdl's among them.

    Returns:
        ``step(state, batch) -> (state, metrics)``. The given state is donated: its memory is
        reused, so go on with the returned one. ``step.__wrapped__`` is the function before
        ``jax.jit``.

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
    """

    def step(state: State, batch: tuple[Any, ...]) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        gradient = jax.grad(loss_fn, has_aux=True)
        grads, (updated, metrics) = gradient(
            state.params, state.buffers, batch, train=True, key=key
        )
        params, buffers = put_back(state.params, state.buffers, updated)
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        params = cast(Params, optax.apply_updates(params, updates))
        return State(params, buffers, opt_state, state.key, state.step + 1), metrics

    return jax.jit(step, donate_argnames="state")
