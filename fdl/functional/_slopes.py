"""Activations whose derivative is written out: one factor for each element, which is all they keep.

Derived operation by operation, they would keep an array for each, or lose digits.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from fdl.functional._moments import widened

TORCH_SIXTH = 0.1666666716337204
"""1/6 rounded to 24 bits: what torch multiplies by in the backward pass of hardsigmoid."""


@jax.custom_jvp
def gelu(x: jax.Array) -> jax.Array:
    """The number times how much of a normal distribution lies below it."""
    wide = widened(x)
    return (wide * _normal_distribution(wide)).astype(x.dtype)


@gelu.defjvp
def _gelu_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    wide = widened(x)
    density = jnp.exp(-0.5 * jnp.square(wide)) * (1 / math.sqrt(2 * math.pi))
    return gelu(x), t * (_normal_distribution(wide) + wide * density).astype(t.dtype)


def _normal_distribution(x):
    """As torch adds it up; ``erfc`` keeps more digits far below zero and takes twice as long."""
    return 0.5 + 0.5 * lax.erf(x * math.sqrt(0.5))


@jax.custom_jvp
def tanh(x: jax.Array) -> jax.Array:
    """The hyperbolic tangent; its slope comes from x, as y has lost digits where it is nearly 1."""
    return jnp.tanh(x)


@tanh.defjvp
def _tanh_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    small = jnp.exp(-2 * jnp.abs(x))
    return tanh(x), t * (4 * small / jnp.square(1 + small))


@jax.custom_jvp
def hardsigmoid(x: jax.Array) -> jax.Array:
    """A straight line from 0 at -3 to 1 at 3; its slope is torch's."""
    return jnp.clip(x + 3, 0, 6) / 6


@hardsigmoid.defjvp
def _hardsigmoid_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    return hardsigmoid(x), jnp.where((x > -3) & (x < 3), TORCH_SIXTH * t, 0)
