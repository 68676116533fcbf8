"""Adamax."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import Betas, at_step, check_betas, check_non_negative, descent
from fdl.optim._moments import average, bias_correction, next_step, no_steps


class AdamaxState(NamedTuple):
    """State of :func:`adamax`, by torch's names.

    Attributes:
        step: number of updates so far.
        exp_avg: running mean of the gradients.
        exp_inf: running maximum of their sizes.
    """

    step: jax.Array
    exp_avg: optax.Updates
    exp_inf: optax.Updates


def adamax(
    lr: optax.ScalarOrSchedule = 2e-3,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Adam with the maximum norm in place of the second moment.

    .. math::
        g &\leftarrow g + \lambda \theta \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g \\
        u_t &= \max(\beta_2 u_{t-1}, |g| + \epsilon) \\
        \theta &\leftarrow \theta - \frac{\gamma}{1 - \beta_1^t} \frac{m_t}{u_t}

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        betas: :math:`(\beta_1, \beta_2)`, each from 0 to below 1; the first one may be a schedule.
        eps: :math:`\epsilon`, added to the size of every gradient.
        weight_decay: L2 penalty :math:`\lambda`, added to the gradient.
        maximize: ascend instead of descend; weight decay still shrinks.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.adamax(lr=0.1)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-0.1, -0.1]

    Torch: ``torch.optim.Adamax``. A parameter without gradient needs :func:`fdl.optim.skip_absent`
    to be skipped.

    Source: Kingma and Ba, "Adam", ICLR 2015, section 7.1.
    """
    check_non_negative("adamax", lr=lr, eps=eps, weight_decay=weight_decay)
    check_betas("adamax", betas)
    return descent(_largest_momentum(betas, eps), lr, weight_decay, maximize=maximize)


def _largest_momentum(betas: Betas, eps: float) -> optax.GradientTransformation:
    first, beta2 = betas

    def init(params):
        zeros = optax.tree.zeros_like
        return AdamaxState(no_steps(), zeros(params), zeros(params))

    def update(updates, state, params=None):
        del params
        step, beta1 = next_step(state.step), at_step(first, state.step)
        mean = average(beta1, state.exp_avg, updates)
        largest = jax.tree.map(
            lambda u, g: jnp.maximum(beta2 * u, jnp.abs(g) + eps), state.exp_inf, updates
        )
        correction = bias_correction(beta1, step)
        updates = jax.tree.map(lambda m, u: m / correction.astype(m.dtype) / u, mean, largest)
        return updates, AdamaxState(step, mean, largest)

    return optax.GradientTransformation(init, update)
