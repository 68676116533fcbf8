"""Recurrent networks over sequences, on torch's packed weights."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int, Key

from fdl.functional._recurrent import run_stack
from fdl.functional._recurrent_core import GRU, LSTM, RNN_RELU, RNN_TANH

_NONLINEARITIES = {"tanh": RNN_TANH, "relu": RNN_RELU}


class RNNWeights(NamedTuple):
    """Weights of one direction of one layer of :func:`rnn` (G = 1) or :func:`gru` (G = 3).

    Attributes:
        weight_ih: from the input ``(GH, I)``; a GRU's gates are stacked in torch's order r, z, n.
        weight_hh: from the hidden state ``(GH, H)``.
        bias_ih: ``(GH,)``, or None.
        bias_hh: ``(GH,)``, or None. Torch keeps two biases; folding them changes training.
    """

    weight_ih: Float[Array, "GH I"]
    weight_hh: Float[Array, "GH H"]
    bias_ih: Float[Array, " GH"] | None = None
    bias_hh: Float[Array, " GH"] | None = None


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


def rnn(
    input: Float[Array, "L N I"],
    hx: Float[Array, "S N H"] | None,
    weights: Sequence[Sequence[RNNWeights]],
    nonlinearity: str = "tanh",
    dropout: float = 0.0,
    training: bool = False,
    *,
    lengths: Int[Array, " N"] | None = None,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "L N DH"], Float[Array, "S N H"]]:
    r"""Runs a stack of Elman's plain recurrent layers over a sequence.

    :math:`h_t = \phi(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})` with
    :math:`\phi` tanh or ReLU.

    Args:
        input: time, batch, features.
        hx: initial hidden states; see :func:`lstm`.
        weights: for each layer its directions; see :func:`lstm`.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        dropout: probability of zeroing an output of each layer but the last.
        training: whether dropout acts.
        lengths: steps of each sequence; see :func:`lstm`.
        key: random key for dropout.

    Returns:
        ``(output, h_n)``; see :func:`lstm`.

    Raises:
        ValueError: if shapes, `lengths` or `nonlinearity` do not fit, or dropout needs a key.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> weights = [[F.RNNWeights(jnp.ones((4, 3)), jnp.ones((4, 4)))]]
        >>> output, h_n = F.rnn(jnp.ones((5, 2, 3)), None, weights, "relu")
        >>> output.shape, h_n.shape
        ((5, 2, 4), (1, 2, 4))

    Torch: ``torch.rnn_tanh`` and ``torch.rnn_relu``, the functions behind ``torch.nn.RNN``, with
    `lengths` instead of packed sequences; masks come from `key`.

    Source: Elman, "Finding Structure in Time", 1990.
    """
    if nonlinearity not in _NONLINEARITIES:
        raise ValueError(f"rnn: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}.")
    kind = _NONLINEARITIES[nonlinearity]
    states = None if hx is None else (hx,)
    output, (h_n,) = run_stack(
        kind, input, states, weights, dropout, training, lengths=lengths, key=key
    )
    return output, h_n


def gru(
    input: Float[Array, "L N I"],
    hx: Float[Array, "S N H"] | None,
    weights: Sequence[Sequence[RNNWeights]],
    dropout: float = 0.0,
    training: bool = False,
    *,
    lengths: Int[Array, " N"] | None = None,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "L N DH"], Float[Array, "S N H"]]:
    r"""Runs a stack of gated recurrent units over a sequence.

    .. math::
        r &= \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr}) \\
        z &= \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz}) \\
        n &= \tanh(W_{in} x_t + b_{in} + r\, (W_{hn} h_{t-1} + b_{hn})) \\
        h_t &= (1 - z)\, n + z\, h_{t-1}

    Args:
        input: time, batch, features.
        hx: initial hidden states; see :func:`lstm`.
        weights: for each layer its directions; see :func:`lstm`.
        dropout: probability of zeroing an output of each layer but the last.
        training: whether dropout acts.
        lengths: steps of each sequence; see :func:`lstm`.
        key: random key for dropout.

    Returns:
        ``(output, h_n)``; see :func:`lstm`.

    Raises:
        ValueError: if shapes or `lengths` do not fit, or dropout needs a key and none came.
        TypeError: if the dtypes differ.

    Torch: ``torch.gru``, the function behind ``torch.nn.GRU``, with `lengths` instead of packed
    sequences; masks come from `key`.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical
    Machine Translation", 2014; torch's variant resets after the product.
    """
    states = None if hx is None else (hx,)
    output, (h_n,) = run_stack(
        GRU, input, states, weights, dropout, training, lengths=lengths, key=key
    )
    return output, h_n


def lstm(
    input: Float[Array, "L N I"],
    hx: tuple[Float[Array, "S N R"], Float[Array, "S N H"]] | None,
    weights: Sequence[Sequence[LSTMWeights]],
    dropout: float = 0.0,
    training: bool = False,
    *,
    lengths: Int[Array, " N"] | None = None,
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
        lengths: steps of each sequence, 1 to L, in any order; what stands beyond is not read, not
            even NaN. All have L steps if None. Traced lengths are not checked: 0 leaves the
            initial state as it is, and more than L counts as L.
        key: random key for dropout.

    Returns:
        ``(output, (h_n, c_n))``: the last layer's outputs at every step, directions side by side,
        zero beyond a sequence's end; and every layer's states after each sequence's last step (the
        backward direction's after its first).

    Raises:
        ValueError: if shapes or `lengths` do not fit, or dropout needs a key and none came.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> weights = [[F.LSTMWeights(jnp.ones((16, 3)), jnp.ones((16, 4)))]]
        >>> lengths = jnp.array([5, 2])
        >>> output, (h_n, c_n) = F.lstm(jnp.ones((5, 2, 3)), None, weights, lengths=lengths)
        >>> output.shape, bool((output[2:, 1] == 0).all()), bool((h_n[0, 1] == output[1, 1]).all())
        ((5, 2, 4), True, True)

    Torch: ``torch.lstm``, the function behind ``torch.nn.LSTM``, with `lengths` instead of packed
    sequences; masks come from `key`.

    Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; projection from Sak et al.,
    "Long Short-Term Memory Based Recurrent Neural Network Architectures", 2014.
    """
    states = None if hx is None else pair("lstm", hx)
    output, (h_n, c_n) = run_stack(
        LSTM, input, states, weights, dropout, training, lengths=lengths, key=key
    )
    return output, (h_n, c_n)


def pair(function: str, hx: Any) -> tuple[Any, Any]:
    """The two states of an LSTM, or an error that says that there must be two."""
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        got = f"{len(hx)} values" if isinstance(hx, tuple | list) else type(hx).__name__
        raise TypeError(f"{function}: hx: expected a pair (h_0, c_0), got {got}.")
    hidden, memory = hx
    return hidden, memory
