"""Recurrent networks that read a sequence and answer once: classifiers and forecasters."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from fdl import nn
from fdl._model import as_model
from fdl._types import Model


class SequenceRNN(nn.Module):
    """Plain recurrent layers, then a linear head on their last hidden state; see :func:`rnn`."""

    def __init__(self, rnn: nn.RNN, output_size: int, *, rngs: nnx.Rngs):
        self.rnn = rnn
        self.fc = _head(rnn, output_size, rngs)

    def __call__(
        self, sequences: Float[Array, "N L I"], lengths: Int[Array, " N"] | None = None
    ) -> Float[Array, "N O"]:
        """Returns one output for each sequence."""
        _, h_n = self.rnn(sequences, lengths=lengths)
        return self.fc(_last(self.rnn, h_n))


class SequenceLSTM(nn.Module):
    """Long short-term memory, then a linear head on its last hidden state; see :func:`lstm`."""

    def __init__(self, lstm: nn.LSTM, output_size: int, *, rngs: nnx.Rngs):
        self.lstm = lstm
        self.fc = _head(lstm, output_size, rngs)

    def __call__(
        self, sequences: Float[Array, "N L I"], lengths: Int[Array, " N"] | None = None
    ) -> Float[Array, "N O"]:
        """Returns one output for each sequence."""
        _, (h_n, _) = self.lstm(sequences, lengths=lengths)
        return self.fc(_last(self.lstm, h_n))


class SequenceGRU(nn.Module):
    """Gated recurrent units, then a linear head on their last hidden state; see :func:`gru`."""

    def __init__(self, gru: nn.GRU, output_size: int, *, rngs: nnx.Rngs):
        self.gru = gru
        self.fc = _head(gru, output_size, rngs)

    def __call__(
        self, sequences: Float[Array, "N L I"], lengths: Int[Array, " N"] | None = None
    ) -> Float[Array, "N O"]:
        """Returns one output for each sequence."""
        _, h_n = self.gru(sequences, lengths=lengths)
        return self.fc(_last(self.gru, h_n))


def _head(layer: nn.RNN | nn.LSTM | nn.GRU, output_size: int, rngs: nnx.Rngs) -> nn.Linear:
    return nn.Linear(layer.hidden_size * len(layer.suffixes), output_size, rngs=rngs)


def _last(layer: nn.RNN | nn.LSTM | nn.GRU, h_n: jax.Array) -> jax.Array:
    """The last layer's states at the end of what each direction reads, side by side."""
    return jnp.concatenate([*h_n[-len(layer.suffixes) :]], axis=-1)  # (N, directions * H)


def lstm(
    input_size: int,
    hidden_size: int,
    output_size: int,
    *,
    num_layers: int = 1,
    dropout: float = 0.0,
    bidirectional: bool = False,
) -> Model:
    """Builds a sequence classifier or forecaster of long short-term memory.

    A linear head reads the last layer's hidden state where it has seen the whole sequence: the
    forward direction's after the sequence's own last step and, in a bidirectional network, beside
    it the backward direction's after the first step. (The outputs at the last step,
    ``outputs[:, -1]``, would hold a backward direction that has seen that one step only, and for a
    shorter sequence its padding.)

    Args:
        input_size: features of each step.
        hidden_size: features of the hidden state of each direction.
        output_size: number of classes, or of values to forecast.
        num_layers: recurrent layers, one above the other.
        dropout: probability of zeroing a feature between the layers in training.
        bidirectional: whether each layer also reads backward.

    Returns:
        A model from ``(N, L, input_size)`` to ``(N, output_size)``; L is free. A second input
        `lengths` ``(N,)`` tells the steps of each sequence where they differ, in any order; what
        stands beyond them is not read.

    Raises:
        ValueError: if a size or probability is out of range.
        TypeError: if a size is no int.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.lstm(1, 32, 1)  # the next value of a series
        >>> params, buffers = model.init(jax.random.key(0))
        >>> forecast, _ = model.apply(params, buffers, jnp.ones((2, 24, 1)), jnp.array([24, 9]))
        >>> forecast.shape
        (2, 1)

    Torch: ``nn.LSTM(batch_first=True)`` named ``lstm`` and ``nn.Linear`` named ``fc``, with
    `lengths` over ``pack_padded_sequence(enforce_sorted=False)``; ``fdl.parity.twins.lstm`` writes
    it out.
    """
    sizes = (input_size, hidden_size, num_layers)

    def build(rngs: nnx.Rngs) -> SequenceLSTM:
        options = {"dropout": dropout, "bidirectional": bidirectional}
        layer = nn.LSTM(*sizes, batch_first=True, rngs=rngs, **options)
        return SequenceLSTM(layer, output_size, rngs=rngs)

    return as_model(build)


def gru(
    input_size: int,
    hidden_size: int,
    output_size: int,
    *,
    num_layers: int = 1,
    dropout: float = 0.0,
    bidirectional: bool = False,
) -> Model:
    """Builds a sequence classifier or forecaster of gated recurrent units.

    Args:
        input_size: features of each step.
        hidden_size: features of the hidden state of each direction.
        output_size: number of classes, or of values to forecast.
        num_layers: recurrent layers, one above the other.
        dropout: probability of zeroing a feature between the layers in training.
        bidirectional: whether each layer also reads backward.

    Returns:
        A model from ``(N, L, input_size)`` and, optionally, `lengths` ``(N,)`` to
        ``(N, output_size)``; which states the head reads is told at :func:`lstm`.

    Raises:
        ValueError: if a size or probability is out of range.
        TypeError: if a size is no int.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.gru(28, 64, 10, bidirectional=True)
        >>> params, buffers = model.init(jax.random.key(0))
        >>> params["gru.weight_hh_l0_reverse"].shape, params["fc.weight"].shape
        ((192, 64), (10, 128))

    Torch: ``nn.GRU(batch_first=True)`` named ``gru`` and ``nn.Linear`` named ``fc``;
    ``fdl.parity.twins.gru`` writes it out.
    """
    sizes = (input_size, hidden_size, num_layers)

    def build(rngs: nnx.Rngs) -> SequenceGRU:
        options = {"dropout": dropout, "bidirectional": bidirectional}
        layer = nn.GRU(*sizes, batch_first=True, rngs=rngs, **options)
        return SequenceGRU(layer, output_size, rngs=rngs)

    return as_model(build)


def rnn(
    input_size: int,
    hidden_size: int,
    output_size: int,
    *,
    num_layers: int = 1,
    nonlinearity: str = "tanh",
    dropout: float = 0.0,
    bidirectional: bool = False,
) -> Model:
    """Builds a sequence classifier or forecaster of Elman's plain recurrent layers.

    Args:
        input_size: features of each step.
        hidden_size: features of the hidden state of each direction.
        output_size: number of classes, or of values to forecast.
        num_layers: recurrent layers, one above the other.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        dropout: probability of zeroing a feature between the layers in training.
        bidirectional: whether each layer also reads backward.

    Returns:
        A model from ``(N, L, input_size)`` and, optionally, `lengths` ``(N,)`` to
        ``(N, output_size)``; which states the head reads is told at :func:`lstm`.

    Raises:
        ValueError: if a size, probability or `nonlinearity` is out of range.
        TypeError: if a size is no int.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.rnn(1, 16, 1, nonlinearity="relu")
        >>> params, buffers = model.init(jax.random.key(0))
        >>> params["rnn.weight_hh_l0"].shape, params["fc.weight"].shape
        ((16, 16), (1, 16))

    Torch: ``nn.RNN(batch_first=True)`` named ``rnn`` and ``nn.Linear`` named ``fc``;
    ``fdl.parity.twins.rnn`` writes it out.
    """
    sizes = (input_size, hidden_size, num_layers)

    def build(rngs: nnx.Rngs) -> SequenceRNN:
        options = {"dropout": dropout, "bidirectional": bidirectional}
        layer = nn.RNN(*sizes, nonlinearity, batch_first=True, rngs=rngs, **options)
        return SequenceRNN(layer, output_size, rngs=rngs)

    return as_model(build)
