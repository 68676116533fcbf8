"""Schedules that step once an epoch."""

import jax
import jax.numpy as jnp

from fdl.optim.schedules._rule import Group, Number, Rule, Schedule, Written, check_count


def per_epoch(schedule: Schedule, steps_per_epoch: int) -> Schedule:
    r"""A schedule whose steps are epochs, of an optimizer that counts batches.

    .. math:: \gamma'_t = \gamma_{\lfloor t / n \rfloor}

    Args:
        schedule: its arguments (`T_max`, `milestones`, `total_iters` ...) are in epochs.
        steps_per_epoch: :math:`n`, optimizer updates in an epoch.

    Returns:
        A schedule of the updates, with a ``momentum`` where `schedule` has one; a chain may step
        one member with each batch and another with each epoch.

    Raises:
        TypeError: if `schedule` is not one of fdl's schedules.
        ValueError: if `steps_per_epoch` is no positive integer.

    Example:
        >>> import fdl
        >>> decay = fdl.optim.exponential_lr(1.0, gamma=0.5)
        >>> schedule = fdl.optim.per_epoch(decay, steps_per_epoch=2)
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]

    Torch: ``scheduler.step()`` once at the end of each epoch.
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"per_epoch: schedule: expected a schedule of fdl.optim, got "
            f"{type(schedule).__name__}. Of a function f: lambda step: f(step // steps_per_epoch)."
        )
    check_count("per_epoch", least=1, steps_per_epoch=steps_per_epoch)

    def bind(group: Group) -> Rule:
        rule = schedule.bind(group)

        def step(lr: Number, step: jax.Array) -> jax.Array:
            later = rule.step(lr, jnp.maximum(step // steps_per_epoch, 1))
            return jnp.where(step % steps_per_epoch == 0, later, lr)

        return rule._replace(
            step=step,
            run=lambda lr, step: rule.run(lr, step // steps_per_epoch),
            kind="scaling" if rule.kind == "scaling" else "other",
            momentum=None if rule.momentum is None else _slowed(rule.momentum, steps_per_epoch),
        )

    return Schedule(schedule.lr, bind, schedule.members)


def _slowed(cycled: Written, steps_per_epoch: int) -> Written:
    def momentum(step: jax.Array) -> tuple[jax.Array, jax.Array]:
        written, value = cycled(step // steps_per_epoch)
        return written * steps_per_epoch, value

    return momentum
