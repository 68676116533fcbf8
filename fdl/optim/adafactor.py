"""Adafactor."""

import math
from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import ascend, at_step, check_non_negative, is_known, is_off
from fdl.optim._moments import as_float, next_step, no_steps

SHORT = 16
"""Axes to this size are summed element by element: XLA's reduction is made for long ones."""


class AdafactorState(NamedTuple):
    """State of :func:`adafactor`, by torch's names.

    Attributes:
        step: number of updates so far.
        row_var: for each array of two or more axes, the running mean of the squared gradients over
            the last axis; None for the others.
        col_var: the same over the last axis but one.
        variance: for each vector and scalar, the running mean of the squares; None for the others.
    """

    step: jax.Array
    row_var: Any
    col_var: Any
    variance: Any


def adafactor(
    lr: optax.ScalarOrSchedule = 1e-2,
    beta2_decay: float = -0.8,
    eps: tuple[float | None, float] = (None, 1e-3),
    d: float = 1.0,
    weight_decay: float = 0.0,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Adafactor: adaptive steps from factored second moments.

    .. math::
        R_t &= R_{t-1} + t^{\tau} (\text{mean}_{-1}(g^2) - R_{t-1}) \\
        C_t &= C_{t-1} + t^{\tau} (\text{mean}_{-2}(g^2) - C_{t-1}) \\
        v_t &= R_t C_t / \max(\text{mean}_{-2}(R_t), \epsilon_1) \\
        u_t &= g / \max(\sqrt{v_t}, \epsilon_1) \\
        \theta &\leftarrow (1 - \gamma \lambda) \theta
            - \min(\gamma, 1 / \sqrt t) \max(\epsilon_2, \text{RMS}(\theta))
            \frac{u_t}{\max(1, \text{RMS}(u_t) / d)}

    A vector or scalar has a :math:`v_t` of its own shape, the running mean of :math:`g^2`.

    Args:
        lr: :math:`\gamma`, the largest relative step and the rate of the decay; a number or a
            schedule ``step -> lr``.
        beta2_decay: :math:`\tau`, 0 or below.
        eps: :math:`(\epsilon_1, \epsilon_2)`; an :math:`\epsilon_1` of None is the machine epsilon
            of the parameter's dtype.
        d: updates are clipped to this root mean square, 1 or more.
        weight_decay: decoupled decay :math:`\lambda`.
        maximize: ascend instead of descend; weight decay still shrinks.

    Returns:
        An ``optax.GradientTransformation``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.adafactor()
        >>> params = {"w": jnp.ones((2, 3))}
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update({"w": jnp.ones((2, 3))}, state, params)
        >>> [round(u, 3) for u in updates["w"][0].tolist()]
        [-0.01, -0.01, -0.01]

    Torch: ``torch.optim.Adafactor``. A parameter without gradient needs
    :func:`fdl.optim.skip_absent` to be skipped. The factors are those of the last two axes, as in
    torch, and not of the largest two.

    Source: Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
    ICML 2018.
    """
    eps1, eps2 = eps
    check_non_negative("adafactor", lr=lr, weight_decay=weight_decay)
    if is_known(beta2_decay) and not beta2_decay <= 0:
        raise ValueError(f"adafactor: beta2_decay: expected 0 or less, got {beta2_decay}.")
    if not ((eps1 is None or eps1 >= 0) and eps2 >= 0):
        raise ValueError(
            f"adafactor: eps: expected (None or 0 or more, 0 or more), got {eps}. "
            "None is the machine epsilon."
        )
    if is_known(d) and not d >= 1:
        raise ValueError(f"adafactor: d: expected 1 or more, got {d}.")
    return optax.chain(
        ascend(maximize=maximize),
        _normalized_by_factors(beta2_decay, eps1, d),
        _relative_step(lr, eps2, weight_decay),
    )


def _normalized_by_factors(
    beta2_decay: float, eps1: float | None, d: float
) -> optax.GradientTransformation:
    """Divides by the root of the estimated second moment, and clips each array's mean square."""

    def init(params):
        def mean(axis):
            return jax.tree.map(lambda p: _factor(jnp.zeros_like(p), axis), params)

        variance = jax.tree.map(lambda p: None if p.ndim > 1 else jnp.zeros_like(p), params)
        return AdafactorState(no_steps(), mean(-1), mean(-2), variance)

    def update(updates, state, params=None):
        del params
        step = next_step(state.step)
        weight = as_float(step) ** as_float(beta2_decay)

        def moved(old, new):
            return None if new is None else _interpolated(old, new, weight.astype(new.dtype))

        def moved_mean(old, axis):
            return jax.tree.map(lambda g, v: moved(v, _factor(g * g, axis)), updates, old)

        rows, columns = moved_mean(state.row_var, -1), moved_mean(state.col_var, -2)
        variance = jax.tree.map(
            lambda g, v: None if v is None else moved(v, g * g), updates, state.variance
        )

        def clipped(g, row, column, v):
            least = float(jnp.finfo(g.dtype).eps) if eps1 is None else eps1
            if v is None:
                v = row / jnp.maximum(_mean(row, -2), least) * column
            update = g * jax.lax.rsqrt(jnp.maximum(v, least * least))
            return update / _at_least(1, _root_mean_square(update) / d)

        updates = jax.tree.map(clipped, updates, rows, columns, variance)
        return updates, AdafactorState(step, rows, columns, variance)

    return optax.GradientTransformation(init, update)


def _relative_step(
    lr: optax.ScalarOrSchedule, eps2: float, weight_decay: float
) -> optax.GradientTransformation:
    """Descends by a share of each parameter's own size, and decays it."""

    def init(params):
        del params
        return optax.ScaleByScheduleState(no_steps())

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("adafactor: params: expected the parameters, got None.")
        now, count = at_step(lr, state.count), next_step(state.count)
        largest = jnp.minimum(as_float(now), as_float(count) ** -0.5)

        def descended(update, p):
            size = _at_least(eps2, _root_mean_square(p))
            update = -(size * largest.astype(p.dtype)) * update
            if is_off(weight_decay):
                return update
            return update - (as_float(now) * as_float(weight_decay)).astype(p.dtype) * p

        updates = jax.tree.map(descended, updates, params)
        return updates, optax.ScaleByScheduleState(count)

    return optax.GradientTransformation(init, update)


def _interpolated(start: jax.Array, end: jax.Array, weight: jax.Array) -> jax.Array:
    """Torch's ``lerp``: from the nearer end, so that a weight of 1 gives the end exactly."""
    way = end - start
    return jnp.where(weight < 0.5, start + weight * way, end - (1 - weight) * way)


def _factor(array: jax.Array, axis: int) -> jax.Array | None:
    return _mean(array, axis) if array.ndim > 1 else None


def _mean(array: jax.Array, axis: int) -> jax.Array:
    size = array.shape[axis]
    if not 1 <= size <= SHORT:
        return array.mean(axis, keepdims=True)
    return reduce(jnp.add, jnp.split(array, size, axis)) / size


def _at_least(least: float, value: jax.Array) -> jax.Array:
    """The larger of two; of a NaN, the bound, so that one element does not spoil the others."""
    return jnp.where(value > least, value, least)


def _root_mean_square(array: jax.Array) -> jax.Array:
    return jnp.linalg.norm(array.ravel()) / math.sqrt(array.size)
