"""Metrics: functions ``(output, target) -> scalar`` that average over a batch."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def accuracy(output: Float[Array, "N C"], target: Int[Array, " N"]) -> Float[Array, ""]:
    """Share of rows whose largest logit is the target class, from 0 to 1."""
    return jnp.mean(jnp.argmax(output, axis=-1) == target)
