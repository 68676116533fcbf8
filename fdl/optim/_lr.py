"""What every optimizer shares: its chain, hyperparameters that may be schedules, their checks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fdl.optim._precision import widely
from fdl.optim.applying import Elementwise

Betas = tuple[optax.ScalarOrSchedule, float]
"""The decays of two means; torch's schedulers change the first."""


class CountSchedule:
    """A schedule that takes the integer count of steps, at any size of it."""


def descend(lr: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Multiplies updates by minus the learning rate, as :func:`rate` computes a schedule's."""
    if not callable(lr):
        return optax.scale_by_learning_rate(lr)
    return optax.scale_by_learning_rate(lambda step: rate(lr, jnp.asarray(step)))


def rate(lr: optax.ScalarOrSchedule, step: jax.Array) -> jax.Array:
    """The learning rate at a step, in JAX's default width.

    A schedule is called with the step as a float of that width: from Optax's integer count it
    would compute in float32 even with x64 on. A :class:`CountSchedule` takes the count as it is,
    which a float32 holds to 2**24 only.
    """
    width = jnp.result_type(float)
    if not callable(lr):
        return jnp.asarray(lr, width)
    count = step if isinstance(lr, CountSchedule) else jnp.asarray(step, width)
    return jnp.asarray(lr(count), width)


def at_step(value: optax.ScalarOrSchedule, step: jax.Array) -> float | jax.Array:
    """A hyperparameter at a step: the number, or what its schedule gives."""
    return rate(value, step) if callable(value) else value


def descent(
    direction: optax.GradientTransformation,
    lr: optax.ScalarOrSchedule,
    weight_decay: float = 0.0,
    *,
    maximize: bool,
    decoupled: bool = False,
) -> Elementwise:
    """Torch's order: the sign, the L2 penalty, the direction, the decoupled decay, the rate.

    Args:
        direction: works element by element.
        lr: the learning rate, a number or a schedule.
        weight_decay: of either kind.
        maximize: whether to ascend.
        decoupled: whether the decay leaves the direction alone.
    """
    decay, none = coupled_decay(weight_decay), optax.identity()
    steps = (
        ascend(maximize=maximize),
        none if decoupled else decay,
        direction,
        decay if decoupled else none,
        descend(lr),
    )
    return Elementwise(*widely(optax.chain(*steps)))


def coupled_decay(weight_decay: float) -> optax.GradientTransformation:
    """Torch's L2 penalty: adds ``weight_decay * parameter`` to the gradient."""
    return optax.identity() if is_off(weight_decay) else optax.add_decayed_weights(weight_decay)


def ascend(*, maximize: bool) -> optax.GradientTransformation:
    """Torch's `maximize`: negates the gradient before everything else."""
    return optax.scale(-1) if maximize else optax.identity()


def is_off(value: optax.ScalarOrSchedule) -> bool:
    """Whether a hyperparameter is a plain 0; an injected array or a schedule may change."""
    return not isinstance(value, jax.Array) and not callable(value) and value == 0


def is_known(value: Any) -> bool:
    """Whether a hyperparameter is a number that can be checked: no schedule, and not traced."""
    return not callable(value) and not isinstance(value, jax.core.Tracer)


def check_non_negative(optimizer: str, **values: optax.ScalarOrSchedule) -> None:
    """Raises ValueError, as torch does, for a hyperparameter that is negative or NaN."""
    _check(optimizer, values, lambda value: value >= 0, "0 or more")


def check_positive(optimizer: str, **values: optax.ScalarOrSchedule) -> None:
    """Raises ValueError, as torch does, for a hyperparameter that is not above 0."""
    _check(optimizer, values, lambda value: value > 0, "a number above 0")


def check_share(optimizer: str, **values: optax.ScalarOrSchedule) -> None:
    """Raises ValueError, as torch does, for a hyperparameter that is not from 0 to 1."""
    _check(optimizer, values, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def _check(
    optimizer: str, values: dict[str, Any], holds: Callable[[Any], Any], expected: str
) -> None:
    for name, value in values.items():
        if is_known(value) and not holds(value):
            raise ValueError(f"{optimizer}: {name}: expected {expected}, got {value}.")


def check_betas(optimizer: str, betas: Betas) -> None:
    """Raises ValueError, as torch does, for decays that are not from 0 to below 1."""
    known: list[Any] = list(filter(is_known, betas))
    if not all(0 <= beta < 1 for beta in known):
        raise ValueError(
            f"{optimizer}: betas: expected two numbers from 0 to below 1, got {betas}."
        )
