"""The core of all recurrent layers: one direction of one layer over time, and its derivative.

A step is a product with the weights of the hidden state, then work on single elements. Its
derivative is that product and a few factors for each element, the slopes, which every step leaves
behind. What a change of the weights does at each step is known before the derivative's loop, for
all steps in one product. Transposed, this is backpropagation through time whose weights' gradient
is one product after the loop, where the derivative of a plain scan adds one at each step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from fdl.functional import _chains, _product

State = tuple[jax.Array, ...]
"""What one direction of one layer remembers: the hidden state first, then an LSTM's cell."""

Gates = tuple[jax.Array, ...]
"""What the elementwise part of a step is computed from, besides the state."""

Slopes = tuple[jax.Array, ...]
"""The factors of a step's derivative, in the order in which the kind's `move` takes them."""

UNROLL = 4
"""Steps in one round of the loop, where it is not differentiated."""


class Kind(NamedTuple):
    """What tells one recurrence from another.

    Attributes:
        name: of the public function, for errors.
        gates: how many blocks of H rows its weights have.
        states: names of its initial states, the hidden state first.
        meet: ``(projected input, recalled state) -> gates``, linear.
        step: ``(gates, state) -> (state, slopes)``, elementwise.
        move: ``(slopes, d gates, d state) -> d state``: the derivative of `step`, linear in the
            last two.
        unroll: steps in one round of the loop that leaves the slopes behind.
        chains: whether a CPU is faster with the batch in chains.
    """

    name: str
    gates: int
    states: tuple[str, ...]
    meet: Callable[[jax.Array, jax.Array], Gates]
    step: Callable[[Gates, State], tuple[State, Slopes]]
    move: Callable[[Slopes, Gates, State], State]
    unroll: int
    chains: bool


class Recall(NamedTuple):
    """The weights of the hidden state, which each step needs.

    Attributes:
        matrix: torch's ``weight_hh`` transposed, ``(R, GH)``: once, not in each product.
        bias: ``bias_hh``, ``(GH,)``, or None.
        projection: an LSTM's ``weight_hr`` transposed, ``(H, R)``, or None.
    """

    matrix: jax.Array
    bias: jax.Array | None
    projection: jax.Array | None


def recall_of(weights: Any) -> Recall:
    """The weights of the hidden state among all of one direction of a layer."""
    projection = getattr(weights, "weight_hr", None)
    projection = None if projection is None else projection.T
    return Recall(weights.weight_hh.T, weights.bias_hh, projection)


def advance(
    kind: Kind, recall: Recall, projected: jax.Array, state: State
) -> tuple[State, jax.Array, Slopes]:
    """One step: the state after it, the hidden state before its projection, and the slopes."""
    gates = kind.meet(projected, _recalled(state[0], recall.matrix, recall.bias))
    (shown, *rest), slopes = kind.step(gates, state)
    hidden = shown if recall.projection is None else jnp.matmul(shown, recall.projection)
    return (hidden, *rest), shown, slopes


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def over_time(
    kind: Kind,
    reverse: bool,
    recall: Recall,
    projected: jax.Array,
    state: State,
    valid: jax.Array | None,
) -> tuple[jax.Array, State]:
    """Runs one direction of one layer over all steps.

    Args:
        kind: the recurrence.
        reverse: whether time runs from the last step to the first.
        recall: weights of the hidden state.
        projected: the input's share of the gates ``(L, N, GH)``.
        state: the initial state.
        valid: whether a step is within its sequence ``(L, N, 1)``; the state stays as it is where
            it is not. None if all are.

    Returns:
        The hidden state after each step ``(L, N, R)``, and the final state.
    """

    def body(state, now, _):
        projected, valid = now
        new, _, _ = advance(kind, recall, projected, state)
        new = _held(valid, new, state)
        return new, new[0], None

    loop = {"split": kind.chains, "reverse": reverse, "unroll": UNROLL}
    final, outputs, _ = _chains.scan(body, state, (projected, valid), **loop)
    return outputs, final


@partial(over_time.defjvp, symbolic_zeros=True)
def _over_time_jvp(kind, reverse, primals, tangents):
    recall, projected, state, valid = primals
    d_recall, d_projected, d_state, _ = tangents
    d_projected, *d_state = map(_instantiated, (d_projected, *d_state), (projected, *state))
    outputs, final, shown, slopes = _with_slopes(kind, reverse, *primals)
    first = state[0][None]
    before = jnp.concatenate([outputs[1:], first] if reverse else [first, outputs[:-1]])
    d_recalled = _moved(before, recall[:2], d_recall[:2], like=projected)
    d_gates = kind.meet(d_projected, d_recalled)
    d_shown = None
    if shown is not None:
        d_shown = _moved(
            shown, (recall.projection, None), (d_recall.projection, None), like=outputs
        )

    rows = recall.matrix.T  # so that the transposed loop has a plain product, not one by columns

    def body(d_state, now, slopes):
        d_gates, d_shown, valid = now
        d_recalled = lax.dot_general(d_state[0], rows, (((1,), (1,)), ((), ())))
        through_state = kind.meet(jnp.zeros_like(d_recalled), d_recalled)
        d_gates = tuple(map(jnp.add, d_gates, through_state))
        d_hidden, *rest = kind.move(slopes, d_gates, d_state)
        if recall.projection is not None:
            d_hidden = jnp.matmul(d_hidden, recall.projection) + d_shown
        new = _held(valid, (d_hidden, *rest), d_state)
        return new, new[0], None

    steps = (d_gates, d_shown, valid)
    loop = {"split": kind.chains, "kept": slopes, "reverse": reverse}
    d_final, d_outputs, _ = _chains.scan(body, tuple(d_state), steps, **loop)
    return (outputs, final), (d_outputs, d_final)


def _with_slopes(kind, reverse, recall, projected, state, valid):
    """`over_time` that also returns what each step leaves behind, the slopes as they are kept."""

    def body(state, now, _):
        projected, valid = now
        new, shown, slopes = advance(kind, recall, projected, state)
        new = _held(valid, new, state)
        return new, (new[0], None if recall.projection is None else shown), slopes

    loop = {"split": kind.chains, "reverse": reverse, "unroll": kind.unroll}
    final, (outputs, shown), slopes = _chains.scan(body, state, (projected, valid), **loop)
    return outputs, final, shown, slopes


def _recalled(hidden, matrix, bias):
    product = jnp.matmul(hidden, matrix)
    return product if bias is None else product + bias


def _held(valid, new, old):
    """The new state, or the old one beyond a sequence's end."""
    if valid is None:
        return tuple(new)
    return tuple(jnp.where(valid, x, y) for x, y in zip(new, old, strict=True))


def _moved(hidden, weights, d_weights, *, like):
    """What a change of the weights does to a product at all steps; no product for none."""
    if all(isinstance(d, SymbolicZero) for d in d_weights if d is not None):
        return jnp.zeros_like(like)
    matrix, bias = map(_instantiated, d_weights, weights)
    product = _product.pull_input(hidden, matrix)
    return product if bias is None else product + bias


def _instantiated(tangent, primal):
    return jnp.zeros_like(primal) if isinstance(tangent, SymbolicZero) else tangent


def _sum(projected, recalled):
    return (projected + recalled,)


def _tanh_step(gates, state):
    """Its slope is computed from x, as in :func:`fdl.functional.tanh`."""
    (x,) = gates
    small = jnp.exp(-2 * jnp.abs(x))
    return (jnp.tanh(x),), (4 * small / jnp.square(1 + small),)


def _relu_step(gates, state):
    (x,) = gates
    return (jax.nn.relu(x),), ((x > 0).astype(x.dtype),)


def _plain_move(slopes, d_gates, d_state):
    return (slopes[0] * d_gates[0],)


def _reset_apart(projected, recalled):
    """Sums for the gates r and z; the reset gate comes between the two shares of n."""
    split = projected.shape[-1] // 3 * 2
    both = projected[..., :split] + recalled[..., :split]
    return both, projected[..., split:], recalled[..., split:]


def _gru_step(gates, state):
    """The sigmoid of the third gate is not used: one of many uses is computed apart from them.

    XLA on CPUs would compute everything in one loop of scalars, at 1.6 times the forward's time.
    """
    both, given, recalled = gates
    (hidden,) = state
    sums = jnp.concatenate([both, given + recalled], axis=-1)
    r, z, _ = jnp.split(0.5 * jnp.tanh(0.5 * sums) + 0.5, 3, axis=-1)
    n = jnp.tanh(given + r * recalled)
    of_given = (1 - z) * (1 - n * n)
    of_recalled = of_given * r
    of_r = of_recalled * (1 - r) * recalled
    of_z = (hidden - n) * z * (1 - z)
    return (n + z * (hidden - n),), (of_r, of_z, of_given, of_recalled, z)


def _gru_move(slopes, d_gates, d_state):
    of_r, of_z, of_given, of_recalled, z = slopes
    both, given, recalled = d_gates
    d_r, d_z = jnp.split(both, 2, axis=-1)
    through_n = of_given * given + of_recalled * recalled
    return (of_r * d_r + of_z * d_z + through_n + z * d_state[0],)


def _lstm_step(gates, state):
    r"""One tanh for all gates: :math:`\sigma(x) = (\tanh(x / 2) + 1) / 2`."""
    (x,) = gates
    _, memory = state
    scale = np.repeat([0.5, 0.5, 1.0, 0.5], x.shape[-1] // 4).astype(x.dtype)
    i, f, g, o = jnp.split(jnp.tanh(x * scale) * scale + (1 - scale), 4, axis=-1)
    after = f * memory + i * g
    seen = jnp.tanh(after)
    of_i, of_f = g * i * (1 - i), memory * f * (1 - f)
    of_g, of_o = i * (1 - g * g), seen * o * (1 - o)
    return (o * seen, after), (of_i, of_f, of_g, of_o, f, o * (1 - seen * seen))


def _lstm_move(slopes, d_gates, d_state):
    of_i, of_f, of_g, of_o, f, of_after = slopes
    d_i, d_f, d_g, d_o = jnp.split(d_gates[0], 4, axis=-1)
    d_after = of_i * d_i + of_f * d_f + of_g * d_g + f * d_state[1]
    return of_o * d_o + of_after * d_after, d_after


RNN_TANH = Kind("rnn", 1, ("h_0",), _sum, _tanh_step, _plain_move, unroll=1, chains=False)
RNN_RELU = RNN_TANH._replace(step=_relu_step)
GRU = Kind("gru", 3, ("h_0",), _reset_apart, _gru_step, _gru_move, unroll=4, chains=True)
LSTM = Kind("lstm", 4, ("h_0", "c_0"), _sum, _lstm_step, _lstm_move, unroll=4, chains=True)
