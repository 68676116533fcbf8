"""Adam and AdamW."""

from typing import Any, NamedTuple

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


class AdamState(NamedTuple):
    """State of :func:`adam` and :func:`adamw`, by torch's names.

    Attributes:
        step: number of updates so far.
        exp_avg: running mean of the gradients.
        exp_avg_sq: running mean of their squares.
        max_exp_avg_sq: its largest value so far with `amsgrad`, else None.
    """

    step: jax.Array
    exp_avg: optax.Updates
    exp_avg_sq: optax.Updates
    max_exp_avg_sq: Any


def adam(
    lr: optax.ScalarOrSchedule = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> optax.GradientTransformation:
    r"""Adam, with L2 penalty or decoupled weight decay.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta &\leftarrow \theta - \gamma \frac{m_t / (1 - \beta_1^t)}
            {\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        betas: :math:`(\beta_1, \beta_2)`, each from 0 to below 1; the first one may be a schedule.
        eps: :math:`\epsilon`, outside the root and after the bias correction.
        weight_decay: :math:`\lambda`: added to the gradient as :math:`\lambda \theta`, or with
            `decoupled_weight_decay` taken from the parameter as :math:`\gamma \lambda \theta`.
        amsgrad: use the largest :math:`v` so far.
        maximize: ascend instead of descend; weight decay still shrinks.
        decoupled_weight_decay: make it AdamW.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.adam(lr=0.1)
        >>> params = {"w": jnp.ones(2)}
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-0.1, -0.1]

    Torch: ``torch.optim.Adam``. A parameter without gradient needs :func:`fdl.optim.skip_absent` to
    be skipped.

    Source: Kingma and Ba, "Adam", ICLR 2015; Reddi et al., "On the Convergence of Adam and Beyond",
    ICLR 2018, for `amsgrad`.
    """
    check_non_negative("adam", lr=lr, eps=eps, weight_decay=weight_decay)
    check_betas("adam", betas)
    return descent(
        _normalized_momentum(betas, eps, amsgrad=amsgrad),
        lr,
        weight_decay,
        maximize=maximize,
        decoupled=decoupled_weight_decay,
    )


def adamw(
    lr: optax.ScalarOrSchedule = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Adam with decoupled weight decay: :func:`adam` and :math:`\theta - \gamma \lambda \theta`.

    Args:
        lr: as in :func:`adam`.
        betas: as in :func:`adam`.
        eps: as in :func:`adam`.
        weight_decay: :math:`\lambda`; torch's default, a hundred times Optax's.
        amsgrad: as in :func:`adam`.
        maximize: as in :func:`adam`.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is out of its range.

    Torch: ``torch.optim.AdamW``. A parameter without gradient needs :func:`fdl.optim.skip_absent`
    to be skipped.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """
    return adam(
        lr,
        betas,
        eps,
        weight_decay,
        amsgrad,
        maximize=maximize,
        decoupled_weight_decay=True,
    )


def _normalized_momentum(
    betas: Betas, eps: float, *, amsgrad: bool
) -> optax.GradientTransformation:
    first, beta2 = betas

    def init(params):
        def zeros():
            return optax.tree.zeros_like(params)

        return AdamState(no_steps(), zeros(), zeros(), zeros() if amsgrad else None)

    def update(updates, state, params=None):
        del params
        step, beta1 = next_step(state.step), at_step(first, state.step)
        mean = average(beta1, state.exp_avg, updates)
        square = average_square(beta2, state.exp_avg_sq, updates)
        largest = jax.tree.map(_larger, state.max_exp_avg_sq, square) if amsgrad else None
        root = jnp.sqrt(bias_correction(beta2, step))
        scale, least = root / bias_correction(beta1, step), as_float(eps) * root

        def normalized(m, v):  # both sides of the fraction times the root of v's correction
            return m * scale.astype(m.dtype) / (jnp.sqrt(v) + least.astype(v.dtype))

        updates = jax.tree.map(normalized, mean, largest if amsgrad else square)
        return updates, AdamState(step, mean, square, largest)

    return optax.GradientTransformation(init, update)


def _larger(old: jax.Array, new: jax.Array) -> jax.Array:
    """The larger of two; a NaN stays.

    XLA's emitter for CPUs goes along the last axis, eight times as slowly if that is a kernel's 3,
    where an expression is the same at every element; the bound, a broadcast scalar, prevents it.
    """
    return jax.lax.clamp(old, new, jnp.full((), jnp.inf, new.dtype))
