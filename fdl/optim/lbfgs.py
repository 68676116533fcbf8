"""L-BFGS, with torch's inner iterations and line search inside one update."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from fdl.optim._lr import check_non_negative, rate
from fdl.optim._moments import next_step, no_steps
from fdl.optim.strong_wolfe import Point, strong_wolfe

SMALLEST_CURVATURE = 1e-10
"""A pair of differences is kept if their product is above this."""


class LBFGSState(NamedTuple):
    """State of :func:`lbfgs`, by torch's names; all parameters are one flat vector.

    Attributes:
        step: number of updates so far, for a schedule.
        func_evals: number of evaluations so far.
        n_iter: number of inner iterations so far.
        d: last direction.
        t: last step along it.
        old_dirs: differences of gradients, a row each.
        old_stps: differences of parameters, a row each.
        ro: the inverse of their products.
        num_old: number of pairs kept so far: pair ``i`` is in row ``i % history_size``.
        H_diag: scale of the first approximation of the inverse Hessian.
        prev_flat_grad: gradient where the last inner iteration began.
        prev_loss: loss there.
    """

    step: jax.Array
    func_evals: jax.Array
    n_iter: jax.Array
    d: jax.Array
    t: jax.Array
    old_dirs: jax.Array
    old_stps: jax.Array
    ro: jax.Array
    num_old: jax.Array
    H_diag: jax.Array
    prev_flat_grad: jax.Array
    prev_loss: jax.Array


class _Inner(NamedTuple):
    """What one inner iteration hands to the next, beside the state."""

    x: jax.Array
    loss: jax.Array
    grad: jax.Array
    t: jax.Array
    iterations: jax.Array
    evaluations: jax.Array
    stop: jax.Array


class _Limits(NamedTuple):
    max_iter: int
    max_eval: int
    tolerance_grad: float
    tolerance_change: float


def lbfgs(
    lr: optax.ScalarOrSchedule = 1,
    max_iter: int = 20,
    max_eval: int | None = None,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
    history_size: int = 100,
    line_search_fn: str | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""L-BFGS: quasi-Newton steps from the last differences of parameters and gradients.

    .. math::
        \theta \leftarrow \theta - t H g

    where :math:`H` approximates the inverse Hessian from pairs
    :math:`s = \theta_{k+1} - \theta_k`, :math:`y = g_{k+1} - g_k` with
    :math:`y^\top s > 10^{-10}`, and :math:`t` is the learning rate (times
    :math:`\min(1, 1 / \|g\|_1)` at the very first iteration) or what the line search makes of it.
    An update ends after `max_iter` iterations or `max_eval` evaluations, or when the gradient, the
    step or the change of the loss is small.

    Args:
        lr: learning rate, a number or a schedule ``update -> lr``.
        max_iter: most inner iterations of an update.
        max_eval: most evaluations of an update (a line search may exceed it by one), `max_iter`
            times 5/4 if None.
        tolerance_grad: an update ends where no gradient is above this.
        tolerance_change: an update ends where no parameter, or the loss, changes by more.
        history_size: number of pairs kept: the state holds twice as many times the parameters.
        line_search_fn: ``"strong_wolfe"``, or None for steps of the learning rate.

    Returns:
        An ``optax.GradientTransformationExtraArgs``, whose ``update(grads, state, params, *,
        value, value_fn)`` takes also the loss, and a pure function ``params -> loss`` to evaluate
        elsewhere. As a link of a chain it should be the first: what comes before it sees only the
        first of the gradients.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import fdl, jax, jax.numpy as jnp, optax
        >>> loss = lambda params: jnp.sum((params["w"] - 3.0) ** 4)
        >>> optimizer = fdl.optim.lbfgs(line_search_fn="strong_wolfe")
        >>> @jax.jit
        ... def step(params, state):
        ...     value, grads = jax.value_and_grad(loss)(params)
        ...     updates, state = optimizer.update(grads, state, params, value=value, value_fn=loss)
        ...     return optax.apply_updates(params, updates), state
        >>> params = {"w": jnp.zeros(2)}
        >>> params, state = step(params, optimizer.init(params))
        >>> bool(loss(params) < 1e-6)
        True

    Torch: ``torch.optim.LBFGS``: an update is a ``step(closure)``, whose first evaluation is the
    caller's. Torch raises for an unknown `line_search_fn` only in the step. A learning rate that is
    a tensor is also torch's last step, so that a scheduler changes that step before it is used;
    here it stays what it was. Parameters are real.

    Source: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization",
    Mathematical Programming 45, 1989; Schmidt, "minFunc", 2005, for the line search.
    """
    max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
    check_non_negative("lbfgs", lr=lr)
    if line_search_fn not in (None, "strong_wolfe"):
        raise ValueError(
            f"lbfgs: line_search_fn: expected None or 'strong_wolfe', got {line_search_fn!r}."
        )
    if history_size < 1:
        raise ValueError(f"lbfgs: history_size: expected 1 or more, got {history_size}.")
    limits = _Limits(max_iter, max_eval, tolerance_grad, tolerance_change)
    move = _fixed_step if line_search_fn is None else _searched_step

    def update(updates, state, params=None, *, value=None, value_fn=None, **extra_args):
        del extra_args
        if params is None or value is None or value_fn is None:
            raise ValueError(
                "lbfgs: update: expected params, value and value_fn, got None among them. Call "
                "update(grads, state, params, value=loss, value_fn=function_of_the_parameters)."
            )
        x, unravel = ravel_pytree(params)
        lr_now = rate(lr, state.step).astype(x.dtype)
        moved = partial(move, _flat(value_fn, unravel), limits)
        inner, state = jax.lax.while_loop(
            lambda carry: ~carry[0].stop,
            lambda carry: _iteration(*carry, lr=lr_now, limits=limits, move=moved),
            (_begin(x, value, updates, limits), state),
        )
        state = state._replace(
            step=next_step(state.step),
            func_evals=state.func_evals + inner.evaluations,
        )
        return unravel(inner.x - x), state

    return optax.GradientTransformationExtraArgs(partial(_init, history_size=history_size), update)


def _init(params: optax.Params, *, history_size: int) -> LBFGSState:
    x, _ = ravel_pytree(params)

    def zeros(*shape):  # an array of its own for each field, which may be donated
        return jnp.zeros(shape, x.dtype)

    return LBFGSState(
        step=no_steps(),
        func_evals=no_steps(),
        n_iter=no_steps(),
        d=zeros(x.size),
        t=zeros(),
        old_dirs=zeros(history_size, x.size),
        old_stps=zeros(history_size, x.size),
        ro=zeros(history_size),
        num_old=no_steps(),
        H_diag=jnp.ones((), x.dtype),
        prev_flat_grad=zeros(x.size),
        prev_loss=zeros(),
    )


def _flat(value_fn: Callable[[Any], Any], unravel: Callable[[jax.Array], Any]):
    """The loss and the gradient as functions of the flat vector."""

    def evaluate(x):
        value, grads = jax.value_and_grad(value_fn)(unravel(x))
        return jnp.asarray(value, x.dtype), ravel_pytree(grads)[0]

    return evaluate


def _begin(x: jax.Array, value, grads: optax.Updates, limits: _Limits) -> _Inner:
    grad, _ = ravel_pytree(grads)
    stop = (_largest(grad) <= limits.tolerance_grad) | (limits.max_iter < 1)
    none = no_steps()
    return _Inner(x, jnp.asarray(value, x.dtype), grad, none.astype(x.dtype), none, none + 1, stop)


def _iteration(
    inner: _Inner, state: LBFGSState, *, lr: jax.Array, limits: _Limits, move: Callable
) -> tuple[_Inner, LBFGSState]:
    grad, loss = inner.grad, inner.loss
    state = _with_last_pair(state, grad)
    d = _direction(state, grad)
    slope = grad @ d
    first = jnp.minimum(1, 1 / jnp.abs(grad).sum()) * lr
    inner = inner._replace(
        t=jnp.where(state.n_iter == 0, first, lr), iterations=inner.iterations + 1
    )
    descends = ~(slope > -limits.tolerance_change)
    inner = _judged(move(inner, d, slope, descends), descends, d, loss, limits)
    return inner, state._replace(
        n_iter=state.n_iter + 1, d=d, t=inner.t, prev_flat_grad=grad, prev_loss=loss
    )


def _with_last_pair(state: LBFGSState, grad: jax.Array) -> LBFGSState:
    """Keeps the differences of the last iteration, if the loss curves up between them."""
    y, s = grad - state.prev_flat_grad, state.d * state.t
    product = y @ s
    keep = product > SMALLEST_CURVATURE
    row = state.num_old % len(state.ro)

    def put(rows, new):
        return rows.at[row].set(jnp.where(keep, new, rows[row]))

    return state._replace(
        old_dirs=put(state.old_dirs, y),
        old_stps=put(state.old_stps, s),
        ro=put(state.ro, 1 / product),
        num_old=state.num_old + keep.astype(jnp.int32),
        H_diag=jnp.where(keep, product / (y @ y), state.H_diag),
    )


def _direction(state: LBFGSState, grad: jax.Array) -> jax.Array:
    """Minus the approximate inverse Hessian times the gradient, by the two loops."""
    size = len(state.ro)
    kept = jnp.minimum(state.num_old, size)

    def backward(i, carry):
        q, shares = carry
        row = (state.num_old - 1 - i) % size
        share = (state.old_stps[row] @ q) * state.ro[row]
        return q - share * state.old_dirs[row], shares.at[row].set(share)

    def forward(i, d):
        row = (state.num_old - kept + i) % size
        share = (state.old_dirs[row] @ d) * state.ro[row]
        return d + (shares[row] - share) * state.old_stps[row]

    q, shares = jax.lax.fori_loop(0, kept, backward, (-grad, jnp.zeros_like(state.ro)))
    return jax.lax.fori_loop(0, kept, forward, q * state.H_diag)


def _fixed_step(
    evaluate: Callable,
    limits: _Limits,
    inner: _Inner,
    d: jax.Array,
    slope: jax.Array,
    descends: jax.Array,
) -> _Inner:
    """Moves by the step as it is; after the last iteration nobody asks for the loss."""
    del slope
    x = jnp.where(descends, inner.x + inner.t * d, inner.x)
    again = descends & (inner.iterations != limits.max_iter)
    loss, grad = jax.lax.cond(again, evaluate, lambda x: (inner.loss, inner.grad), x)
    evaluations = inner.evaluations + again.astype(jnp.int32)
    return inner._replace(x=x, loss=loss, grad=grad, evaluations=evaluations)


def _searched_step(
    evaluate: Callable,
    limits: _Limits,
    inner: _Inner,
    d: jax.Array,
    slope: jax.Array,
    descends: jax.Array,
) -> _Inner:
    """Moves to where the line search ends."""

    def line(t):
        loss, grad = evaluate(inner.x + t * d)
        return Point(t, loss, grad, grad @ d)

    def search():
        start = Point(jnp.zeros_like(slope), inner.loss, inner.grad, slope)
        left = limits.max_eval - inner.evaluations
        point, evaluations = strong_wolfe(line, start, inner.t, _largest(d), left)
        return inner._replace(
            x=inner.x + point.t * d,
            loss=point.value,
            grad=point.grad,
            t=point.t,
            evaluations=inner.evaluations + evaluations,
        )

    return jax.lax.cond(descends, search, lambda: inner)


def _judged(
    inner: _Inner, descends: jax.Array, d: jax.Array, previous_loss: jax.Array, limits: _Limits
) -> _Inner:
    """Whether to stop, after an iteration that moved or found no direction to descend."""
    stop = (
        ~descends
        | (inner.iterations >= limits.max_iter)
        | (inner.evaluations >= limits.max_eval)
        | (_largest(inner.grad) <= limits.tolerance_grad)
        | (_largest(d * inner.t) <= limits.tolerance_change)
        | (jnp.abs(inner.loss - previous_loss) < limits.tolerance_change)
    )
    return inner._replace(stop=stop)


def _largest(vector: jax.Array) -> jax.Array:
    return jnp.abs(vector).max()
