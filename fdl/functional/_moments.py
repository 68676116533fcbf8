"""Mean and variance of parts of a tensor, as exact as torch's, and what is normalised by them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from fdl.functional._broadcasting import in_stages


class Moments(NamedTuple):
    """Statistics over some axes, which stay with length 1.

    Attributes:
        mean: the mean.
        var: the biased variance.
        centered: the input less its mean.
    """

    mean: jax.Array
    var: jax.Array
    centered: jax.Array


def widened(input: jax.Array) -> jax.Array:
    """The input in the dtype of its statistics: as in torch, single precision for half ones."""
    return input.astype(jnp.float32) if jnp.finfo(input.dtype).bits < 32 else input


def moments(input: jax.Array, axes: Sequence[int]) -> Moments:
    """Mean, biased variance and deviations over some axes.

    Where the mean is large, its own rounding is large beside the deviations from it. So what it
    leaves in them is taken out too. But for rounding that is zero, and so is its derivative.

    Where the mean is small, what is left comes from the subtraction itself, which rounds all
    elements alike: then it says nothing about the mean.
    """
    mean = jnp.mean(input, axes, keepdims=True)
    centered = input - in_stages(mean, input.shape)
    rest = lax.stop_gradient(jnp.mean(centered, axes, keepdims=True))
    var = jnp.mean(jnp.square(centered), axes, keepdims=True) - jnp.square(rest)
    rounding = jnp.finfo(input.dtype).eps * jnp.sqrt(lax.stop_gradient(var))
    missed = jnp.where(jnp.abs(rest) > rounding, rest, 0)
    return Moments(mean + missed, var, centered - rest)


def scaled(
    centered: jax.Array,
    var: jax.Array,
    eps: float,
    weight: jax.Array | None,
    bias: jax.Array | None,
) -> jax.Array:
    """Deviations over their standard deviation, times `weight`, plus `bias`; all broadcast."""
    scale = lax.rsqrt(var + eps)
    if weight is not None:
        weight = weight.astype(scale.dtype)
        scale = scale * in_stages(weight, jnp.broadcast_shapes(scale.shape, weight.shape))
    output = centered * in_stages(scale, centered.shape)
    if bias is None:
        return output
    return output + in_stages(bias.astype(output.dtype), output.shape)
