"""Averaged stochastic gradient descent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import ascend, check_non_negative, coupled_decay, rate
from fdl.optim._moments import as_float, next_step, no_steps
from fdl.optim._precision import widely


class ASGDState(NamedTuple):
    """State of :func:`asgd`, by torch's names.

    Attributes:
        step: number of updates so far.
        eta: the learning rate of the next step, in JAX's default width.
        mu: the weight of the next parameters in their average, in JAX's default width.
        ax: the averaged parameters.
    """

    step: jax.Array
    eta: jax.Array
    mu: jax.Array
    ax: optax.Params


def asgd(
    lr: optax.ScalarOrSchedule = 1e-2,
    lambd: float = 1e-4,
    alpha: float = 0.75,
    t0: float = 1e6,
    weight_decay: float = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Stochastic gradient descent whose state holds the average of the parameters.

    .. math::
        \theta_t &= (1 - \lambda_a \eta_t) \theta_{t-1} - \eta_t (g + \lambda \theta_{t-1}) \\
        \bar\theta_t &= \bar\theta_{t-1} + \mu_t (\theta_t - \bar\theta_{t-1}) \\
        \eta_{t+1} &= \frac{\gamma}{(1 + \lambda_a \gamma t)^\alpha}, \quad
            \mu_{t+1} = \frac{1}{\max(1, t - t_0)} \qquad (\eta_1 = \gamma, \mu_1 = 1)

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``. As in torch, the
            rate of a step is computed at the end of the one before: a change acts one step late.
        lambd: :math:`\lambda_a`, decay of the parameters.
        alpha: :math:`\alpha`, the power of the decay of the learning rate.
        t0: :math:`t_0`, the step after which averaging begins; before, the average is the
            parameters.
        weight_decay: L2 penalty :math:`\lambda`, added to the gradient.
        maximize: ascend instead of descend; both decays still shrink.

    Returns:
        An ``optax.GradientTransformation``. The averages are ``optax.tree.get(state, "ax")``.

    Raises:
        ValueError: if `lr` or `weight_decay` is negative.

    Example:
        >>> import fdl, jax.numpy as jnp, optax
        >>> optimizer = fdl.optim.asgd(lr=0.1)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(x, 3) for x in optax.tree.get(state, "ax")["w"].tolist()]
        [0.9, 0.9]

    Torch: ``torch.optim.ASGD``. A parameter without gradient needs :func:`fdl.optim.skip_absent` to
    be skipped. Torch holds `eta` and `mu` in its default dtype, so that in float64 the two are
    equal to 1e-8 unless that is float64 too.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
    Journal on Control and Optimization, 1992.
    """
    check_non_negative("asgd", lr=lr, weight_decay=weight_decay)
    return widely(
        optax.chain(
            ascend(maximize=maximize),
            coupled_decay(weight_decay),
            _averaged_descent(lr, lambd, alpha, t0),
        )
    )


def _averaged_descent(
    lr: optax.ScalarOrSchedule, lambd: float, alpha: float, t0: float
) -> optax.GradientTransformation:
    def next_rates(gamma, step):
        steps = as_float(step)
        eta = gamma / (1 + as_float(lambd) * gamma * steps) ** as_float(alpha)
        return eta, 1 / jnp.maximum(1, steps - as_float(t0))

    def init(params):
        step = no_steps()
        return ASGDState(step, rate(lr, step), as_float(1), optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError(
                "asgd: params: expected the parameters, which it averages, got None. "
                "Call update(grads, state, params)."
            )
        step = next_step(state.step)

        def descended(g, p):
            return -state.eta.astype(p.dtype) * (lambd * p + g)

        def averaged(average, p, u):
            moved = average + state.mu.astype(p.dtype) * (p + u - average)
            return jnp.where(state.mu == 1, p + u, moved)

        updates = jax.tree.map(descended, updates, params)
        averages = jax.tree.map(averaged, state.ax, params, updates)
        return updates, ASGDState(step, *next_rates(rate(lr, state.step), step), averages)

    return optax.GradientTransformation(init, update)
