"""Adagrad."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import check_non_negative, descent
from fdl.optim._moments import as_float, next_step, no_steps


class AdagradState(NamedTuple):
    """State of :func:`adagrad`, by torch's names.

    Attributes:
        step: number of updates so far.
        sum: sum of the squared gradients.
    """

    step: jax.Array
    sum: optax.Updates


def adagrad(
    lr: optax.ScalarOrSchedule = 1e-2,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Gradients divided by the root of the sum of all squared gradients so far.

    .. math::
        g &\leftarrow g + \lambda \theta \\
        s_t &= s_{t-1} + g^2 \\
        \theta &\leftarrow \theta - \frac{\gamma}{1 + (t - 1) \eta} \frac{g}{\sqrt{s_t} + \epsilon}

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        lr_decay: :math:`\eta`, how fast the learning rate falls.
        weight_decay: L2 penalty :math:`\lambda`, added to the gradient.
        initial_accumulator_value: :math:`s_0`.
        eps: :math:`\epsilon`, outside the root.
        maximize: ascend instead of descend; weight decay still shrinks.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is negative.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.adagrad(lr=0.1)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-0.1, -0.1]

    Torch: ``torch.optim.Adagrad``. A parameter without gradient needs :func:`fdl.optim.skip_absent`
    to be skipped. Gradients are dense.

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization", JMLR 2011.
    """
    check_non_negative(
        "adagrad",
        lr=lr,
        lr_decay=lr_decay,
        weight_decay=weight_decay,
        initial_accumulator_value=initial_accumulator_value,
        eps=eps,
    )
    direction = _divide_by_root_of_sum(lr_decay, initial_accumulator_value, eps)
    return descent(direction, lr, weight_decay, maximize=maximize)


def _divide_by_root_of_sum(
    lr_decay: float, start: float, eps: float
) -> optax.GradientTransformation:
    def init(params):
        return AdagradState(no_steps(), jax.tree.map(lambda p: jnp.full_like(p, start), params))

    def update(updates, state, params=None):
        del params
        total = jax.tree.map(lambda s, g: s + g * g, state.sum, updates)
        decay = 1 + as_float(state.step) * as_float(lr_decay)
        updates = jax.tree.map(
            lambda g, s: g / (jnp.sqrt(s) + eps) / decay.astype(g.dtype), updates, total
        )
        return updates, AdagradState(next_step(state.step), total)

    return optax.GradientTransformation(init, update)
