"""What every optimizer shares: the learning rate, the count of steps and the checks of both."""

import jax
import jax.numpy as jnp
import optax


def descend(lr: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """Multiplies updates by minus the learning rate.

    A schedule is called with the count of steps as a float of JAX's default width: from Optax's
    integer count it would compute in float32 even with x64 on.
    """
    if not callable(lr):
        return optax.scale_by_learning_rate(lr)
    return optax.scale_by_learning_rate(lambda step: lr(jnp.asarray(step, jnp.result_type(float))))


def rate(lr: optax.ScalarOrSchedule, step: jax.Array) -> jax.Array:
    """The learning rate at a step, in JAX's default width, as :func:`descend` takes it."""
    width = jnp.result_type(float)
    return jnp.asarray(lr(jnp.asarray(step, width)) if callable(lr) else lr, width)


def at_step(value: optax.ScalarOrSchedule, step: jax.Array) -> float | jax.Array:
    """A hyperparameter at a step: the number, or what its schedule gives."""
    return rate(value, step) if callable(value) else value


def coupled_decay(weight_decay: float) -> optax.GradientTransformation:
    """Torch's L2 penalty: adds ``weight_decay * parameter`` to the gradient."""
    return optax.identity() if is_off(weight_decay) else optax.add_decayed_weights(weight_decay)


def ascend(*, maximize: bool) -> optax.GradientTransformation:
    """Torch's `maximize`: negates the gradient before everything else."""
    return optax.scale(-1) if maximize else optax.identity()


def is_off(value: optax.ScalarOrSchedule) -> bool:
    """Whether a hyperparameter is a plain 0; an injected array or a schedule may change."""
    return not isinstance(value, jax.Array) and not callable(value) and value == 0


def check_non_negative(optimizer: str, **values: optax.ScalarOrSchedule) -> None:
    """Raises ValueError, as torch does, for a hyperparameter that is negative or NaN."""
    for name, value in values.items():
        if not callable(value) and not isinstance(value, jax.core.Tracer) and not value >= 0:
            raise ValueError(f"{optimizer}: {name}: expected 0 or more, got {value}.")


def check_positive(optimizer: str, **values: optax.ScalarOrSchedule) -> None:
    """Raises ValueError, as torch does, for a hyperparameter that is not above 0."""
    for name, value in values.items():
        if not callable(value) and not isinstance(value, jax.core.Tracer) and not value > 0:
            raise ValueError(f"{optimizer}: {name}: expected a number above 0, got {value}.")


def check_betas(optimizer: str, betas: tuple[optax.ScalarOrSchedule, float]) -> None:
    """Raises ValueError, as torch does, for decays that are not from 0 to below 1."""
    if not all(0 <= beta < 1 for beta in betas if not callable(beta)):
        raise ValueError(
            f"{optimizer}: betas: expected two numbers from 0 to below 1, got {betas}."
        )
