"""The learning rate that falls where a metric stops improving."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from fdl.optim._lr import check_non_negative
from fdl.optim.schedules._rule import Number, check_choice, default_float


class PlateauState(NamedTuple):
    """State of :func:`reduce_lr_on_plateau`, by torch's names; each a scalar array.

    Attributes:
        lr: the learning rate now.
        best: the best metric so far.
        num_bad_epochs: metrics since then that were not better.
        cooldown_counter: steps until bad ones count again.
        last_epoch: metrics seen.
    """

    lr: jax.Array
    best: jax.Array
    num_bad_epochs: jax.Array
    cooldown_counter: jax.Array
    last_epoch: jax.Array


class Plateau(NamedTuple):
    """A learning rate that depends on a metric.

    Attributes:
        init: ``() -> state``.
        step: ``(state, metric) -> state``; pure, for use inside jit too.
    """

    init: Callable[[], PlateauState]
    step: Callable[[PlateauState, Number], PlateauState]


def reduce_lr_on_plateau(
    lr: Number,
    mode: Literal["min", "max"] = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: int = 0,
    min_lr: float = 0,
    eps: float = 1e-8,
) -> Plateau:
    r"""Multiplies the learning rate by `factor` where a metric has not improved for a while.

    .. math:: \gamma \leftarrow \max(f \gamma, \gamma_{min})

    Args:
        lr: base learning rate :math:`\gamma`.
        mode: whether smaller ("min") or larger ("max") is better.
        factor: :math:`f`, below 1.
        patience: how many metrics in a row may be no better; the next one reduces.
        threshold: by how much the best one must be beaten.
        threshold_mode: as a part of it, "rel", or by itself, "abs".
        cooldown: steps after a reduction in which bad ones do not count.
        min_lr: :math:`\gamma_{min}`.
        eps: a reduction by no more than this is left out.

    Returns:
        A :class:`Plateau`: ``init()`` gives a state, ``step(state, metric)`` the next one, and
        ``state.lr`` is the learning rate.

    Raises:
        ValueError: if `factor` is 1 or more, a mode unknown or `lr` negative.

    Example:
        The state's rate goes into an optimizer whose hyperparameters are injected.

        >>> import fdl, optax, jax.numpy as jnp
        >>> plateau = fdl.optim.reduce_lr_on_plateau(0.1, factor=0.5, patience=1)
        >>> state = plateau.init()
        >>> optimizer = optax.inject_hyperparams(fdl.optim.sgd)(lr=0.1)
        >>> optimizer_state = optimizer.init({"w": jnp.ones(2)})
        >>> for loss in (3.0, 2.0, 2.0, 2.0):
        ...     state = plateau.step(state, loss)
        ...     optimizer_state.hyperparams["lr"] = state.lr
        >>> round(float(state.lr), 3)
        0.05

    Torch: ``torch.optim.lr_scheduler.ReduceLROnPlateau``. `min_lr` is one number: there is one
    group. As in torch it is no member of a sequence or a chain.
    """
    name = "reduce_lr_on_plateau"
    check_non_negative(name, lr=lr)
    check_choice(name, "mode", mode, ("min", "max"))
    check_choice(name, "threshold_mode", threshold_mode, ("rel", "abs"))
    if factor >= 1:
        raise ValueError(f"{name}: factor: expected below 1, got {factor}.")
    sign = -1 if mode == "min" else 1

    def init() -> PlateauState:
        counts = (jnp.zeros((), jnp.int32) for _ in range(3))
        return PlateauState(default_float(lr), default_float(-sign * jnp.inf), *counts)

    def better(metric: jax.Array, best: jax.Array) -> jax.Array:
        margin = sign * threshold
        goal = best * (1 + margin) if threshold_mode == "rel" else best + margin
        return sign * metric > sign * goal

    def step(state: PlateauState, metric: Number) -> PlateauState:
        metric = default_float(metric)
        improved, cooling = better(metric, state.best), state.cooldown_counter > 0
        bad = jnp.where(improved | cooling, 0, state.num_bad_epochs + 1)
        reduced = jnp.maximum(state.lr * factor, min_lr)
        now = bad > patience
        return PlateauState(
            lr=jnp.where(now & (state.lr - reduced > eps), reduced, state.lr),
            best=jnp.where(improved, metric, state.best),
            num_bad_epochs=jnp.where(now, 0, bad),
            cooldown_counter=jnp.where(now, cooldown, jnp.maximum(state.cooldown_counter - 1, 0)),
            last_epoch=state.last_epoch + 1,
        )

    return Plateau(init, step)
