"""Adam with Nesterov's momentum."""

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


class NAdamState(NamedTuple):
    r"""State of :func:`nadam`, by torch's names.

    Attributes:
        step: number of updates so far.
        mu_product: product of all :math:`\mu_t` so far, in JAX's default width.
        exp_avg: running mean of the gradients.
        exp_avg_sq: running mean of their squares.
    """

    step: jax.Array
    mu_product: jax.Array
    exp_avg: optax.Updates
    exp_avg_sq: optax.Updates


def nadam(
    lr: optax.ScalarOrSchedule = 2e-3,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Adam with Nesterov's momentum, which grows over the first steps.

    .. math::
        \mu_t &= \beta_1 (1 - \tfrac{1}{2} 0.96^{t \psi}) \\
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
            v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \hat m_t &= \frac{\mu_{t+1} m_t}{1 - \prod_{i=1}^{t+1} \mu_i}
            + \frac{(1 - \mu_t) g_t}{1 - \prod_{i=1}^t \mu_i} \\
        \theta &\leftarrow \theta - \gamma \frac{\hat m_t}
            {\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        betas: :math:`(\beta_1, \beta_2)`, each from 0 to below 1; the first one may be a schedule.
        eps: :math:`\epsilon`, outside the root and after the bias correction.
        weight_decay: :math:`\lambda`: added to the gradient as :math:`\lambda \theta`, or with
            `decoupled_weight_decay` taken from the parameter as :math:`\gamma \lambda \theta`.
        momentum_decay: :math:`\psi`, how fast the momentum grows to :math:`\beta_1`.
        decoupled_weight_decay: decay as AdamW does.
        maximize: ascend instead of descend; weight decay still shrinks.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.nadam(lr=0.1)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-0.106, -0.106]

    Torch: ``torch.optim.NAdam``. A parameter without gradient needs :func:`fdl.optim.skip_absent`
    to be skipped. Torch holds `mu_product` in its default dtype, so that in float64 the two are
    equal to 1e-9 unless that is float64 too.

    Source: Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016.
    """
    check_non_negative(
        "nadam", lr=lr, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay
    )
    check_betas("nadam", betas)
    return descent(
        _nesterov_momentum(betas, eps, momentum_decay),
        lr,
        weight_decay,
        maximize=maximize,
        decoupled=decoupled_weight_decay,
    )


def _nesterov_momentum(
    betas: Betas, eps: float, momentum_decay: float
) -> optax.GradientTransformation:
    first, beta2 = betas

    def momentum(beta1, step):
        growth = jnp.power(0.96, as_float(step) * as_float(momentum_decay))
        return beta1 * (1 - 0.5 * growth)

    def init(params):
        zeros = optax.tree.zeros_like
        return NAdamState(no_steps(), as_float(1), zeros(params), zeros(params))

    def update(updates, state, params=None):
        del params
        step, beta1 = next_step(state.step), at_step(first, state.step)
        mean = average(beta1, state.exp_avg, updates)
        square = average_square(beta2, state.exp_avg_sq, updates)
        now, ahead = momentum(beta1, step), momentum(beta1, next_step(step))
        product = state.mu_product * now
        of_gradient, of_mean = (1 - now) / (1 - product), ahead / (1 - product * ahead)
        correction = bias_correction(beta2, step)

        def normalized(g, m, v):
            root = jnp.sqrt(v / correction.astype(v.dtype)) + eps
            return (of_gradient.astype(g.dtype) * g + of_mean.astype(m.dtype) * m) / root

        updates = jax.tree.map(normalized, updates, mean, square)
        return updates, NAdamState(step, product, mean, square)

    return optax.GradientTransformation(init, update)
