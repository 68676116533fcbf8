"""Schedules that multiply the learning rate: each step by a factor of its own."""

from collections import Counter
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp

from fdl.optim.schedules._rule import (
    Number,
    Schedule,
    as_count,
    check_count,
    default_float,
    power,
    scaling,
    traceable,
)


def multiplicative_lr(lr: Number, lr_lambda: Callable[[jax.Array], Number]) -> Schedule:
    r"""Multiplies the learning rate by a function's value at each step.

    .. math:: \gamma_t = \gamma_{t-1} f(t), \qquad \gamma_0 = \gamma

    Args:
        lr: base learning rate :math:`\gamma`.
        lr_lambda: :math:`f`, called with the step as a float; made of operations JAX can trace. For
            any other Python function: ``fdl.optim.tabulate(lr_lambda, steps)``.

    Returns:
        A schedule without end. It multiplies all factors up to the step at each call, in float32
        with a rounding each: in a long training make it a lookup by :func:`tabulate`, which
        multiplies in float64.

    Raises:
        TypeError: if `lr_lambda` is no function or cannot be traced.
        ValueError: if `lr` is negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.multiplicative_lr(1.0, lambda step: 1 / step)
        >>> [round(float(schedule(step)), 3) for step in range(4)]
        [1.0, 1.0, 0.5, 0.167]

    Torch: ``torch.optim.lr_scheduler.MultiplicativeLR``. One function, not a list of them; called
    for steps from 1, and for 0 where :func:`sequential_lr` switches to it.
    """
    factor = traceable("multiplicative_lr", "lr_lambda", lr_lambda)
    return scaling(
        "multiplicative_lr",
        lr,
        ratio=factor,
        entered=lambda base, lr: lr * factor(as_count(0)),
    )


def step_lr(lr: Number, step_size: int, gamma: float = 0.1) -> Schedule:
    r"""Multiplies the learning rate by `gamma` every `step_size` steps.

    .. math:: \gamma_t = \gamma \, g^{\lfloor t / s \rfloor}

    Args:
        lr: base learning rate :math:`\gamma`.
        step_size: :math:`s`, in steps.
        gamma: :math:`g`.

    Returns:
        A schedule without end.

    Raises:
        ValueError: if `step_size` is no positive integer, or `lr` is negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.step_lr(1.0, step_size=2, gamma=0.5)
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]

    Torch: ``torch.optim.lr_scheduler.StepLR``, which raises for `step_size` 0 at the first step,
    and takes negative ones and fractions.
    """
    check_count("step_lr", least=1, step_size=step_size)
    return scaling(
        "step_lr",
        lr,
        ratio=lambda step: jnp.where(step % step_size == 0, gamma, 1.0),
        growth=lambda step: power(gamma, step // step_size),
    )


def multi_step_lr(lr: Number, milestones: Iterable[int], gamma: float = 0.1) -> Schedule:
    r"""Multiplies the learning rate by `gamma` at each milestone.

    .. math:: \gamma_t = \gamma \, g^{\#\{m \le t\}}

    Args:
        lr: base learning rate :math:`\gamma`.
        milestones: steps :math:`m`, in any order; a repeated one counts as often as it is there.
        gamma: :math:`g`.

    Returns:
        A schedule, constant from the last milestone on.

    Raises:
        ValueError: if a milestone is no integer from 0, or `lr` is negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.multi_step_lr(1.0, milestones=[2, 3], gamma=0.5)
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.25]

    Torch: ``torch.optim.lr_scheduler.MultiStepLR``, which takes milestones it never reaches.
    """
    counts = Counter(milestones)
    for milestone in counts:
        check_count("multi_step_lr", milestones=milestone)
    later = sorted(milestone for milestone in counts.elements() if milestone > 0)

    def passed(step: jax.Array) -> jax.Array:
        return (jnp.asarray(later, step.dtype) <= step).sum()

    return scaling(
        "multi_step_lr",
        lr,
        ratio=lambda step: power(gamma, passed(step) - passed(step - 1)),
        growth=lambda step: power(gamma, passed(step)),
        first=gamma ** counts[0],
    )


def constant_lr(lr: Number, factor: float = 1.0 / 3, total_iters: int = 5) -> Schedule:
    r"""Multiplies the learning rate by a factor for the first steps.

    .. math:: \gamma_t = f \gamma \text{ for } t < n, \text{ then } \gamma

    Args:
        lr: base learning rate :math:`\gamma`.
        factor: :math:`f`, above 0 and to 1.
        total_iters: :math:`n`, in steps; with 0 the factor stays for ever, as in torch.

    Returns:
        A schedule, the base learning rate from step `total_iters` on.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.constant_lr(1.0, factor=0.5, total_iters=2)
        >>> [round(float(schedule(step)), 3) for step in range(4)]
        [0.5, 0.5, 1.0, 1.0]

    Torch: ``torch.optim.lr_scheduler.ConstantLR``, which takes `factor` 0 and divides by it at
    step `total_iters`.
    """
    check_count("constant_lr", total_iters=total_iters)
    if not 0 < factor <= 1:
        raise ValueError(f"constant_lr: factor: expected above 0 and to 1, got {factor}.")
    return scaling(
        "constant_lr",
        lr,
        ratio=lambda step: jnp.where(step == total_iters, 1 / factor, 1.0),
        growth=lambda step: jnp.where((step >= total_iters) & (total_iters > 0), 1 / factor, 1.0),
        first=factor,
        entered=lambda base, lr: base * (factor if total_iters > 0 else 1.0),
    )


def linear_lr(
    lr: Number, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
) -> Schedule:
    r"""Changes the learning rate linearly from one multiple of it to another: warm-up.

    .. math:: \gamma_t = \gamma \left(a + (b - a) \min(t, n) / n\right)

    Args:
        lr: base learning rate :math:`\gamma`.
        start_factor: :math:`a`, above 0 and to 1.
        end_factor: :math:`b`, from 0 to 1.
        total_iters: :math:`n`, in steps; with 0 the first factor stays for ever, as in torch.

    Returns:
        A schedule, constant from step `total_iters` on.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.linear_lr(1.0, start_factor=0.25, total_iters=3)
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [0.25, 0.5, 0.75, 1.0, 1.0]

    Torch: ``torch.optim.lr_scheduler.LinearLR``.
    """
    check_count("linear_lr", total_iters=total_iters)
    if not 0 < start_factor <= 1:
        raise ValueError(f"linear_lr: start_factor: expected above 0 and to 1, got {start_factor}.")
    if not 0 <= end_factor <= 1:
        raise ValueError(f"linear_lr: end_factor: expected from 0 to 1, got {end_factor}.")

    def growth(step: jax.Array) -> jax.Array:
        """The factor as a multiple of the first one."""
        if total_iters == 0:
            return jnp.ones_like(default_float(step))
        done = jnp.minimum(step, total_iters)
        start, end = (default_float(part) for part in (total_iters - done, done))
        return (start_factor * start + end_factor * end) / (start_factor * total_iters)

    return scaling(
        "linear_lr",
        lr,
        ratio=lambda step: jnp.where(step <= total_iters, growth(step) / growth(step - 1), 1.0),
        growth=growth,
        first=start_factor,
    )


def exponential_lr(lr: Number, gamma: float) -> Schedule:
    r"""Multiplies the learning rate by `gamma` at each step.

    .. math:: \gamma_t = \gamma \, g^t

    Args:
        lr: base learning rate :math:`\gamma`.
        gamma: :math:`g`.

    Returns:
        A schedule without end.

    Raises:
        ValueError: if `lr` is negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.exponential_lr(1.0, gamma=0.5)
        >>> [round(float(schedule(step)), 3) for step in range(4)]
        [1.0, 0.5, 0.25, 0.125]

    Torch: ``torch.optim.lr_scheduler.ExponentialLR``.
    """
    return scaling(
        "exponential_lr", lr, ratio=lambda step: gamma, growth=lambda step: power(gamma, step)
    )


def polynomial_lr(lr: Number, total_iters: int = 5, power: float = 1.0) -> Schedule:
    r"""Takes the learning rate to 0 along a power of the remaining steps.

    .. math:: \gamma_t = \gamma \left(1 - \min(t, n) / n\right)^p

    Args:
        lr: base learning rate :math:`\gamma`.
        total_iters: :math:`n`, in steps; with 0 the rate never changes, as in torch.
        power: :math:`p`.

    Returns:
        A schedule, 0 from step `total_iters` on.

    Raises:
        ValueError: if `total_iters` is no integer from 0, or `lr` is negative.

    Example:
        >>> import fdl
        >>> schedule = fdl.optim.polynomial_lr(1.0, total_iters=4, power=2.0)
        >>> [round(float(schedule(step)), 3) for step in range(6)]
        [1.0, 0.562, 0.25, 0.062, 0.0, 0.0]

    Torch: ``torch.optim.lr_scheduler.PolynomialLR``.
    """
    check_count("polynomial_lr", total_iters=total_iters)

    def ratio(step: jax.Array) -> jax.Array:
        return jnp.where(step <= total_iters, growth(step) / growth(step - 1), 1.0)

    def growth(step: jax.Array) -> jax.Array:
        left = default_float(jnp.maximum(total_iters - step, 0))
        return (left / (total_iters or 1.0)) ** (power if total_iters else 0.0)

    return scaling("polynomial_lr", lr, ratio=ratio, growth=growth)
