"""Recurrent layers: batches, sequences of unequal lengths, dropout between layers, single steps."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import torch
from flax import nnx
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import fdl
import fdl.functional as F
from samples.refusal import refused
from samples.sample import FdlFunction, Sample, TorchFunction

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def tensors(*shapes: Sequence[int], seed: int = 0) -> list[torch.Tensor]:
    """Normally distributed values that need a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]


def padded(kind: type[torch.nn.RNNBase]) -> type[torch.nn.RNNBase]:
    """A torch layer that takes a padded batch and its `lengths`, and packs it.

    Torch's dropout between packed layers happens in C++, out of reach: there, layers run singly.
    """

    class Padded(kind):
        def __init__(self, *sizes: int, **options: Any):
            super().__init__(*sizes, **options)
            self.options = {**options, "num_layers": 1, "dropout": 0.0, "batch_first": False}

        def forward(self, input, hx=None, *, lengths):
            x = input.transpose(0, 1) if self.batch_first else input
            if self.training and self.dropout > 0:
                x, state = self.singly(x, hx, lengths)
            else:
                x, state = packed(super().forward, x, hx, lengths)
            return x.transpose(0, 1) if self.batch_first else x, state

        def singly(self, x, hx, lengths):
            directions, finals = 2 if self.bidirectional else 1, []
            for layer in range(self.num_layers):
                if layer > 0:
                    x = torch.nn.functional.dropout(x, self.dropout, training=True)
                one = kind(x.shape[-1], self.hidden_size, **self.options)
                names = dict(one.named_parameters())
                own = {name: getattr(self, name.replace("_l0", f"_l{layer}")) for name in names}
                part = slice(layer * directions, (layer + 1) * directions)
                state = tuple(h[part] for h in hx) if isinstance(hx, tuple) else hx
                state = state[part] if torch.is_tensor(state) else state
                x, final = packed(partial(called, one, own), x, state, lengths)
                finals.append(final if isinstance(final, tuple) else (final,))
            state = tuple(map(torch.cat, zip(*finals, strict=True)))
            return x, state if len(state) > 1 else state[0]

    return Padded


def called(layer: torch.nn.Module, weights: Mapping[str, Any], *given: Any) -> Any:
    """Calls a layer with other weights than its own."""
    return functional_call(layer, weights, given)


def packed(layer: Callable[..., Any], x: torch.Tensor, hx: Any, lengths: torch.Tensor) -> Any:
    """Calls a layer on the packed sequences, and pads its output to the length that came."""
    sequences = pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, state = layer(sequences, hx)
    return pad_packed_sequence(output, total_length=x.shape[0])[0], state


def sequences(
    name: str,
    label: str,
    shape: Sequence[int],
    hidden: int,
    *,
    given: bool = False,
    lengths: Sequence[int] | None = None,
    seed: int = 0,
    **options: Any,
) -> Sample:
    """A layer on an input of torch's shape ``shape``.

    Args:
        name: of the layer.
        label: of the sample.
        shape: of the input.
        hidden: size of the hidden state.
        given: whether initial states are given.
        lengths: of the sequences, if they differ.
        seed: of the values.
        options: the constructor's.
    """
    batch = () if len(shape) == 2 else (shape[0 if options.get("batch_first") else 1],)
    slots = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    sizes = [options.get("proj_size") or hidden, hidden][: 2 if name == "LSTM" else 1]
    x, *states = tensors(shape, *((slots, *batch, size) for size in sizes), seed=seed)
    hx = tuple(states) if name == "LSTM" else states[0]
    inputs, args = (x, hx) if given else (x,), (shape[-1], hidden)
    if lengths is None:
        return Sample(name, args, options, inputs, label=label)
    reference = padded(getattr(torch.nn, name))
    builders = (
        partial(reference, *args, **options),
        lambda rngs: getattr(fdl.nn, name)(*args, **options, rngs=rngs),
    )
    named = {"lengths": torch.tensor(lengths)}
    return Sample(name, args, options, inputs, named, label, builders)


def cell(
    name: str, label: str, batch: Sequence[int], *sizes: int, given: bool = True, **options: Any
) -> Sample:
    """A cell on a batch of shape ``(N,)`` or ``()``, `sizes` being those of input and state."""
    inputs, hidden = sizes
    shapes = [(*batch, hidden)] * (2 if name == "LSTMCell" else 1)
    x, *states = tensors((*batch, inputs), *shapes)
    hx = tuple(states) if name == "LSTMCell" else states[0]
    return Sample(name, sizes, options, (x, hx) if given else (x,), label=label)


def function(name: str, states: int, gates: int, *, cells: bool, **options: Any) -> Sample:
    """A function on 2 sequences of 5 steps, or on one step, of 3 features; states of 4."""
    lead, slots = ((2,), ()) if cells else ((5, 2), (1,))
    shapes = [(4 * gates, 3), (4 * gates, 4), (4 * gates,), (4 * gates,)]
    flat = tensors((*lead, 3), *[(*slots, 2, 4)] * states, *shapes)
    x, state, weights = flat[0], tuple(flat[1 : 1 + states]), flat[1 + states :]
    hx = state if states > 1 else state[0]
    nonlinearity = options.get("nonlinearity", "tanh")
    reference = getattr(torch, f"rnn_{nonlinearity}" if name == "rnn" else name)
    bundle = F.LSTMWeights if name == "lstm" else F.RNNWeights

    def in_torch(input, hx, *weights):
        if cells:
            return reference(input, hx, *weights)
        output, *final = reference(input, hx, weights, True, 1, 0.0, False, False, False)
        return output, final if states > 1 else final[0]

    def in_fdl(input, hx, *weights):
        own = getattr(F, name)
        return (
            own(input, hx, *weights) if cells else own(input, hx, [[bundle(*weights)]], **options)
        )

    builders = (partial(TorchFunction, in_torch), lambda rngs: FdlFunction(in_fdl, {}, rngs))
    return Sample(name, (), options, (x, hx, *weights), builders=builders)


def beyond_the_end_is_nan(sample: Sample) -> Sample:
    """The sample with NaN in its input where the sequences, time first, have ended."""
    x = sample.inputs[0].detach().clone()
    for index, length in enumerate(sample.named["lengths"].tolist()):
        x[length:, index] = torch.nan
    return sample._replace(inputs=(x.requires_grad_(), *sample.inputs[1:]))


def at_the_kink() -> Sample:
    """A ReLU network without biases, whose first steps are all zero."""
    sample = sequences("RNN", "zeros", (4, 2, 3), 4, nonlinearity="relu", bias=False)
    x = sample.inputs[0].detach().clone()
    x[:2] = 0.0
    return sample._replace(inputs=(x.requires_grad_(),))


def without_bound(name: str) -> Sample:
    """One sequence of a batch is infinite at one step, another is NaN, a third huge."""
    sample = sequences(name, "infinity and NaN", (3, 4, 2), 3, given=True)
    x = sample.inputs[0].detach().clone()
    x[1, 0, 0], x[1, 1, 1], x[1, 2, 0] = torch.inf, torch.nan, 1e300
    return sample._replace(inputs=(x.requires_grad_(), *sample.inputs[1:]))


SAMPLES: list[Sample] = [
    sequences("RNN", "batch", (5, 2, 3), 4, given=True),
    sequences(
        *("RNN", "dropout", (2, 5, 3), 4),
        num_layers=2,
        nonlinearity="relu",
        batch_first=True,
        dropout=0.5,
    ),
    at_the_kink(),
    *map(without_bound, GATES),
    sequences("GRU", "dropout", (5, 2, 3), 4, num_layers=3, dropout=0.3, bias=False),
    sequences("GRU", "batch first", (2, 5, 3), 4, given=True, batch_first=True, bidirectional=True),
    sequences("GRU", "no batch", (5, 0, 3), 4),
    sequences(
        *("LSTM", "dropout", (5, 2, 3), 4),
        given=True,
        num_layers=2,
        dropout=0.4,
        bidirectional=True,
        proj_size=2,
    ),
    sequences("LSTM", "one sequence, dropout", (5, 3), 4, num_layers=2, dropout=0.4),
    sequences("LSTM", "one step of one", (1, 1, 1), 1),
    sequences("LSTM", "everything dropped", (3, 2, 3), 4, num_layers=2, dropout=1.0),
    sequences("RNN", "lengths", (5, 3, 2), 4, lengths=[2, 5, 1], given=True, bidirectional=True),
    sequences(
        *("GRU", "lengths", (3, 5, 2), 4),
        lengths=[4, 1, 4],
        batch_first=True,
        num_layers=2,
        bidirectional=True,
        given=True,
    ),
    beyond_the_end_is_nan(sequences("GRU", "NaN beyond", (4, 2, 2), 3, lengths=[1, 3])),
    beyond_the_end_is_nan(
        sequences("RNN", "NaN beyond", (4, 2, 2), 3, lengths=[4, 2], nonlinearity="relu", seed=1)
    ),
    beyond_the_end_is_nan(
        sequences("LSTM", "NaN beyond", (4, 2, 2), 3, lengths=[2, 4], bidirectional=True)
    ),
    sequences(
        *("LSTM", "lengths, projected", (5, 3, 2), 4),
        lengths=[5, 2, 3],
        given=True,
        num_layers=2,
        proj_size=2,
        bidirectional=True,
    ),
    sequences(
        *("LSTM", "lengths, dropout", (3, 5, 2), 4),
        lengths=[1, 3, 5],
        given=True,
        num_layers=2,
        batch_first=True,
        dropout=0.5,
        bidirectional=True,
    ),
    cell("RNNCell", "batch", (3,), 2, 4),
    cell("RNNCell", "relu, no state", (3,), 2, 4, given=False, nonlinearity="relu", bias=False),
    cell("GRUCell", "batch", (3,), 2, 4, bias=False),
    cell("GRUCell", "no state", (), 2, 4, given=False),
    cell("GRUCell", "no batch", (0,), 2, 4),
    cell("LSTMCell", "batch", (3,), 2, 4, bias=False),
    cell("LSTMCell", "no state", (3,), 2, 4, given=False),
    function("rnn", 1, 1, cells=False, nonlinearity="relu"),
    function("gru", 1, 3, cells=False),
    function("lstm", 2, 4, cells=False),
    function("rnn_tanh_cell", 1, 1, cells=True),
    function("rnn_relu_cell", 1, 1, cells=True),
    function("gru_cell", 1, 3, cells=True),
    function("lstm_cell", 2, 4, cells=True),
]


@st.composite
def any_sequences(draw: st.DrawFn) -> Sample:
    """A layer with any options, sizes, batch, lengths and states that torch takes."""
    flag, size = partial(draw, st.booleans()), partial(draw, st.integers(1, 4))
    name, layers, hidden = draw(st.sampled_from([*GATES])), draw(st.integers(1, 2)), size()
    options: dict[str, Any] = {
        "num_layers": layers,
        "bias": flag(),
        "batch_first": flag(),
        "bidirectional": flag(),
        "dropout": 0.5 if layers == 2 and flag() else 0.0,
    }
    if name == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if name == "LSTM" and hidden > 1:
        options["proj_size"] = draw(st.integers(0, hidden - 1))
    lengths, steps, features = None, size(), size()
    batch = draw(st.sampled_from([None, 0, 1, 2, 3]))
    if batch and flag():
        lengths = draw(st.lists(st.integers(1, steps), min_size=batch, max_size=batch))
    lead = (
        [steps] if batch is None else [batch, steps] if options["batch_first"] else [steps, batch]
    )
    given, seed = flag(), draw(st.integers(0, 99))
    varied: Mapping[str, Any] = {"given": given, "lengths": lengths, "seed": seed, **options}
    return sequences(name, "generated", (*lead, features), hidden, **varied)


@st.composite
def any_cell(draw: st.DrawFn) -> Sample:
    """A cell with any options and sizes."""
    name, size = draw(st.sampled_from(["RNNCell", "GRUCell", "LSTMCell"])), st.integers(1, 4)
    options: dict[str, Any] = {"bias": draw(st.booleans())}
    if name == "RNNCell":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    batch, given = draw(st.sampled_from([(), (0,), (1,), (3,)])), draw(st.booleans())
    return cell(name, "generated", batch, draw(size), draw(size), given=given, **options)


GENERATED: dict[str, SearchStrategy[Sample]] = {"recurrent": any_sequences() | any_cell()}

RNGS = nnx.Rngs(0)
SEQUENCE = jnp.ones((5, 2, 3))
GRU = partial(fdl.nn.GRU, 3, 4, rngs=RNGS)
LSTM = partial(fdl.nn.LSTM, 3, 4, rngs=RNGS)
WEIGHTS = [F.RNNWeights(jnp.ones((12, 3)), jnp.ones((12, 4)))]

REFUSED = [
    refused(ValueError, "RNN;nonlinearity;'tanh';'gelu'", fdl.nn.RNN, 3, 4, 1, "gelu", rngs=RNGS),
    refused(TypeError, "GRU;bias;bool;2", GRU, 1, 2),
    refused(ValueError, "GRU;num_layers;1;0", GRU, 0),
    refused(ValueError, "LSTM;proj_size;3;4", LSTM, proj_size=4),
    refused(ValueError, "LSTM;dropout;1.5", LSTM, 2, dropout=1.5),
    refused(ValueError, "GRU;input;(L, I);(3,)", GRU(), jnp.ones(3)),
    refused(ValueError, "gru;input features;3;5", GRU(), jnp.ones((5, 2, 5))),
    refused(ValueError, "gru;input;1 step;(0, 2, 3)", GRU(), jnp.ones((0, 2, 3))),
    refused(ValueError, "GRU;hx;N;(1, 4)", GRU(), SEQUENCE, jnp.ones((1, 4))),
    refused(ValueError, "gru;h_0;(2, 2, 4);(1, 2, 4)", GRU(2), SEQUENCE, jnp.ones((1, 2, 4))),
    refused(TypeError, "lstm;hx;pair;Array", LSTM(), SEQUENCE, jnp.ones((1, 2, 4))),
    refused(ValueError, "gru;h_0;tuple", GRU(), SEQUENCE, (jnp.ones((1, 2, 4)),) * 2),
    refused(TypeError, "gru;lengths;float32", GRU(), SEQUENCE, lengths=jnp.ones(2)),
    refused(ValueError, "gru;lengths;(2,);(3,)", GRU(), SEQUENCE, lengths=jnp.array([1, 2, 3])),
    refused(ValueError, "gru;lengths;1 to 5;[6, 0]", GRU(), SEQUENCE, lengths=jnp.array([6, 0])),
    refused(ValueError, "GRU;lengths;one sequence", GRU(), SEQUENCE[:, 0], lengths=jnp.array([2])),
    refused(ValueError, "gru;weights;directions;3", F.gru, SEQUENCE, None, [WEIGHTS * 3]),
    refused(
        *(ValueError, "gru;weight_ih of layer 1;(12, 4);(12, 3)", F.gru, SEQUENCE, None),
        [WEIGHTS, WEIGHTS],
    ),
    refused(TypeError, "gru;bfloat16", F.gru, SEQUENCE.astype("bfloat16"), None, [WEIGHTS]),
    refused(ValueError, "rnn;nonlinearity;'sin'", F.rnn, SEQUENCE, None, [WEIGHTS], "sin"),
    refused(
        *(ValueError, "gru_cell;hx;(2, 4);(2, 5)", fdl.nn.GRUCell(3, 4, rngs=RNGS)),
        *(jnp.ones((2, 3)), jnp.ones((2, 5))),
    ),
    refused(
        *(TypeError, "lstm_cell;hx;pair;Array", fdl.nn.LSTMCell(3, 4, rngs=RNGS)),
        *(jnp.ones((2, 3)), jnp.ones((2, 4))),
    ),
    refused(
        *(ValueError, "rnn_tanh_cell;w_hh;(4, 4);(3, 4)", F.rnn_tanh_cell, jnp.ones((2, 3))),
        *(jnp.ones((2, 4)), jnp.ones((4, 3)), jnp.ones((3, 4))),
    ),
]
