"""Schedules that cycle the momentum too, against the learning rate."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from fdl.optim._lr import check_non_negative
from fdl.optim.schedules._rule import (
    Group,
    Number,
    Rule,
    Schedule,
    absolute,
    check_choice,
    check_count,
    cycling,
    default_float,
    half_cosine,
    initial_lr,
    power,
    traceable,
)


def one_cycle_lr(  # noqa: PLR0913  torch's arguments
    max_lr: Number,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    r"""Up to `max_lr` and down to far below the start, while the momentum goes down and up.

    Args:
        max_lr: the largest learning rate.
        total_steps: steps of the cycle; None is ``epochs * steps_per_epoch``.
        epochs: used with `steps_per_epoch` where there is no `total_steps`.
        steps_per_epoch: used with `epochs`.
        pct_start: the part of the cycle in which the rate rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum: give a momentum too.
        base_momentum: the smallest momentum, where the rate is largest.
        max_momentum: the largest momentum, where the cycle begins and ends.
        div_factor: `max_lr` over the first rate.
        final_div_factor: the first rate over the last.
        three_phase: go down to the first rate as slowly as up, then further.

    Returns:
        A schedule whose ``momentum`` is the momentum, a schedule too. At step `total_steps` it
        continues the last phase, as torch does; later, where torch raises, it is what it was at
        ``total_steps - 1``, the end of the cycle.

    Raises:
        ValueError: if an argument is out of its range, or the number of steps is not given.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.one_cycle_lr(1.0, total_steps=11, anneal_strategy="linear")
        >>> [round(float(schedule(step)), 3) for step in (0, 1, 2, 3, 10)]
        [0.04, 0.457, 0.875, 0.909, 0.0]
        >>> [round(float(schedule.momentum(step)), 3) for step in (0, 1, 2, 3, 10)]
        [0.95, 0.907, 0.863, 0.859, 0.95]
        >>> optimizer = fdl.optim.sgd(schedule, momentum=schedule.momentum)
        >>> optimizer = fdl.optim.adam(schedule, betas=(schedule.momentum, 0.999))

    Torch: ``torch.optim.lr_scheduler.OneCycleLR``. The optimizer gets the momentum only where it is
    passed to it; torch replaces the optimizer's. `div_factor` gives the first rate, so that there
    is no base rate before `max_lr`.

    Source: Smith and Topin, "Super-Convergence", 2019.
    """
    name = "one_cycle_lr"
    check_non_negative(name, max_lr=max_lr)
    total = _total(total_steps, epochs, steps_per_epoch)
    check_choice(name, "anneal_strategy", anneal_strategy, ("cos", "linear"))
    if not isinstance(pct_start, float) or not 0 <= pct_start <= 1 or pct_start * total == 1:
        raise ValueError(
            f"{name}: pct_start: expected a float from 0 to 1, not one step, got {pct_start}."
        )
    ends = [pct_start * total - 1, total - 1]
    if three_phase:
        ends.insert(1, 2 * pct_start * total - 2)
    fall = half_cosine if anneal_strategy == "cos" else lambda part: part

    def phased(values: list[Number], step: jax.Array) -> jax.Array:
        """Between the values in turn, over the phases."""
        step = default_float(jnp.where(step > total, total - 1, step))
        parts = []
        for start, end, first, last in zip([0.0, *ends], ends, values, values[1:], strict=False):
            length = (end - start) or 1.0
            parts.append(first * fall((end - step) / length) + last * fall((step - start) / length))
        return jnp.select([step <= end for end in ends[:-1]], parts[:-1], parts[-1])

    def bind(group: Group) -> Rule:
        largest = default_float(max_lr) if isinstance(max_lr, jax.Array) else max_lr
        first = largest / div_factor
        group |= {"initial_lr": first, "max_lr": largest, "min_lr": first / final_div_factor}
        # torch reads the group at each step: another one-cycle scheduler of it replaces these
        keys = ["initial_lr", "max_lr", *["initial_lr"] * three_phase, "min_lr"]
        rule = absolute(lambda step: phased([group[key] for key in keys], step))
        if not cycle_momentum:
            return rule
        group |= {"max_momentum": max_momentum, "base_momentum": base_momentum}
        turns = ["max_momentum", "base_momentum", *["max_momentum"] * (len(ends) - 1)]
        return cycling(group, rule, lambda step: phased([group[key] for key in turns], step))

    return Schedule(None, bind)


def _total(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        check_count("one_cycle_lr", least=1, total_steps=total_steps)
        return total_steps
    if epochs is None or steps_per_epoch is None:
        raise ValueError(
            "one_cycle_lr: total_steps: expected a number of steps, got None. Pass it, or both "
            "epochs and steps_per_epoch."
        )
    check_count("one_cycle_lr", least=1, epochs=epochs, steps_per_epoch=steps_per_epoch)
    return epochs * steps_per_epoch


def cyclic_lr(  # noqa: PLR0913  torch's arguments
    base_lr: Number,
    max_lr: Number,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
    scale_fn: Callable[[jax.Array], Number] | None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
) -> Schedule:
    r"""Up and down between two learning rates again and again, while the momentum goes down and up.

    .. math:: \gamma_t = \gamma + (\gamma_{max} - \gamma) \, x_t \, s_t

    where :math:`x_t` goes from 0 to 1 and back in a cycle.

    Args:
        base_lr: the smallest learning rate :math:`\gamma`.
        max_lr: the largest learning rate :math:`\gamma_{max}`.
        step_size_up: steps up.
        step_size_down: steps down; None is `step_size_up`.
        mode: the scale :math:`s_t`: "triangular" is 1, "triangular2" halves it in each cycle,
            "exp_range" is ``gamma**step``.
        gamma: of "exp_range".
        scale_fn: the scale instead of `mode`'s, a function as :func:`lambda_lr` takes.
        scale_mode: call `scale_fn` with the number of the cycle, from 1, "cycle", or with the step,
            "iterations".
        cycle_momentum: give a momentum too.
        base_momentum: the smallest momentum, where the rate is largest.
        max_momentum: the largest momentum, where a cycle begins and ends.

    Returns:
        A schedule without end, whose ``momentum`` is the momentum, a schedule too.

    Raises:
        TypeError: if `scale_fn` is no function or cannot be traced.
        ValueError: if an argument is out of its range.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.cyclic_lr(0.1, 0.5, step_size_up=2)
        >>> [round(float(schedule(step)), 3) for step in range(6)]
        [0.1, 0.3, 0.5, 0.3, 0.1, 0.3]
        >>> [round(float(schedule.momentum(step)), 3) for step in range(5)]
        [0.9, 0.85, 0.8, 0.85, 0.9]
        >>> optimizer = fdl.optim.sgd(schedule, momentum=schedule.momentum)

    Torch: ``torch.optim.lr_scheduler.CyclicLR``. The optimizer gets the momentum only where it is
    passed to it; torch replaces the optimizer's.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
    """
    name = "cyclic_lr"
    check_non_negative(name, base_lr=base_lr, max_lr=max_lr)
    down = step_size_up if step_size_down is None else step_size_down
    if not (step_size_up > 0 and down > 0):
        raise ValueError(
            f"{name}: step_size_up, step_size_down: expected above 0, got {step_size_up}, {down}."
        )
    up, down = (int(size) if size == int(size) else size for size in (step_size_up, down))
    size = up + down
    scale = _scale(mode, gamma, scale_fn, scale_mode)

    def height(step: jax.Array) -> jax.Array:
        step = step if isinstance(size, int) else default_float(step)
        place, cycle = step % size, step // size + 1
        rising, falling = (default_float(way) for way in (place, size - place))
        return jnp.where(place <= up, rising / up, falling / down) * scale(cycle, step)

    def bind(group: Group) -> Rule:
        group["lr"] = base_lr
        initial = initial_lr(group)
        rule = absolute(lambda step: base_lr + (max_lr - base_lr) * height(step))
        rule = rule._replace(begin=lambda lr: initial)  # torch makes it before it takes base_lr
        if not cycle_momentum:
            return rule
        group |= {"max_momentum": max_momentum, "base_momentum": base_momentum}
        swing = max_momentum - base_momentum
        return cycling(group, rule, lambda step: max_momentum - swing * height(step))

    return Schedule(None, bind)


def _scale(
    mode: str, gamma: float, scale_fn: Callable | None, scale_mode: str
) -> Callable[[jax.Array, jax.Array], Number]:
    """The scale as a function of the cycle and of the step."""
    check_choice("cyclic_lr", "scale_mode", scale_mode, ("cycle", "iterations"))
    if scale_fn is not None:
        function = traceable("cyclic_lr", "scale_fn", scale_fn)
        return lambda cycle, step: function(cycle if scale_mode == "cycle" else step)
    check_choice("cyclic_lr", "mode", mode, ("triangular", "triangular2", "exp_range"))
    if mode == "exp_range":
        return lambda cycle, step: power(gamma, step)
    return lambda cycle, step: 1.0 if mode == "triangular" else 0.5 ** default_float(cycle - 1)
