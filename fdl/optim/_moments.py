"""The running averages that the adaptive optimizers share."""

import jax
import jax.numpy as jnp
import optax


def no_steps() -> jax.Array:
    """The count of steps at the start."""
    return jnp.zeros((), jnp.int32)


def next_step(step: jax.Array) -> jax.Array:
    """The count of steps after one more; it stays at its largest value rather than overflow."""
    return jnp.asarray(optax.safe_increment(step))


def as_float(value: float | jax.Array) -> jax.Array:
    """A number in JAX's default width, in which what is no parameter's own is computed."""
    return jnp.asarray(value, jnp.result_type(float))


def average(decay: float, old: optax.Updates, new: optax.Updates) -> optax.Updates:
    r"""The running average :math:`\beta m + (1 - \beta) g`."""
    return jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, old, new)


def average_square(decay: float, old: optax.Updates, new: optax.Updates) -> optax.Updates:
    r"""The running average :math:`\beta v + (1 - \beta) g^2`."""
    return jax.tree.map(lambda v, g: decay * v + (1 - decay) * g * g, old, new)
