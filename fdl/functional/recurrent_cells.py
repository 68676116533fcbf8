"""Recurrent cells: one step of :mod:`fdl.functional.recurrent`."""

from jaxtyping import Array, Float

from fdl.functional._recurrent import run_cell
from fdl.functional._recurrent_core import GRU, LSTM, RNN_RELU, RNN_TANH, Kind
from fdl.functional.recurrent import LSTMWeights, RNNWeights, pair


def rnn_tanh_cell(
    input: Float[Array, "*N I"],
    hx: Float[Array, "*N H"],
    w_ih: Float[Array, "H I"],
    w_hh: Float[Array, "H H"],
    b_ih: Float[Array, " H"] | None = None,
    b_hh: Float[Array, " H"] | None = None,
) -> Float[Array, "*N H"]:
    r"""One plain step, :math:`h' = \tanh(W_{ih} x + b_{ih} + W_{hh} h + b_{hh})`.

    Args:
        input: ``(N, I)`` or ``(I,)``.
        hx: hidden state ``(N, H)`` or ``(H,)``.
        w_ih: weights from the input.
        w_hh: weights from the hidden state.
        b_ih: bias beside `w_ih`, or None.
        b_hh: bias beside `w_hh`, or None.

    Returns:
        The next hidden state.

    Raises:
        ValueError: if shapes do not fit.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> h = jnp.zeros((2, 4))
        >>> F.rnn_tanh_cell(jnp.ones((2, 3)), h, jnp.ones((4, 3)), jnp.ones((4, 4))).shape
        (2, 4)

    Torch: ``torch.rnn_tanh_cell``; also without the batch axis.
    """
    return _one_state(RNN_TANH, "rnn_tanh_cell", input, hx, RNNWeights(w_ih, w_hh, b_ih, b_hh))


def rnn_relu_cell(
    input: Float[Array, "*N I"],
    hx: Float[Array, "*N H"],
    w_ih: Float[Array, "H I"],
    w_hh: Float[Array, "H H"],
    b_ih: Float[Array, " H"] | None = None,
    b_hh: Float[Array, " H"] | None = None,
) -> Float[Array, "*N H"]:
    """One plain step through ReLU; arguments as :func:`rnn_tanh_cell`.

    Torch: ``torch.rnn_relu_cell``; also without the batch axis.
    """
    return _one_state(RNN_RELU, "rnn_relu_cell", input, hx, RNNWeights(w_ih, w_hh, b_ih, b_hh))


def gru_cell(
    input: Float[Array, "*N I"],
    hx: Float[Array, "*N H"],
    w_ih: Float[Array, "3H I"],
    w_hh: Float[Array, "3H H"],
    b_ih: Float[Array, " 3H"] | None = None,
    b_hh: Float[Array, " 3H"] | None = None,
) -> Float[Array, "*N H"]:
    """One step of a gated recurrent unit, formulas at :func:`gru`; gates stacked r, z, n.

    Arguments as :func:`rnn_tanh_cell`.

    Torch: ``torch.gru_cell``; also without the batch axis.
    """
    return _one_state(GRU, "gru_cell", input, hx, RNNWeights(w_ih, w_hh, b_ih, b_hh))


def lstm_cell(
    input: Float[Array, "*N I"],
    hx: tuple[Float[Array, "*N H"], Float[Array, "*N H"]],
    w_ih: Float[Array, "4H I"],
    w_hh: Float[Array, "4H H"],
    b_ih: Float[Array, " 4H"] | None = None,
    b_hh: Float[Array, " 4H"] | None = None,
) -> tuple[Float[Array, "*N H"], Float[Array, "*N H"]]:
    """One step of a long short-term memory, formulas at :func:`lstm`; gates stacked i, f, g, o.

    Arguments as :func:`rnn_tanh_cell`, but `hx` is the pair of hidden and cell state, and so is
    what is returned.

    Torch: ``torch.lstm_cell``; also without the batch axis.
    """
    kind = LSTM._replace(name="lstm_cell")
    weights = LSTMWeights(w_ih, w_hh, b_ih, b_hh)
    hidden, memory = run_cell(kind, input, pair("lstm_cell", hx), weights)
    return hidden, memory


def _one_state(kind: Kind, name: str, input: Array, hx: Array, weights: RNNWeights) -> Array:
    kind = kind._replace(name=name, states=("hx",))
    (hidden,) = run_cell(kind, input, (hx,), weights)
    return hidden
