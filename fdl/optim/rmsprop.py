"""RMSprop."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import at_step, check_non_negative, descent, is_off
from fdl.optim._moments import average, average_square, in_dtype_of, next_step, no_steps


class RMSpropState(NamedTuple):
    """State of :func:`rmsprop`, by torch's names.

    Attributes:
        step: number of updates so far.
        square_avg: running mean of the squared gradients.
        grad_avg: running mean of the gradients with `centered`, else None.
        momentum_buffer: the velocity of each parameter with momentum, else None.
    """

    step: jax.Array
    square_avg: optax.Updates
    grad_avg: Any
    momentum_buffer: Any


def rmsprop(
    lr: optax.ScalarOrSchedule = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: optax.ScalarOrSchedule = 0.0,
    centered: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Gradients divided by the root of their running mean square.

    .. math::
        g &\leftarrow g + \lambda \theta \\
        v_t &= \alpha v_{t-1} + (1 - \alpha) g^2 \\
        a_t &= \alpha a_{t-1} + (1 - \alpha) g \\
        b_t &= \mu b_{t-1} + \frac{g}{\sqrt{v_t} + \epsilon} \quad
            (\text{with } v_t - a_t^2 \text{ for } v_t \text{ if centered}) \\
        \theta &\leftarrow \theta - \gamma b_t

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        alpha: :math:`\alpha`, the decay of the means, 0 or more.
        eps: :math:`\epsilon`, outside the root.
        weight_decay: L2 penalty :math:`\lambda`, added to the gradient.
        momentum: :math:`\mu`, a number or a schedule of positive numbers.
        centered: divide by the standard deviation.
        maximize: ascend instead of descend; weight decay still shrinks.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is negative.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.rmsprop(lr=0.1)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-1.0, -1.0]

    Torch: ``torch.optim.RMSprop``. A parameter without gradient needs :func:`fdl.optim.skip_absent`
    to be skipped. With `centered`, a variance that rounding made negative counts as zero; torch's
    root of it is NaN.

    Source: Tieleman and Hinton, "Lecture 6.5: RMSprop", 2012; Graves, "Generating Sequences With
    Recurrent Neural Networks", 2013, for `centered`.
    """
    check_non_negative(
        "rmsprop", lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
    )
    direction = _divide_by_root_of_mean_square(alpha, eps, momentum, centered=centered)
    return descent(direction, lr, weight_decay, maximize=maximize)


def _divide_by_root_of_mean_square(
    alpha: float, eps: float, momentum: optax.ScalarOrSchedule, *, centered: bool
) -> optax.GradientTransformation:
    moving = not is_off(momentum)

    def init(params):
        zeros = optax.tree.zeros_like
        means = zeros(params) if centered else None
        return RMSpropState(no_steps(), zeros(params), means, zeros(params) if moving else None)

    def update(updates, state, params=None):
        del params
        square = average_square(alpha, state.square_avg, updates)
        mean = average(alpha, state.grad_avg, updates) if centered else None
        variance = jax.tree.map(_variance, square, mean) if centered else square
        updates = jax.tree.map(lambda g, v: g / (jnp.sqrt(v) + eps), updates, variance)
        after = RMSpropState(next_step(state.step), square, mean, None)
        if not moving:
            return updates, after
        now = at_step(momentum, state.step)
        buffer = jax.tree.map(
            lambda b, g: in_dtype_of(b, now) * b + g, state.momentum_buffer, updates
        )
        return buffer, after._replace(momentum_buffer=buffer)

    return optax.GradientTransformation(init, update)


def _variance(square: jax.Array, mean: jax.Array) -> jax.Array:
    return jnp.maximum(square - mean * mean, 0)
