"""Mean and variance of parts of a tensor, as exact as torch's, and what is normalised by them."""

from collections.abc import Sequence
from functools import partial
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
        centered: the input less its mean, which is rounded.
        rest: what that leaves in all of them.
    """

    mean: jax.Array
    var: jax.Array
    centered: jax.Array
    rest: jax.Array

    @property
    def deviations(self) -> jax.Array:
        """From the mean as it is."""
        return self.centered - self.rest


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
    return Moments(mean + missed, var, centered, rest)


def normalized(
    input: jax.Array,
    axes: Sequence[int],
    eps: float,
    weight: jax.Array | None,
    bias: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Deviations from a channel's mean over their standard deviation, scaled and shifted.

    Args:
        input: ``(N, C, *size)``.
        axes: the axes of one mean, from 0, without that of channels.
        eps: added to the variance.
        weight: ``(1, C, 1, ...)``, or None for 1.
        bias: ``(1, C, 1, ...)``, or None for 0.

    Returns:
        The output, the mean and the biased variance.
    """
    weight, bias = (None if x is None else x.astype(input.dtype) for x in (weight, bias))
    inside = 0 in axes  # where a weight has one mean and one variance
    found, mean, var = _normalized(tuple(axes), eps, input, weight if inside else None)
    if weight is not None and not inside:
        found = found * in_stages(weight, found.shape)
    return found if bias is None else found + in_stages(bias, found.shape), mean, var


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _normalized(axes, eps, input, weight):
    def computed(axes, x, weight):
        found = moments(x, axes)
        scale = in_stages(_scale(found.var, eps, weight), x.shape)
        return found.deviations * scale, found.mean, found.var

    return _with_channels_last(computed, axes, input, weight)


@_normalized.defjvp
def _normalized_jvp(axes, eps, primals, tangents):
    """Transposed, it sums what comes back and what comes back times deviations, and no more.

    The factors that all elements of a sum share stand outside of it. So a weight's and a bias's
    gradient are the same two sums, and derived step by step there would be a third, of an array
    that is written for it. Training steps of ResNet-18 and MobileNetV2 take 0.96 to 0.98 of the
    time; with a layer's normalisation done so, BERT's would take 1.01 to 1.03.
    """

    def computed(axes, x, weight, t, d_weight):
        found = moments(x, axes)
        scale, inverse = _scale(found.var, eps, weight), lax.rsqrt(found.var + eps)
        deviations = found.deviations
        shift, along = (jnp.mean(y, axes, keepdims=True) for y in (t, deviations * t))
        turn = scale * jnp.square(inverse) * along
        if weight is not None:
            turn = turn - inverse * d_weight
        offset = scale * shift - found.rest * turn
        wide, offset, turn = (in_stages(y, x.shape) for y in (scale, offset, turn))
        moved = wide * t - offset - found.centered * turn
        return (deviations * wide, found.mean, found.var), (moved, shift, 2 * along)

    return _with_channels_last(computed, axes, *primals, *tangents)


def _scale(var, eps, weight):
    return lax.rsqrt(var + eps) if weight is None else lax.rsqrt(var + eps) * weight


def _with_channels_last(function, axes, *arrays):
    """Calls a function of axes and arrays as networks over images hold these.

    Turning them here and back cancels out with what stands around in such a network.
    """
    last = (None if x is None else jnp.moveaxis(x, 1, -1) for x in arrays)
    found = function(tuple(max(0, axis - 1) for axis in axes), *last)
    return jax.tree.map(lambda y: jnp.moveaxis(y, -1, 1), found)


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
