"""Rectified Adam."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import Betas, at_step, check_betas, check_non_negative, descent
from fdl.optim._moments import (
    as_float,
    average,
    average_square,
    bias_correction,
    next_step,
    no_steps,
)

RECTIFIED = 5.0
"""The length of average above which the second moment is used."""


class RAdamState(NamedTuple):
    """State of :func:`radam`, by torch's names.

    Attributes:
        step: number of updates so far.
        exp_avg: running mean of the gradients.
        exp_avg_sq: running mean of their squares.
    """

    step: jax.Array
    exp_avg: optax.Updates
    exp_avg_sq: optax.Updates


def radam(
    lr: optax.ScalarOrSchedule = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Adam that warms up by the variance of its own normalisation.

    .. math::
        \rho_\infty &= \frac{2}{1 - \beta_2} - 1, \quad
            \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t} \\
        r_t &= \sqrt{\frac{(\rho_t - 4) (\rho_t - 2) \rho_\infty}
            {(\rho_\infty - 4) (\rho_\infty - 2) \rho_t}} \\
        \theta &\leftarrow \theta - \gamma \frac{m_t}{1 - \beta_1^t} \cdot
            \begin{cases} r_t \sqrt{1 - \beta_2^t} / (\sqrt{v_t} + \epsilon) & \rho_t > 5 \\
            1 & \text{otherwise} \end{cases}

    with the running means :math:`m_t` and :math:`v_t` of :func:`fdl.optim.adam`.

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        betas: :math:`(\beta_1, \beta_2)`, each from 0 to below 1; the first one may be a schedule.
        eps: :math:`\epsilon`, outside the root and before the bias correction.
        weight_decay: :math:`\lambda`: added to the gradient as :math:`\lambda \theta`, or with
            `decoupled_weight_decay` taken from the parameter as :math:`\gamma \lambda \theta`.
        decoupled_weight_decay: decay as AdamW does.
        maximize: ascend instead of descend; weight decay still shrinks.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.radam(lr=0.1)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-0.1, -0.1]

    Torch: ``torch.optim.RAdam``. A parameter without gradient needs :func:`fdl.optim.skip_absent`
    to be skipped.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020.
    """
    check_non_negative("radam", lr=lr, eps=eps, weight_decay=weight_decay)
    check_betas("radam", betas)
    return descent(
        _rectified_momentum(betas, eps),
        lr,
        weight_decay,
        maximize=maximize,
        decoupled=decoupled_weight_decay,
    )


def length_of_average(beta: float, step: jax.Array) -> jax.Array:
    r"""Computes :math:`\rho_t` to full precision.

    In float32 the difference of the formula loses four digits at :math:`\beta = 0.999`; torch
    computes it in double. With :math:`a = -\log \beta` and :math:`C(x) = 1 - \coth x + 1/x` it is
    :math:`t C(at/2) + 1 - C(a/2)`, where nothing cancels.
    """
    if beta == 0:
        return as_float(1)
    half, steps = -math.log(beta) / 2, as_float(step)
    return steps * _one_minus_langevin(half * steps) + 1 - _one_minus_langevin(as_float(half))


def _one_minus_langevin(x: jax.Array) -> jax.Array:
    """Computes ``1 - coth(x) + 1/x``, by a continued fraction where that would cancel."""
    small, large = jnp.minimum(x, 1), jnp.maximum(x, 1)
    fraction = jnp.zeros_like(x)
    for odd in range(19, 1, -2):
        fraction = small / (odd + small * fraction)
    return jnp.where(x < 1, 1 - fraction, 1 / large - 2 / jnp.expm1(2 * large))


def _rectified_momentum(betas: Betas, eps: float) -> optax.GradientTransformation:
    first, beta2 = betas
    limit = 2 / (1 - beta2) - 1

    def rectification(step):
        """The factor of the normalised mean; 0 where the mean is not to be normalised."""
        if limit <= RECTIFIED:
            return as_float(0)
        length = length_of_average(beta2, step)
        rectified = length > RECTIFIED
        length = jnp.where(rectified, length, limit)
        ratio = (length - 4) * (length - 2) / length * (limit / ((limit - 4) * (limit - 2)))
        return jnp.where(rectified, jnp.sqrt(ratio * bias_correction(beta2, step)), 0)

    def init(params):
        zeros = optax.tree.zeros_like
        return RAdamState(no_steps(), zeros(params), zeros(params))

    def update(updates, state, params=None):
        del params
        step, beta1 = next_step(state.step), at_step(first, state.step)
        mean = average(beta1, state.exp_avg, updates)
        square = average_square(beta2, state.exp_avg_sq, updates)
        correction, factor = bias_correction(beta1, step), rectification(step)

        def normalized(m, v):
            scale = jnp.where(factor > 0, factor.astype(v.dtype) / (jnp.sqrt(v) + eps), 1)
            return m / correction.astype(m.dtype) * scale

        return jax.tree.map(normalized, mean, square), RAdamState(step, mean, square)

    return optax.GradientTransformation(init, update)
