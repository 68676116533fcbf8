"""The stack of recurrent layers over sequences, single cells, and the checks of both."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional._recurrent_core import Kind, State, advance, over_time, recall_of
from fdl.functional.dropout import dropout as drop
from fdl.functional.linear import linear


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
    zeros = tuple(_zeros(input, size) for size in sizes)
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
    projected = linear(input, weights.weight_ih, weights.bias_ih)
    new, _, _ = advance(kind, recall_of(weights), projected, state)
    return new


def _scanned(kind, weights, sequence, state, valid, *, reverse):
    """One direction of one layer; the input is projected for all times in one product.

    Beyond a sequence's end the state stays as it is: going backward it still is the initial one
    where the sequence's last step is reached.
    """
    projected = linear(sequence, weights.weight_ih, weights.bias_ih)
    outputs, final = over_time(kind, reverse, recall_of(weights), projected, state, valid)
    return _kept(outputs, valid), final


def _zeros(input, size):
    """An initial state ``(N, size)``, spread over devices as the batch of ``(L, N, I)`` is."""
    return jnp.broadcast_to(jnp.zeros_like(input[0, :, :1]), (input.shape[1], size))


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
