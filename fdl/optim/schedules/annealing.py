"""Schedules that approach a given learning rate, and the one given by a function."""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from fdl.optim._lr import check_non_negative
from fdl.optim.schedules._rule import (
    LARGEST_COUNT,
    Group,
    Number,
    Rule,
    Schedule,
    absolute,
    check_choice,
    check_count,
    default_float,
    half_cosine,
    initial_lr,
    scheduled,
    traceable,
)


def lambda_lr(lr: Number, lr_lambda: Callable[[jax.Array], Number]) -> Schedule:
    r"""The base learning rate times a function of the step.

    .. math:: \gamma_t = \gamma f(t)

    Args:
        lr: base learning rate :math:`\gamma`.
        lr_lambda: :math:`f`, called with the step as a float; made of operations JAX can trace. For
            any other Python function: ``fdl.optim.tabulate(lr_lambda, steps)``.

    Returns:
        A schedule; past any end it is what the function says.

    Raises:
        TypeError: if `lr_lambda` is no function or cannot be traced.
        ValueError: if `lr` is negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.lambda_lr(1.0, lambda step: 0.5 ** (step // 2))
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]

    Torch: ``torch.optim.lr_scheduler.LambdaLR``. One function, not a list of them.
    """
    factor = traceable("lambda_lr", "lr_lambda", lr_lambda)

    def bind(group: Group) -> Rule:
        base = initial_lr(group)
        return absolute(lambda step: base * factor(step))

    return scheduled("lambda_lr", lr, bind)


def cosine_annealing_lr(lr: Number, T_max: int, eta_min: float = 0.0) -> Schedule:
    r"""Half a cosine wave from the learning rate to `eta_min`, and back up after it.

    .. math:: \gamma_t = \eta + (\gamma - \eta) \, \frac{1 + \cos(\pi t / T)}{2}

    Args:
        lr: base learning rate :math:`\gamma`.
        T_max: :math:`T`, steps to the minimum.
        eta_min: :math:`\eta`, the smallest rate.

    Returns:
        A schedule; past `T_max` it rises again and falls again, with period :math:`2T`.

    Raises:
        ValueError: if `T_max` is no positive integer, or `lr` is negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.cosine_annealing_lr(1.0, T_max=2)
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [1.0, 0.5, 0.0, 0.5, 1.0]

    Torch: ``torch.optim.lr_scheduler.CosineAnnealingLR``, which divides by `T_max` 0 at the first
    step and takes fractions.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR
    2017.
    """
    check_count("cosine_annealing_lr", least=1, T_max=T_max)

    def wave(step: jax.Array) -> jax.Array:
        return half_cosine(default_float(T_max - step % (2 * T_max)) / T_max)

    def bind(group: Group) -> Rule:
        base = initial_lr(group)

        def step(lr: Number, step: jax.Array) -> jax.Array:
            rise = (base - eta_min) * (1 - math.cos(math.pi / T_max)) / 2
            fall = eta_min + (lr - eta_min) * wave(step) / wave(step - 1)
            return jnp.where(step % (2 * T_max) == (T_max + 1) % (2 * T_max), lr + rise, fall)

        def run(lr: Number, step: jax.Array) -> jax.Array:
            height = jnp.where(step <= T_max, lr - eta_min, base - eta_min)
            return eta_min + height * wave(step)

        return Rule(lambda lr: lr, lambda lr: base, step, run, "other")

    return scheduled("cosine_annealing_lr", lr, bind)


def cosine_annealing_warm_restarts(
    lr: Number, T_0: int, T_mult: int = 1, eta_min: float = 0.0
) -> Schedule:
    r"""Half cosine waves from the learning rate to `eta_min`, one after the other.

    .. math:: \gamma_t = \eta + (\gamma - \eta) \, \frac{1 + \cos(\pi \tau / T_i)}{2}

    Args:
        lr: base learning rate :math:`\gamma`.
        T_0: steps of the first wave.
        T_mult: how many times as long each next wave is.
        eta_min: :math:`\eta`, the rate at the end of a wave.

    Returns:
        A schedule without end; :math:`\tau` counts from the last restart and may be a fraction,
        as in torch's ``scheduler.step(epoch + batch / batches)``.

    Raises:
        ValueError: if `T_0` or `T_mult` is no positive integer, `eta_min` no number or `lr`
            negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.cosine_annealing_warm_restarts(1.0, T_0=2, T_mult=2)
        >>> [round(float(schedule(step)), 3) for step in range(7)]
        [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]

    Torch: ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR
    2017.
    """
    name = "cosine_annealing_warm_restarts"
    check_count(name, least=1, T_0=T_0, T_mult=T_mult)
    if not isinstance(eta_min, (float, int)):
        raise ValueError(f"{name}: eta_min: expected a number, got {eta_min!r}.")

    starts, lengths = _waves(T_0, T_mult)

    def left(step: jax.Array) -> jax.Array:
        """The part of the present wave that is left."""
        if T_mult == 1:
            return default_float(T_0 - step % T_0) / T_0
        restarts = jnp.asarray(starts, step.dtype)
        wave = (restarts <= step).sum() - 1
        length = default_float(lengths)[wave]
        return (length - default_float(step - restarts[wave])) / length

    def bind(group: Group) -> Rule:
        base = initial_lr(group)

        def value(step: jax.Array) -> jax.Array:
            return eta_min + (base - eta_min) * half_cosine(left(step))

        return absolute(value)

    return scheduled(name, lr, bind)


def _waves(T_0: int, T_mult: int) -> tuple[list[int], list[int]]:
    """The first step and the length of each wave that an int32 can reach."""
    starts, lengths = [0], [T_0]
    while T_mult > 1 and starts[-1] + lengths[-1] < 2 * LARGEST_COUNT:
        starts.append(starts[-1] + lengths[-1])
        lengths.append(lengths[-1] * T_mult)
    return starts, lengths


def swa_lr(
    lr: Number,
    swa_lr: float,
    anneal_epochs: int = 10,
    anneal_strategy: Literal["cos", "linear"] = "cos",
) -> Schedule:
    r"""From the learning rate to a constant one, for averaging weights.

    .. math:: \gamma_t = (1 - \alpha_t) \gamma + \alpha_t \gamma_{swa}

    Args:
        lr: base learning rate :math:`\gamma`.
        swa_lr: :math:`\gamma_{swa}`.
        anneal_epochs: :math:`n`, steps until it is reached.
        anneal_strategy: "cos", :math:`\alpha_t = (1 - \cos(\pi t / n)) / 2`, or "linear",
            :math:`\alpha_t = t / n`.

    Returns:
        A schedule, `swa_lr` from step `anneal_epochs` on.

    Raises:
        ValueError: if `anneal_epochs` is no integer from 0, the strategy unknown or `lr` negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.swa_lr(1.0, swa_lr=0.5, anneal_epochs=2)
        >>> [round(float(schedule(step)), 3) for step in range(4)]
        [1.0, 0.75, 0.5, 0.5]

    Torch: ``torch.optim.swa_utils.SWALR``.

    Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization",
    UAI 2018.
    """
    check_non_negative("swa_lr", swa_lr=swa_lr)
    check_count("swa_lr", anneal_epochs=anneal_epochs)
    check_choice("swa_lr", "anneal_strategy", anneal_strategy, ("cos", "linear"))

    def kept(step: jax.Array) -> jax.Array:
        left = default_float(jnp.maximum(anneal_epochs - step, 0)) / anneal_epochs
        return left if anneal_strategy == "linear" else half_cosine(left)

    def bind(group: Group) -> Rule:
        initial_lr(group)
        group["swa_lr"] = swa_lr  # a later scheduler of the group replaces it for this one too
        if anneal_epochs == 0:
            return absolute(lambda step: group["swa_lr"])

        def step(lr: Number, step: jax.Array) -> jax.Array:
            part = kept(step - 1)
            start = (lr - (1 - part) * group["swa_lr"]) / jnp.where(step <= anneal_epochs, part, 1)
            return jnp.where(step <= anneal_epochs, run(start, step), group["swa_lr"])

        def run(lr: Number, step: jax.Array) -> jax.Array:
            return kept(step) * lr + (1 - kept(step)) * group["swa_lr"]

        return Rule(lambda lr: lr, lambda lr: lr, step, run, "other")

    return scheduled("swa_lr", lr, bind)
