"""Adam for gradients most of whose rows are absent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import Betas, at_step, check_betas, check_positive, descent
from fdl.optim._moments import average, average_square, bias_correction, next_step, no_steps


class SparseAdamState(NamedTuple):
    """State of :func:`sparse_adam`, by torch's names.

    Attributes:
        step: number of updates so far, one count for all rows.
        exp_avg: running mean of the gradients of each row, over the steps that had it.
        exp_avg_sq: running mean of their squares.
    """

    step: jax.Array
    exp_avg: optax.Updates
    exp_avg_sq: optax.Updates


def sparse_adam(
    lr: optax.ScalarOrSchedule = 1e-3,
    betas: Betas = (0.9, 0.999),
    eps: float = 1e-8,
    maximize: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Adam in which rows that are not in the batch keep their means and their values.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta &\leftarrow \theta - \gamma \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
            \frac{m_t}{\sqrt{v_t} + \epsilon}

    for the rows (indices of the first axis, as of an embedding's weight) that are present.

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        betas: :math:`(\beta_1, \beta_2)`, each from 0 to below 1; the first one may be a schedule.
        eps: :math:`\epsilon`, outside the root and before the bias correction.
        maximize: ascend instead of descend.

    Returns:
        An ``optax.GradientTransformationExtraArgs``. Present are the rows whose gradient is not all
        zero, or those of ``update(grads, state, params, rows=masks)``, a tree like the parameters
        of boolean vectors, one element a row.

    Raises:
        ValueError: if a number is out of its range; from ``update``, if a mask does not fit.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.sparse_adam(lr=0.1)
        >>> params = {"w": jnp.ones((3, 1))}
        >>> grads = {"w": jnp.array([[1.0], [0.0], [-2.0]])}
        >>> updates, state = optimizer.update(grads, optimizer.init(params), params)
        >>> [round(u, 3) + 0 for u in updates["w"][:, 0].tolist()]
        [-0.1, 0.0, 0.1]

    Torch: ``torch.optim.SparseAdam``. Gradients are dense arrays, where torch takes sparse ones: a
    row that is in the batch but whose gradient is zero is present for torch, and here only if
    `rows` says so. Rows are of the first axis; torch's sparse gradient may have more sparse axes.

    Source: Kingma and Ba, "Adam", ICLR 2015.
    """
    check_positive("sparse_adam", lr=lr, eps=eps)
    check_betas("sparse_adam", betas)
    optimizer = descent(_momentum_of_rows(betas, eps), lr, maximize=maximize)
    return optax.GradientTransformationExtraArgs(*optimizer)  # by rows, which it may be told


def _momentum_of_rows(betas: Betas, eps: float) -> optax.GradientTransformationExtraArgs:
    first, beta2 = betas

    def init(params):
        zeros = optax.tree.zeros_like
        return SparseAdamState(no_steps(), zeros(params), zeros(params))

    def update(updates, state, params=None, *, rows=None, **extra):
        del params, extra
        step, beta1 = next_step(state.step), at_step(first, state.step)
        present = jax.tree.map(_rows_with_gradient, updates)
        if rows is not None:
            present = jax.tree.map(_rows_of_mask, updates, rows)
        mean = average(beta1, state.exp_avg, updates)
        mean = jax.tree.map(jnp.where, present, mean, state.exp_avg)
        square = average_square(beta2, state.exp_avg_sq, updates)
        square = jax.tree.map(jnp.where, present, square, state.exp_avg_sq)
        factor = jnp.sqrt(bias_correction(beta2, step)) / bias_correction(beta1, step)

        def normalized(here, m, v):
            return jnp.where(here, factor.astype(m.dtype) * m / (jnp.sqrt(v) + eps), 0)

        updates = jax.tree.map(normalized, present, mean, square)
        return updates, SparseAdamState(step, mean, square)

    return optax.GradientTransformationExtraArgs(init, update)


def _rows_with_gradient(gradient: jax.Array) -> jax.Array:
    """A mask that broadcasts over the gradient: rows that are not all zero."""
    return jnp.any(gradient != 0, axis=tuple(range(1, gradient.ndim)), keepdims=True)


def _rows_of_mask(gradient: jax.Array, mask: jax.Array) -> jax.Array:
    """The given mask, in a shape that broadcasts over the gradient."""
    if mask.shape != gradient.shape[:1] or mask.dtype != bool:
        raise ValueError(
            f"sparse_adam: rows: expected a mask of booleans of shape {gradient.shape[:1]} for a "
            f"parameter of shape {gradient.shape}, got {mask.dtype} of shape {mask.shape}."
        )
    return mask.reshape(-1, *(1,) * (gradient.ndim - 1)) if gradient.ndim else mask
