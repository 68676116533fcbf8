"""The one core of all recurrent layers: a step, the scan over time, and the stack of layers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional.activation import tanh
from fdl.functional.dropout import dropout as drop
from fdl.functional.linear import linear

State = tuple[jax.Array, ...]
"""What one direction of one layer remembers: the hidden state first, then an LSTM's cell."""

Step = Callable[[Any, jax.Array, State], State]
"""``(weights, projected input, state) -> state`` at one time."""


class Kind(NamedTuple):
    """What tells one recurrence from another.

    Attributes:
        name: of the public function, for errors.
        gates: how many blocks of H rows its weights have.
        states: names of its initial states, the hidden state first.
        step: how its state moves.
    """

    name: str
    gates: int
    states: tuple[str, ...]
    step: Step


def tanh_step(weights: Any, projected: jax.Array, state: State) -> State:
    """One step of a plain recurrence through tanh."""
    return (tanh(projected + linear(state[0], weights.weight_hh, weights.bias_hh)),)


def relu_step(weights: Any, projected: jax.Array, state: State) -> State:
    """One step of a plain recurrence through ReLU."""
    return (jax.nn.relu(projected + linear(state[0], weights.weight_hh, weights.bias_hh)),)


def gru_step(weights: Any, projected: jax.Array, state: State) -> State:
    """One step of a gated recurrent unit, gates r, z, n."""
    (hidden,) = state
    recalled = linear(hidden, weights.weight_hh, weights.bias_hh)
    split = 2 * hidden.shape[-1]
    gates = jax.nn.sigmoid(projected[..., :split] + recalled[..., :split])
    r, z = jnp.split(gates, 2, axis=-1)
    n = jnp.tanh(projected[..., split:] + r * recalled[..., split:])
    return (n + z * (hidden - n),)


def lstm_step(weights: Any, projected: jax.Array, state: State) -> State:
    """One step of a long short-term memory, gates i, f, g, o."""
    hidden, memory = state
    gates = projected + linear(hidden, weights.weight_hh, weights.bias_hh)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
    hidden = jax.nn.sigmoid(o) * jnp.tanh(memory)
    if weights.weight_hr is not None:
        hidden = linear(hidden, weights.weight_hr)
    return hidden, memory


def run_stack(
    kind: Kind,
    input: jax.Array,
    states: State | None,
    weights: Sequence[Sequence[Any]],
    dropout: float,
    training: bool,
    *,
    lengths: jax.Array | None,
    key: jax.Array | None,
) -> tuple[jax.Array, State]:
    """Runs all layers and directions over ``(L, N, I)``.

    Returns:
        ``(output, final states)``, each final state stacked over layers and directions.
    """
    check_ndim(kind.name, "input", input, expected={3: "(L, N, I)"})
    sizes = _checked_sizes(kind, input, weights)
    _check_states(kind, input, states, sizes, slots=len(weights) * len(weights[0]))
    zeros = tuple(jnp.zeros_like(input, shape=(input.shape[1], size)) for size in sizes)
    valid = None if lengths is None else _valid(kind, input, lengths)
    sequence = _kept(input, valid)
    finals: list[State] = []
    for layer, directions in enumerate(weights):
        if layer > 0 and training and dropout > 0:
            mask_key = None if key is None else jax.random.fold_in(key, layer)
            sequence = drop(sequence, dropout, training=True, key=mask_key)
        outputs = []
        for direction, own in enumerate(directions):
            state = zeros if states is None else tuple(x[len(finals)] for x in states)
            output, final = _scanned(kind, own, sequence, state, valid, reverse=direction == 1)
            outputs.append(output)
            finals.append(final)
        sequence = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=-1)
    return sequence, tuple(map(jnp.stack, zip(*finals, strict=True)))


def run_cell(kind: Kind, input: jax.Array, state: State, weights: Any) -> State:
    """Runs one step on ``(N, I)`` or ``(I,)``."""
    check_ndim(kind.name, "input", input, expected={1: "(I,)", 2: "(N, I)"})
    (size, *_) = _checked_sizes(kind, input, [[weights]], called=_cell_argument)
    for name, x in zip(kind.states, state, strict=True):
        _check_shape(kind, name, x, (*input.shape[:-1], size), "(batch, hidden size)")
    check_same_dtype(kind.name, input=input, **dict(zip(kind.states, state, strict=True)))
    return kind.step(weights, linear(input, weights.weight_ih, weights.bias_ih), state)


def _scanned(kind, weights, sequence, state, valid, *, reverse):
    """One direction of one layer; the input is projected for all times in one product.

    Beyond a sequence's end the state stays as it is: going backward it still is the initial one
    where the sequence's last step is reached.
    """
    projected = linear(sequence, weights.weight_ih, weights.bias_ih)

    def advance(state, now):
        projected, valid = now
        new = kind.step(weights, projected, state)
        if valid is not None:
            new = tuple(jnp.where(valid, x, old) for x, old in zip(new, state, strict=True))
        return new, new[0]

    final, outputs = lax.scan(advance, state, (projected, valid), reverse=reverse)
    return _kept(outputs, valid), final


def _kept(sequence, valid):
    """The sequence with zeros beyond its end, whatever stood there."""
    return sequence if valid is None else jnp.where(valid, sequence, jnp.zeros_like(sequence))


def _valid(kind, input, lengths):
    """Whether a step is within its sequence, ``(L, N, 1)``."""
    steps, batch = input.shape[:2]
    lengths = lengths if isinstance(lengths, jax.Array) else jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"{kind.name}: lengths: expected integers, got {lengths.dtype}.")
    _check_shape(kind, "lengths", lengths, (batch,), "a number for each sequence")
    if not isinstance(lengths, jax.core.Tracer):
        outside = [n for n in np.asarray(lengths).tolist() if not 1 <= n <= steps]
        if outside:
            raise ValueError(
                f"{kind.name}: lengths: expected 1 to {steps} (the input's steps), got {outside}. "
                "Leave empty sequences out of the batch."
            )
    return (jnp.arange(steps)[:, None] < lengths.astype(int))[..., None]


def _stack_weight(name, layer):
    return f"{name} of layer {layer}"


def _cell_argument(name, layer):
    return name.replace("weight", "w").replace("bias", "b")


def _checked_sizes(kind, input, weights, called=_stack_weight):
    """Features of each state, by the weights; these are checked against each other."""
    directions = {len(directions) for directions in weights}
    if directions not in ({1}, {2}):
        raise ValueError(
            f"{kind.name}: weights: expected layers of 1 (forward) or 2 (forward, backward) "
            f"directions, as many in each, got {[len(own) for own in weights]}."
        )
    first = weights[0][0]
    hidden = first.weight_ih.shape[0] // kind.gates
    projection = getattr(first, "weight_hr", None)
    output = hidden if projection is None else projection.shape[0]
    if input.ndim == 3 and input.shape[0] == 0:
        raise ValueError(f"{kind.name}: input: expected at least 1 step, got shape {input.shape}.")
    features = first.weight_ih.shape[1]
    of = called("weight_ih", 0)
    check_axis(kind.name, "input features", input.shape[-1], expected=features, of=of)
    for layer, directions in enumerate(weights):
        rows = kind.gates * hidden
        shapes = {
            "weight_ih": (rows, features if layer == 0 else output * len(weights[0])),
            "weight_hh": (rows, output),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
            "weight_hr": (output, hidden),
        }
        for own in directions:
            given = {name: x for name, x in own._asdict().items() if x is not None}
            for name, x in given.items():
                _check_shape(kind, called(name, layer), x, shapes[name], "as the others ask")
            check_same_dtype(kind.name, input=input, **given)
    return (output, hidden)[: len(kind.states)]


def _check_states(kind, input, states, sizes, *, slots):
    if states is None:
        return
    for name, state, size in zip(kind.states, states, sizes, strict=True):
        expected = (slots, input.shape[1], size)
        _check_shape(kind, name, state, expected, "(layers * directions, batch, size)")
    check_same_dtype(kind.name, input=input, **dict(zip(kind.states, states, strict=True)))


def _check_shape(kind, name, value, expected, meaning):
    if getattr(value, "shape", None) != expected:
        got = getattr(value, "shape", type(value).__name__)
        raise ValueError(
            f"{kind.name}: {name}: expected shape {expected}, {meaning}, got {got}. Check the "
            "layer's sizes and the order of the axes."
        )
