"""Muon: momentum, orthogonalised by a Newton-Schulz iteration."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from fdl.optim._lr import check_non_negative, coupled_decay, descend, rate
from fdl.optim._moments import average, next_step, no_steps
from fdl.optim._precision import widely


class MuonState(NamedTuple):
    """State of :func:`muon`, by torch's name.

    Attributes:
        momentum_buffer: running mean of the gradients.
    """

    momentum_buffer: optax.Updates


def muon(
    lr: optax.ScalarOrSchedule = 1e-3,
    weight_decay: float = 0.1,
    momentum: optax.ScalarOrSchedule = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    *,
    ns_dtype: DTypeLike = "bfloat16",
) -> optax.GradientTransformation:
    r"""Muon, for matrices.

    .. math::
        b_t &= \mu b_{t-1} + (1 - \mu) g \\
        X &\leftarrow b_t \quad (\text{or } \mu b_t + (1 - \mu) g \text{ with Nesterov}) \\
        X &\leftarrow X / \max(\|X\|_F, \epsilon) \\
        X &\leftarrow a X + (b X X^\top + c (X X^\top)^2) X \quad \text{so many times} \\
        \theta &\leftarrow (1 - \gamma \lambda) \theta - \gamma \rho X

    Args:
        lr: learning rate :math:`\gamma`, a number or a schedule ``step -> lr``.
        weight_decay: decoupled decay :math:`\lambda`.
        momentum: :math:`\mu`, a number or a schedule.
        nesterov: look ahead along the momentum.
        ns_coefficients: :math:`(a, b, c)` of the iteration.
        eps: :math:`\epsilon`.
        ns_steps: number of iterations, below 100.
        adjust_lr_fn: for a matrix of shape ``(A, B)``, ``"original"`` (and None) makes
            :math:`\rho = \sqrt{\max(1, A / B)}`, ``"match_rms_adamw"``
            :math:`\rho = 0.2 \sqrt{\max(A, B)}`.
        ns_dtype: dtype of the matrices of the iteration; sums are taken in JAX's default float or
            in this dtype, whichever is wider.

    Returns:
        An ``optax.GradientTransformation``. Its `init` raises ValueError, naming them, if there
        are parameters that are not matrices.

    Raises:
        ValueError: if an argument is out of its range.

    Example:
        >>> import fdl, jax.numpy as jnp, optax
        >>> params = {"weight": jnp.ones((2, 3)), "bias": jnp.ones(2)}
        >>> optimizer = optax.partition(
        ...     {"matrix": fdl.optim.muon(lr=0.02), "other": fdl.optim.adamw()},
        ...     {"weight": "matrix", "bias": "other"},
        ... )
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)

    Torch: ``torch.optim.Muon``, which always iterates in bfloat16: `ns_dtype` is fdl's. Weights are
    torch's ``(out, in)``, on which :math:`\rho` depends. A parameter without gradient needs
    :func:`fdl.optim.skip_absent` to be skipped.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; Liu et
    al., "Muon is Scalable for LLM Training", 2025, for ``"match_rms_adamw"``.
    """
    check_non_negative("muon", lr=lr, weight_decay=weight_decay, momentum=momentum)
    if len(ns_coefficients) != 3:
        raise ValueError(f"muon: ns_coefficients: expected three numbers, got {ns_coefficients}.")
    if not isinstance(ns_steps, jax.Array) and ns_steps >= 100:
        raise ValueError(f"muon: ns_steps: expected less than 100, got {ns_steps}.")
    if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
        raise ValueError(
            "muon: adjust_lr_fn: expected None, 'original' or 'match_rms_adamw', "
            f"got {adjust_lr_fn!r}."
        )

    def orthogonal(matrix):
        rows, columns = matrix.shape
        ratio = max(1, rows / columns)
        if adjust_lr_fn == "match_rms_adamw":
            ratio = 0.04 * max(rows, columns)
        found = _orthogonalized(matrix, ns_coefficients, ns_steps, eps, ns_dtype)
        return math.sqrt(ratio) * found

    return widely(
        optax.chain(
            _momentum(momentum, nesterov=nesterov),
            optax.stateless_with_tree_map(lambda update, _: orthogonal(update)),
            coupled_decay(weight_decay),  # after the orthogonalisation, it is decoupled from it
            descend(lr),
        )
    )


def _momentum(momentum: optax.ScalarOrSchedule, *, nesterov: bool) -> optax.GradientTransformation:
    if callable(momentum):
        return _scheduled(momentum, nesterov=nesterov)

    def init(params):
        _check_matrices(params)
        return MuonState(optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        del params
        buffers = average(momentum, state.momentum_buffer, updates)
        updates = average(momentum, buffers, updates) if nesterov else buffers
        return updates, MuonState(buffers)

    return optax.GradientTransformation(init, update)


def _scheduled(momentum: optax.Schedule, *, nesterov: bool) -> optax.GradientTransformation:
    """Torch's state has no count of steps: here one stands before it."""

    def init(params):
        return optax.ScaleByScheduleState(no_steps()), _momentum(0.0, nesterov=nesterov).init(
            params
        )

    def update(updates, state, params=None):
        (step,), inner = state
        now = _momentum(rate(momentum, step), nesterov=nesterov)
        updates, inner = now.update(updates, inner, params)
        return updates, (optax.ScaleByScheduleState(next_step(step)), inner)

    return optax.GradientTransformation(init, update)


def _check_matrices(params: optax.Params) -> None:
    others = [
        f"{jax.tree_util.keystr(path, simple=True, separator='.')!r} of shape {jnp.shape(leaf)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if jnp.ndim(leaf) != 2
    ]
    if others:
        raise ValueError(
            f"muon: params: expected matrices, got {', '.join(others)}. "
            "Give those to another optimizer with optax.partition."
        )


def _orthogonalized(
    matrix: jax.Array,
    coefficients: tuple[float, float, float],
    steps: int,
    eps: float,
    dtype: DTypeLike,
) -> jax.Array:
    """Replaces the singular values of a matrix by ones, roughly.

    As torch's kernels, every operation sums in a wide dtype and rounds once.
    """
    a, b, c = coefficients
    wide = max(jnp.result_type(float), jnp.dtype(dtype), key=lambda kind: jnp.finfo(kind).bits)

    def widened(x):
        return x.astype(wide)

    def rounded(x):
        return _rounded(x, dtype)

    def product(x, y):
        return jnp.matmul(x, y, preferred_element_type=wide)

    def iterate(_, x):
        gram = rounded(product(x, x.T))
        polynomial = rounded(b * widened(gram) + c * product(gram, gram))
        return rounded(a * widened(x) + product(polynomial, x))

    rows, columns = matrix.shape
    x = rounded(matrix.T if rows > columns else matrix)
    size = jnp.maximum(rounded(jnp.linalg.norm(widened(x))), jnp.asarray(eps, dtype))
    x = rounded(widened(x) / widened(size))
    x = jax.lax.fori_loop(0, jnp.asarray(steps, jnp.int32), iterate, x)
    return (x.T if rows > columns else x).astype(matrix.dtype)


def _rounded(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Casts; XLA leaves out a cast to a narrow dtype that it can undo, but not this rounding."""
    kind: Any = jnp.finfo(dtype)
    if kind.bits >= jnp.finfo(x.dtype).bits:
        return x.astype(dtype)
    return jax.lax.reduce_precision(x, kind.nexp, kind.nmant).astype(dtype)
