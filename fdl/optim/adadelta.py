"""Adadelta."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import check_non_negative, check_share, descent
from fdl.optim._moments import average_square, next_step, no_steps


class AdadeltaState(NamedTuple):
    """State of :func:`adadelta`, by torch's names.

    Attributes:
        step: number of updates so far.
        square_avg: running mean of the squared gradients.
        acc_delta: running mean of the squared updates.
    """

    step: jax.Array
    square_avg: optax.Updates
    acc_delta: optax.Updates


def adadelta(
    lr: optax.ScalarOrSchedule = 1.0,
    rho: float = 0.9,
    eps: float = 1e-6,
    weight_decay: float = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Gradients in units of the parameter, by the sizes of past gradients and past updates.

    .. math::
        g &\leftarrow g + \lambda \theta \\
        v_t &= \rho v_{t-1} + (1 - \rho) g^2 \\
        \Delta_t &= \sqrt{\frac{u_{t-1} + \epsilon}{v_t + \epsilon}} g \\
        u_t &= \rho u_{t-1} + (1 - \rho) \Delta_t^2 \\
        \theta &\leftarrow \theta - \gamma \Delta_t

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        rho: :math:`\rho`, the decay of both means, from 0 to 1.
        eps: :math:`\epsilon`, inside the roots.
        weight_decay: L2 penalty :math:`\lambda`, added to the gradient.
        maximize: ascend instead of descend; weight decay still shrinks.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.adadelta()
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(u, 5) for u in updates["w"].tolist()]
        [-0.00316, -0.00316]

    Torch: ``torch.optim.Adadelta``. A parameter without gradient needs
    :func:`fdl.optim.skip_absent` to be skipped.

    Source: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012.
    """
    check_non_negative("adadelta", lr=lr, eps=eps, weight_decay=weight_decay)
    check_share("adadelta", rho=rho)
    return descent(_in_units_of_the_parameter(rho, eps), lr, weight_decay, maximize=maximize)


def _in_units_of_the_parameter(rho: float, eps: float) -> optax.GradientTransformation:
    def init(params):
        zeros = optax.tree.zeros_like
        return AdadeltaState(no_steps(), zeros(params), zeros(params))

    def update(updates, state, params=None):
        del params
        square = average_square(rho, state.square_avg, updates)
        updates = jax.tree.map(
            lambda g, v, u: jnp.sqrt(u + eps) / jnp.sqrt(v + eps) * g,
            updates,
            square,
            state.acc_delta,
        )
        moved = average_square(rho, state.acc_delta, updates)
        return updates, AdadeltaState(next_step(state.step), square, moved)

    return optax.GradientTransformation(init, update)
