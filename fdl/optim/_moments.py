"""The count of steps, and the running averages that the adaptive optimizers share."""

import math

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import is_off


def no_steps() -> jax.Array:
    """The count of steps at the start."""
    return jnp.zeros((), jnp.int32)


def next_step(step: jax.Array) -> jax.Array:
    """The count of steps after one more; it stays at its largest value rather than overflow."""
    return jnp.asarray(optax.safe_increment(step))


def as_float(value: float | jax.Array) -> jax.Array:
    """A number in JAX's default width, in which what is no parameter's own is computed."""
    return jnp.asarray(value, jnp.result_type(float))


def in_dtype_of(array: jax.Array, value: float | jax.Array) -> float | jax.Array:
    """A hyperparameter to compute with beside an array; a plain number takes its dtype anyway."""
    return value.astype(array.dtype) if isinstance(value, jax.Array) else value


def average(decay: float | jax.Array, old: optax.Updates, new: optax.Updates) -> optax.Updates:
    r"""The running average :math:`\beta m + (1 - \beta) g`."""
    return jax.tree.map(
        lambda m, g: in_dtype_of(m, decay) * m + in_dtype_of(g, 1 - decay) * g, old, new
    )


def average_square(
    decay: float | jax.Array, old: optax.Updates, new: optax.Updates
) -> optax.Updates:
    r"""The running average :math:`\beta v + (1 - \beta) g^2`."""
    return jax.tree.map(
        lambda v, g: in_dtype_of(v, decay) * v + in_dtype_of(g, 1 - decay) * g * g, old, new
    )


def bias_correction(beta: float | jax.Array, step: jax.Array) -> jax.Array:
    r"""Computes :math:`1 - \beta^t` to full precision.

    In float32, ``1 - beta**t`` loses three digits at :math:`\beta = 0.999`; torch computes it in
    double.
    """
    if is_off(beta):
        return as_float(1)
    log = jnp.log(beta) if isinstance(beta, jax.Array) else math.log(beta)
    return -jnp.expm1(as_float(step) * log)
