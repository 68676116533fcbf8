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


def coupled_decay(weight_decay: float) -> optax.GradientTransformation:
    """Torch's L2 penalty: adds ``weight_decay * parameter`` to the gradient."""
    return optax.identity() if is_off(weight_decay) else optax.add_decayed_weights(weight_decay)


def ascend(*, maximize: bool) -> optax.GradientTransformation:
    """Torch's `maximize`: negates the gradient before everything else."""
    return optax.scale(-1) if maximize else optax.identity()


def is_off(value: float | jax.Array) -> bool:
    """Whether a hyperparameter is a plain 0; one injected as an array may become another number."""
    return not isinstance(value, jax.Array) and value == 0


def check_non_negative(optimizer: str, **values: optax.ScalarOrSchedule) -> None:
    """Raises ValueError, as torch does, for a hyperparameter that is negative or NaN."""
    for name, value in values.items():
        if not callable(value) and not isinstance(value, jax.core.Tracer) and not value >= 0:
            raise ValueError(f"{optimizer}: {name}: expected 0 or more, got {value}.")
