"""Resilient propagation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import ascend, check_non_negative, rate
from fdl.optim._moments import next_step, no_steps


class RpropState(NamedTuple):
    """State of :func:`rprop`, by torch's names.

    Attributes:
        step: number of updates so far.
        prev: the last gradient, zero where its sign had turned.
        step_size: how far each element moves.
    """

    step: jax.Array
    prev: optax.Updates
    step_size: optax.Updates


def rprop(
    lr: optax.ScalarOrSchedule = 1e-2,
    etas: tuple[float, float] = (0.5, 1.2),
    step_sizes: tuple[float, float] = (1e-6, 50),
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Steps by the sign of the gradient; each element has its own step size.

    .. math::
        s_t &= \begin{cases} \min(\eta_+ s_{t-1}, s_{max}) & g_t g_{t-1} > 0 \\
            \max(\eta_- s_{t-1}, s_{min}), \text{ and } g_t \leftarrow 0 & g_t g_{t-1} < 0 \\
            s_{t-1} & \text{otherwise} \end{cases} \\
        \theta &\leftarrow \theta - s_t \, \text{sign}(g_t)

    Args:
        lr: the first step size :math:`s_0`; of a schedule ``step -> lr``, its value at step 0.
        etas: :math:`(\eta_-, \eta_+)`, the first between 0 and 1, the second above 1.
        step_sizes: :math:`(s_{min}, s_{max})`.
        maximize: ascend instead of descend.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.rprop(lr=0.1)
        >>> params, grads = {"w": jnp.ones(2)}, {"w": jnp.array([2.0, -3.0])}
        >>> updates, state = optimizer.update(grads, optimizer.init(params), params)
        >>> updates, state = optimizer.update(grads, state, params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-0.12, 0.12]

    Torch: ``torch.optim.Rprop``. Torch too reads `lr` at the first step only, and leaves an element
    as it is whose gradient is NaN. A parameter without gradient needs
    :func:`fdl.optim.skip_absent` to be skipped.

    Source: Riedmiller and Braun, "A Direct Adaptive Method for Faster Backpropagation Learning: The
    RPROP Algorithm", ICNN 1993.
    """
    check_non_negative("rprop", lr=lr)
    if not 0 < etas[0] < 1 < etas[1]:
        raise ValueError(
            "rprop: etas: expected a number between 0 and 1 and a number above 1, got "
            f"{etas}. The first shrinks step sizes, the second lets them grow."
        )
    return optax.chain(ascend(maximize=maximize), _own_steps(lr, etas, step_sizes))


def _own_steps(
    lr: optax.ScalarOrSchedule, etas: tuple[float, float], step_sizes: tuple[float, float]
) -> optax.GradientTransformation:
    def init(params):
        step = no_steps()
        sizes = jax.tree.map(lambda p: jnp.full_like(p, rate(lr, step)), params)
        return RpropState(step, optax.tree.zeros_like(params), sizes)

    def resized(size, turn):
        shrunk, grown = etas
        factor = jnp.where(turn > 0, grown, shrunk).astype(size.dtype)
        # XLA computes this once for both who read it; clipped after the choice, twice, from copies
        return jnp.where(
            jnp.abs(turn) > 0, jnp.clip(size * factor, *step_sizes), jnp.clip(size, *step_sizes)
        )

    def update(updates, state, params=None):
        del params
        turns = jax.tree.map(lambda g, previous: g * previous, updates, state.prev)
        sizes = jax.tree.map(resized, state.step_size, turns)
        kept = jax.tree.map(lambda g, turn: jnp.where(turn < 0, 0, g), updates, turns)
        updates = jax.tree.map(lambda g, size: -_sign(g) * size, kept, sizes)
        return updates, RpropState(next_step(state.step), kept, sizes)

    return optax.GradientTransformation(init, update)


def _sign(gradient: jax.Array) -> jax.Array:
    """Torch's sign, which is 0 for NaN."""
    return jnp.where(jnp.isnan(gradient), 0, jnp.sign(gradient))
