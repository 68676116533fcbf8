"""Several schedules as one: one after the other, or all at each step."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp

from fdl.optim.schedules._rule import (
    Group,
    Number,
    Rule,
    Schedule,
    Written,
    absolute,
    check_count,
    default_float,
    made_for,
    replayed,
)


def sequential_lr(schedulers: Sequence[Schedule], milestones: Sequence[int]) -> Schedule:
    """One schedule after the other, each from its own step 0.

    Args:
        schedulers: schedules from one base learning rate.
        milestones: the steps at which the second and later ones begin, in ascending order.

    Returns:
        A schedule. A later schedule starts from the base learning rate wherever the one before
        ended, except :func:`multiplicative_lr` and :func:`swa_lr`, which go on from there. The
        last one goes on past its end as it does alone. Where one cycles the momentum, the sequence
        has a ``momentum``, which stays while the others run.

    Raises:
        TypeError: if a member is not one of fdl's schedules, or is itself composed.
        ValueError: if there is no schedule, there are not as many milestones as switches, they
            descend, or the base learning rates differ.

    Example:
        >>> import fdl
        >>> warmup = fdl.optim.linear_lr(1.0, start_factor=0.5, total_iters=2)
        >>> decay = fdl.optim.cosine_annealing_lr(1.0, T_max=2)
        >>> schedule = fdl.optim.sequential_lr([warmup, decay], milestones=[2])
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [0.5, 0.75, 1.0, 0.5, 0.0]

    Torch: ``torch.optim.lr_scheduler.SequentialLR`` of schedulers made in this order. The schedules
    carry the learning rate. Members must not be composed: torch raises where it switches to one,
    and is a step ahead where it begins with one.
    """
    lr, name = _shared_lr("sequential_lr", schedulers), "sequential_lr"
    if len(milestones) != len(schedulers) - 1:
        raise ValueError(
            f"{name}: milestones: expected {len(schedulers) - 1} for {len(schedulers)} schedulers, "
            f"got {len(milestones)}."
        )
    for milestone in milestones:
        check_count(name, milestones=milestone)
    if list(milestones) != sorted(milestones):
        raise ValueError(f"{name}: milestones: expected ascending steps, got {list(milestones)}.")
    if composed := [i for i, schedule in enumerate(schedulers) if schedule.members]:
        raise TypeError(
            f"{name}: schedulers: expected plain schedules, got composed ones at {composed}. Put "
            "their members in one sequence, or the sequence in a chain."
        )

    def bind(group: Group) -> Rule:
        rules = [made_for(group, schedule) for schedule in schedulers]
        group["lr"] = group["initial_lr"]
        starts = [0, *milestones]
        run = bisect_right(milestones, 0)
        chosen = [i for i in range(run, len(rules)) if starts[i] not in starts[i + 1 :] or i == run]
        return _sequence([rules[i] for i in chosen], [starts[i] for i in chosen], group)

    return Schedule(lr, bind, tuple(schedulers))


def _sequence(rules: list[Rule], starts: list[int], group: Group) -> Rule:
    """The rule of rules that start at different steps, the first one at 0."""
    made = group.get("momentum")  # the last scheduler that cycles it wrote it when it was made

    def step(lr: Number, step: jax.Array) -> Number:
        value = rules[0].step(lr, step)
        for rule, start in zip(rules[1:], starts[1:], strict=True):
            later = rule.step(lr, jnp.maximum(step - start, 1))
            entered = jnp.where(step == start, rule.enter(lr), later)
            value = jnp.where(step >= start, entered, value)
        return value

    def run(lr: Number, step: jax.Array) -> Number:
        value = rules[0].run(lr, step)
        for (before, rule), (start, switch) in zip(pairwise(rules), pairwise(starts), strict=True):
            last = jnp.asarray(switch - 1 - start, step.dtype)
            lr = rule.enter(before.run(lr, last))
            later = rule.run(lr, jnp.maximum(step - switch, 0))
            value = jnp.where(step >= switch, later, value)
        return value

    def momentum(step: jax.Array) -> tuple[jax.Array, jax.Array]:
        written, value = jnp.zeros_like(step), default_float(made)
        for rule, start, switch in zip(rules, starts, [*starts[1:], None], strict=True):
            if rule.momentum is not None:
                last = step if switch is None else jnp.minimum(step, switch - 1)
                at, new = rule.momentum(jnp.maximum(last - start, 0))
                written = jnp.where(step >= start, at + start, written)
                value = jnp.where(step >= start, new, value)
        return written, value

    first = rules[0]
    begin = first.enter if first.kind == "absolute" else first.begin  # its step 0 a second time
    rule = Rule(begin, first.enter, step, run, "other")
    return rule if made is None else rule._replace(momentum=momentum)


def chained_scheduler(schedulers: Sequence[Schedule]) -> Schedule:
    """All schedules at each step, each from the learning rate the one before it left.

    Args:
        schedulers: schedules from one base learning rate.

    Returns:
        A schedule. Where all members multiply the rate it is the product of their factors. Where
        there are others (:func:`cosine_annealing_lr`, :func:`swa_lr`, :func:`sequential_lr`) it
        repeats torch's recursion from step 0 at each call: in a long training make it a lookup by
        :func:`tabulate`. Each goes on past its end as it does alone. Where members cycle the
        momentum, the chain has a ``momentum``, the last one's.

    Raises:
        TypeError: if a member is not one of fdl's schedules.
        ValueError: if there is no schedule, or the base learning rates differ.

    Example:
        >>> import fdl
        >>> warmup = fdl.optim.constant_lr(1.0, factor=0.5, total_iters=2)
        >>> decay = fdl.optim.exponential_lr(1.0, gamma=0.5)
        >>> schedule = fdl.optim.chained_scheduler([warmup, decay])
        >>> [round(float(schedule(step)), 3) for step in range(4)]
        [0.5, 0.25, 0.25, 0.125]

    Torch: ``torch.optim.lr_scheduler.ChainedScheduler`` of schedulers made in this order. The
    schedules carry the learning rate.
    """
    lr = _shared_lr("chained_scheduler", schedulers)

    def bind(group: Group) -> Rule:
        return _chain([made_for(group, schedule) for schedule in schedulers])

    return Schedule(lr, bind, tuple(schedulers))


def _chain(rules: list[Rule]) -> Rule:
    """The rule of rules that all step, in order."""

    def step(lr: Number, step: jax.Array) -> Number:
        for rule in rules:
            lr = rule.step(lr, step)
        return lr

    def product(lr: Number, step: jax.Array) -> Number:
        for rule in rules:
            lr = rule.run(lr, step)
        return lr

    kinds = {rule.kind for rule in rules}
    if "absolute" in kinds:  # it forgets what came before
        rule = absolute(lambda count: step(0.0, count))
    elif kinds == {"scaling"} or len(rules) == 1:
        rule = Rule(lambda lr: lr, lambda lr: lr, step, product, rules[0].kind)
    else:
        rule = Rule(lambda lr: lr, lambda lr: lr, step, replayed(step), "other")
    # the members have begun
    return rule._replace(begin=lambda lr: lr, momentum=_latest(rules))


def _latest(rules: list[Rule]) -> Written | None:
    """The momentum that rules which step in order leave: the one written last."""
    cycled = [rule.momentum for rule in rules if rule.momentum is not None]
    if not cycled:
        return None

    def momentum(step: jax.Array) -> tuple[jax.Array, jax.Array]:
        written, value = cycled[0](step)
        for other in cycled[1:]:
            at, new = other(step)
            value = jnp.where(at >= written, new, value)
            written = jnp.maximum(at, written)
        return written, value

    return momentum


def _shared_lr(name: str, schedulers: Sequence[Schedule]) -> Number | None:
    """The one base learning rate of schedules, None if none has one."""
    if not schedulers:
        raise ValueError(f"{name}: schedulers: expected one or more schedules, got none.")
    for i, schedule in enumerate(schedulers):
        if not isinstance(schedule, Schedule):
            raise TypeError(
                f"{name}: schedulers: expected schedules of fdl.optim, got "
                f"{type(schedule).__name__} at {i}. Make a function one with fdl.optim.lambda_lr."
            )
    rates = [schedule.lr for schedule in schedulers if schedule.lr is not None]
    plain = {float(rate) for rate in rates if not isinstance(rate, jax.core.Tracer)}
    if len(plain) > 1:
        raise ValueError(
            f"{name}: schedulers: expected one base learning rate, got {sorted(plain)}. "
            "Torch's share their optimizer's."
        )
    return rates[0] if rates else None
