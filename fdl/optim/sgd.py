"""Stochastic gradient descent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import at_step, check_non_negative, descent, is_off
from fdl.optim._moments import in_dtype_of, next_step, no_steps


class SGDState(NamedTuple):
    """State of the momentum part of :func:`sgd`.

    Attributes:
        step: number of updates so far.
        momentum_buffer: the velocity of each parameter.
    """

    step: jax.Array
    momentum_buffer: optax.Updates


def sgd(
    lr: optax.ScalarOrSchedule = 1e-3,
    momentum: optax.ScalarOrSchedule = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Stochastic gradient descent, with momentum.

    .. math::
        g &\leftarrow g + \lambda \theta \\
        b_t &= \mu b_{t-1} + (1 - \tau) g \quad (b_1 = g) \\
        \theta &\leftarrow \theta - \gamma b_t \quad (\text{or } g + \mu b_t \text{ with Nesterov})

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        momentum: :math:`\mu`, a number or a schedule of positive numbers.
        dampening: :math:`\tau`; not applied to the first gradient.
        weight_decay: L2 penalty :math:`\lambda`, added to the gradient.
        nesterov: look ahead along the momentum.
        maximize: ascend instead of descend.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is negative, or `nesterov` comes without momentum or with dampening.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.sgd(lr=0.1, momentum=0.9)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-0.1, -0.1]

    Torch: ``torch.optim.SGD``. A parameter without gradient needs :func:`fdl.optim.skip_absent` to
    be skipped.

    Source: Sutskever et al., "On the importance of initialization and momentum", ICML 2013.
    """
    check_non_negative("sgd", lr=lr, momentum=momentum, weight_decay=weight_decay)
    positive = callable(momentum) or isinstance(momentum, jax.Array) or momentum > 0
    if nesterov and not isinstance(momentum, jax.Array) and (not positive or dampening != 0):
        raise ValueError(
            "sgd: nesterov: expected momentum above 0 and dampening 0, got "
            f"momentum={momentum}, dampening={dampening}."
        )
    velocity = _velocity(momentum, dampening, nesterov=nesterov)
    direction = optax.identity() if is_off(momentum) else velocity
    return descent(direction, lr, weight_decay, maximize=maximize)


def _velocity(
    momentum: optax.ScalarOrSchedule, dampening: float, *, nesterov: bool
) -> optax.GradientTransformation:
    def init(params):
        return SGDState(no_steps(), optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        del params
        fresh = jnp.where(state.step == 0, 1.0, 1.0 - dampening)
        now = at_step(momentum, state.step)

        def carried(buffer):
            return in_dtype_of(buffer, now) * buffer

        def moved(gradient, buffer):
            return carried(buffer) + fresh.astype(gradient.dtype) * gradient

        buffers = jax.tree.map(moved, updates, state.momentum_buffer)
        after = SGDState(next_step(state.step), buffers)
        if not nesterov:
            return buffers, after
        return jax.tree.map(lambda g, b: g + carried(b), updates, buffers), after

    return optax.GradientTransformation(init, update)
