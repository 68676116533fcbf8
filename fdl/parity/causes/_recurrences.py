"""Hypotheses about what recurrent layers compute in a step, and in which direction."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, hypothesis

Step = Callable[..., torch.Tensor]
"""``(projected input, h, w_hh, b_hh) -> h`` of a gated recurrent unit."""


@hypothesis("reset gate", "gru")
def reset_gate(call: Call) -> Variants:
    if not _drops(call):
        yield "it acts before the product, as Keras' reset_after=False", _rerun(_reset_before)
        yield "it does not reach the bias b_hn", _rerun(_biased_after)
        yield "it does not act", _rerun(_never_reset)


@hypothesis("update gate", "gru")
def update_gate(call: Call) -> Variants:
    if not _drops(call):
        yield "z and 1 - z are exchanged", _rerun(_exchanged)


def _reset_before(x, h, w, b):
    r, z, x_n = _gates(x, h, w, b)
    w_n, b_n = w.chunk(3)[2], b.chunk(3)[2]
    return _mixed(z, torch.tanh(x_n + F.linear(r * h, w_n, b_n)), h)


def _biased_after(x, h, w, b):
    r, z, x_n = _gates(x, h, w, b)
    w_n, b_n = w.chunk(3)[2], b.chunk(3)[2]
    return _mixed(z, torch.tanh(x_n + r * F.linear(h, w_n) + b_n), h)


def _never_reset(x, h, w, b):
    _, z, x_n = _gates(x, h, w, b)
    return _mixed(z, torch.tanh(x_n + F.linear(h, w.chunk(3)[2], b.chunk(3)[2])), h)


def _exchanged(x, h, w, b):
    r, z, x_n = _gates(x, h, w, b)
    n = torch.tanh(x_n + r * F.linear(h, w.chunk(3)[2], b.chunk(3)[2]))
    return _mixed(1 - z, n, h)


def _gates(x, h, w, b):
    """The gates r and z, and the input's part of n."""
    x_r, x_z, x_n = x.chunk(3, -1)
    h_r, h_z, _ = F.linear(h, w, b).chunk(3, -1)
    return torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z), x_n


def _mixed(z, n, h):
    return (1 - z) * n + z * h


def _drops(call: Call) -> bool:
    return bool(call["train"] and call["dropout"] and call["num_layers"] > 1)


def _rerun(step: Step):
    """A stack of gated recurrent units, step by step."""

    def rewrite(call: Call):
        x = call["input"].transpose(0, 1) if call["batch_first"] else call["input"]  # (L, N, I)
        directions = 2 if call["bidirectional"] else 1
        finals: list[torch.Tensor] = []
        weights = _weights(call)
        for _ in range(call["num_layers"]):
            outputs = []
            for direction in range(directions):
                h, turned = call["hx"][len(finals)], direction == 1
                y = _scanned(step, x.flip(0) if turned else x, h, *next(weights))
                outputs.append(y.flip(0) if turned else y)
                finals.append(y[-1])
            x = torch.cat(outputs, -1)
        return x.transpose(0, 1) if call["batch_first"] else x, torch.stack(finals)

    return rewrite


def _weights(call: Call) -> Iterator[tuple[torch.Tensor, ...]]:
    """``w_ih, w_hh, b_ih, b_hh`` of each layer and direction."""
    given = [*call["flat_weights"]]
    size = 4 if call["has_biases"] else 2
    for i in range(0, len(given), size):
        zeros = given[i].new_zeros(len(given[i]))
        yield tuple(given[i : i + size]) if size == 4 else (*given[i : i + 2], zeros, zeros)


def _scanned(step: Step, x, h, w_ih, w_hh, b_ih, b_hh):
    outputs = []
    for projected in F.linear(x, w_ih, b_ih):
        h = step(projected, h, w_hh, b_hh)
        outputs.append(h)
    return torch.stack(outputs)


@hypothesis("forget bias", "lstm")
def forget_bias(call: Call) -> Variants:
    if call["has_biases"]:
        yield "1 is added to the forget gate, as TensorFlow's cells have it", _remembering


def _remembering(call: Call):
    def raised(bias):
        i, f, g, o = bias.chunk(4)
        return torch.cat([i, f + 1, g, o])

    weights = [raised(w) if i % 4 == 2 else w for i, w in enumerate(call["flat_weights"])]
    return call.run(flat_weights=weights)


@hypothesis("direction", "lstm", "gru", "rnn_tanh", "rnn_relu")
def direction(call: Call) -> Variants:
    if call["bidirectional"]:
        yield "what the backward direction returns stays in its own order of time", _unturned
        yield "the directions are joined in the other order", _exchanged_directions


def _unturned(call: Call):
    y, *state = call.run()
    forward, backward = y.chunk(2, -1)
    return torch.cat([forward, backward.flip(1 if call["batch_first"] else 0)], -1), *state


def _exchanged_directions(call: Call):
    y, *state = call.run()
    return torch.cat(y.chunk(2, -1)[::-1], -1), *state


RECURRENCES: list[Hypothesis] = [reset_gate, update_gate, forget_bias, direction]
