"""Averages of the weights along a run, to evaluate with."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fdl._types import Buffers, Params
from fdl.optim._moments import as_float, next_step, no_steps

AvgFn = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""``(averaged, current, num_averaged) -> averaged``, for one tensor; all three of one dtype."""


class AveragingState(NamedTuple):
    """State of an :class:`Averaging`.

    Attributes:
        n_averaged: number of weights averaged so far.
        params: their average, to evaluate with and for ``fdl.interop.to_torch``.
        buffers: likewise.
    """

    n_averaged: jax.Array
    params: Params
    buffers: Buffers


class Averaging(NamedTuple):
    """An average of the weights along a run, as pure functions.

    Attributes:
        init: ``(params, buffers) -> state``.
        update: ``(state, params, buffers) -> state``; pure, for use inside jit too. The state owns
            its arrays: a step that donates `params` leaves them alone.
    """

    init: Callable[[Params, Buffers], AveragingState]
    update: Callable[[AveragingState, Params, Buffers], AveragingState]


def averaged_model(avg_fn: AvgFn | None = None, use_buffers: bool = False) -> Averaging:
    r"""Averages weights by a rule of one's own.

    The first update copies the weights; later ones call `avg_fn` with each tensor.

    Args:
        avg_fn: ``(averaged, current, num_averaged) -> averaged``; None for the plain average of
            :func:`swa`. Integer tensors reach it as floats of JAX's default width, and what it
            returns for them is truncated.
        use_buffers: average the buffers too; else they are those of the last weights, and batch
            norms need :func:`update_bn` before they are evaluated.

    Returns:
        An :class:`Averaging`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> latest = fdl.optim.averaged_model(lambda averaged, current, num_averaged: current)
        >>> state = latest.init({"w": jnp.ones(2)}, {})
        >>> latest.update(state, {"w": jnp.zeros(2)}, {}).params["w"].tolist()
        [0.0, 0.0]

    Torch: ``torch.optim.swa_utils.AveragedModel``; no `multi_avg_fn`. In its ``state_dict`` the
    names begin with "module.", here they do not.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization",
    UAI 2018.
    """
    return Averaging(_init, partial(_update, _plain if avg_fn is None else avg_fn, use_buffers))


def ema(decay: float = 0.999, use_buffers: bool = False) -> Averaging:
    r"""Exponential moving average of the weights.

    .. math::
        \bar\theta_1 = \theta_1, \quad \bar\theta_t = \beta \bar\theta_{t-1} + (1 - \beta) \theta_t

    Args:
        decay: :math:`\beta`, from 0 to 1.
        use_buffers: as in :func:`averaged_model`.

    Returns:
        An :class:`Averaging`.

    Raises:
        ValueError: if `decay` is out of its range.

    Example:
        >>> import fdl, fdl.functional as F, jax, jax.numpy as jnp
        >>> model = fdl.models.mlp([4, 2])
        >>> loss_fn, optimizer = fdl.train.supervised(model, F.cross_entropy), fdl.optim.sgd(0.1)
        >>> state = fdl.train.init_state(
        ...     *model.init(jax.random.key(0)), optimizer, key=jax.random.key(1)
        ... )
        >>> step, averaging = fdl.train.make_step(loss_fn, optimizer), fdl.optim.ema(0.99)
        >>> average, update = averaging.init(state.params, state.buffers), jax.jit(averaging.update)
        >>> batch = jnp.ones((8, 4)), jnp.zeros(8, int)
        >>> for _ in range(3):
        ...     state, _ = step(state, batch)
        ...     average = update(average, state.params, state.buffers)
        >>> metrics = fdl.train.evaluate(loss_fn, average.params, average.buffers, batch)
        >>> int(average.n_averaged), list(metrics)
        (3, ['loss'])

    Torch: ``torch.optim.swa_utils.AveragedModel(model, avg_fn=get_ema_avg_fn(decay))``, or the same
    with ``multi_avg_fn=get_ema_multi_avg_fn(decay)``.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
    Journal on Control and Optimization, 1992.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"ema: decay: expected a number from 0 to 1, got {decay}.")
    return averaged_model(
        lambda averaged, current, _: decay * averaged + (1 - decay) * current, use_buffers
    )


def swa(use_buffers: bool = False) -> Averaging:
    r"""Stochastic weight averaging: the plain average of the weights.

    .. math::
        \bar\theta_{t} = \bar\theta_{t-1} + (\theta_t - \bar\theta_{t-1}) / t

    Args:
        use_buffers: as in :func:`averaged_model`.

    Returns:
        An :class:`Averaging`.

    Example:
        >>> import fdl, fdl.functional as F, jax, numpy as np
        >>> model = fdl.models.mlp([4, 2])
        >>> loss_fn, optimizer = fdl.train.supervised(model, F.cross_entropy), fdl.optim.sgd(0.1)
        >>> state = fdl.train.init_state(
        ...     *model.init(jax.random.key(0)), optimizer, key=jax.random.key(1)
        ... )
        >>> averaging, data = fdl.optim.swa(), (np.ones((8, 4), np.float32), np.arange(8) % 2)
        >>> average = averaging.init(state.params, state.buffers)
        >>> for epoch in range(2):
        ...     result = fdl.train.fit(state, loss_fn, optimizer, data, epochs=1, progress=False)
        ...     state = result.state
        ...     average = averaging.update(average, state.params, state.buffers)
        >>> buffers = fdl.optim.update_bn(
        ...     model, average.params, average.buffers, fdl.data.batches(data, 8)
        ... )
        >>> metrics = fdl.train.evaluate(loss_fn, average.params, buffers, data)
        >>> int(average.n_averaged), list(metrics)
        (2, ['loss'])

    Torch: ``torch.optim.swa_utils.AveragedModel(model)``, beside ``fdl.optim.swa_lr``.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization",
    UAI 2018.
    """
    return averaged_model(use_buffers=use_buffers)


def _plain(averaged: jax.Array, current: jax.Array, num_averaged: jax.Array) -> jax.Array:
    return averaged + (current - averaged) / (num_averaged + 1)


def _init(params: Params, buffers: Buffers) -> AveragingState:
    return AveragingState(no_steps(), *jax.tree.map(jnp.copy, (params, buffers)))


def _update(
    avg_fn: AvgFn, use_buffers: bool, state: AveragingState, params: Params, buffers: Buffers
) -> AveragingState:
    def moved(averaged: jax.Array, current: jax.Array) -> jax.Array:
        exact = jnp.issubdtype(current.dtype, jnp.inexact)
        operands = averaged, current, state.n_averaged
        floats = [x.astype(current.dtype) if exact else as_float(x) for x in operands]
        new = avg_fn(*floats).astype(current.dtype)
        return jnp.where(state.n_averaged == 0, current, new)

    averaged = jax.tree.map(moved, state.params, params)
    if use_buffers:
        buffers = jax.tree.map(moved, state.buffers, buffers)
    else:
        buffers = jax.tree.map(jnp.copy, buffers)
    return AveragingState(next_step(state.n_averaged), averaged, buffers)
