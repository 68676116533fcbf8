"""Recurrent networks from one scan core, on torch's packed weights."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional.dropout import dropout as drop
from fdl.functional.linear import linear


class LSTMWeights(NamedTuple):
    """Weights of one direction of one layer, the four gates stacked in torch's order i, f, g, o.

    Attributes:
        weight_ih: from the input ``(4H, I)``.
        weight_hh: from the hidden state ``(4H, R)``, where R is the projected size, else H.
        bias_ih: ``(4H,)``, or None.
        bias_hh: ``(4H,)``, or None. Torch keeps two biases; folding them changes training.
        weight_hr: projection of the hidden state ``(R, H)``, or None.
    """

    weight_ih: Float[Array, "4H I"]
    weight_hh: Float[Array, "4H R"]
    bias_ih: Float[Array, " 4H"] | None = None
    bias_hh: Float[Array, " 4H"] | None = None
    weight_hr: Float[Array, "R H"] | None = None


def lstm(
    input: Float[Array, "L N I"],
    hx: tuple[Float[Array, "S N R"], Float[Array, "S N H"]] | None,
    weights: Sequence[Sequence[LSTMWeights]],
    dropout: float = 0.0,
    training: bool = False,
    *,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "L N DR"], tuple[Float[Array, "S N R"], Float[Array, "S N H"]]]:
    r"""Runs a stack of long short-term memory layers over a sequence.

    .. math::
        (i, f, g, o) &= W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh} \\
        c_t &= \sigma(f)\, c_{t-1} + \sigma(i) \tanh(g) \\
        h_t &= W_{hr}\, \sigma(o) \tanh(c_t)

    Args:
        input: time, batch, features.
        hx: initial hidden and cell states, layer by layer and within a layer forward before
            backward, so ``S = layers * directions``; zeros if None.
        weights: for each layer its directions: one (forward) or two (forward, backward).
        dropout: probability of zeroing an output of each layer but the last.
        training: whether dropout acts.
        key: random key for dropout.

    Returns:
        ``(output, (h_n, c_n))``: the last layer's outputs at every step, directions side by side,
        and the final states of every layer.

    Raises:
        ValueError: if shapes do not fit, or dropout needs a key and none came.
        TypeError: if the dtypes differ.

    Torch: the function behind ``torch.nn.LSTM``; dropout masks come from `key`.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; projection from Sak et al.,
    "Long Short-Term Memory Based Recurrent Neural Network Architectures", 2014.
    """
    check_ndim("lstm", "input", input, expected={3: "(L, N, I)"})
    h_0, c_0 = _lstm_state(input, hx, weights)
    sequence, finals = input, []
    directions = len(weights[0])
    for layer, cells in enumerate(weights):
        if layer > 0 and training and dropout > 0:
            mask_key = None if key is None else jax.random.fold_in(key, layer)
            sequence = drop(sequence, dropout, training=True, key=mask_key)
        outputs = []
        for direction, cell in enumerate(cells):
            slot = layer * directions + direction
            state = (h_0[slot], c_0[slot])
            output, final = _lstm_layer(cell, sequence, state, reverse=direction == 1)
            outputs.append(output)
            finals.append(final)
        sequence = outputs[0] if directions == 1 else jnp.concatenate(outputs, axis=-1)
    h_n, c_n = (jnp.stack(states) for states in zip(*finals, strict=True))
    return sequence, (h_n, c_n)


def scan_over_time(
    cell: Callable[[Any, jax.Array], tuple[Any, jax.Array]],
    state: Any,
    projected: Float[Array, "L N G"],
    *,
    reverse: bool,
) -> tuple[Float[Array, "L N R"], Any]:
    """The one loop of every recurrent layer: `cell` over time, forward or backward.

    Args:
        cell: ``(state, projected input of one step) -> (state, output of that step)``.
        state: state before the first step.
        projected: the input, already multiplied by the input weights (one product for all steps).
        reverse: run from the last step to the first; outputs stay in the input's order.

    Returns:
        ``(outputs, final state)``.
    """
    final, outputs = lax.scan(cell, state, projected, reverse=reverse)
    return outputs, final


def _lstm_layer(weights, input, state, *, reverse):
    projected = linear(input, weights.weight_ih, weights.bias_ih)

    def cell(state, projected_step):
        hidden, memory = state
        gates = projected_step + linear(hidden, weights.weight_hh, weights.bias_hh)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
        hidden = jax.nn.sigmoid(o) * jnp.tanh(memory)
        if weights.weight_hr is not None:
            hidden = linear(hidden, weights.weight_hr)
        return (hidden, memory), hidden

    return scan_over_time(cell, state, projected, reverse=reverse)


def _lstm_state(input, hx, weights):
    """Initial states, checked or zero."""
    first = weights[0][0]
    slots, batch = len(weights) * len(weights[0]), input.shape[1]
    sizes = {"h_0": first.weight_hh.shape[1], "c_0": first.weight_ih.shape[0] // 4}
    check_axis(
        "lstm", "input features", input.shape[2], expected=first.weight_ih.shape[1], of="weight_ih"
    )
    if hx is None:
        return tuple(jnp.zeros_like(input, shape=(slots, batch, size)) for size in sizes.values())
    for (name, size), state in zip(sizes.items(), hx, strict=True):
        if state.shape != (slots, batch, size):
            raise ValueError(
                f"lstm: {name}: expected shape {(slots, batch, size)} (layers * directions, batch, "
                f"size), got {state.shape}."
            )
    check_same_dtype("lstm", input=input, h_0=hx[0], c_0=hx[1])
    return hx
