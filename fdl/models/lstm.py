"""A recurrent network that reads a sequence and answers once."""

from flax import nnx
from jaxtyping import Array, Float

from fdl import nn
from fdl._model import as_model
from fdl._types import Model


class SequenceLSTM(nn.Module):
    """An LSTM, then a linear head on its output at the last step.

    Torch: a module with an ``nn.LSTM(batch_first=True)`` named ``lstm`` and an ``nn.Linear``
    named ``fc``.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int,
        dropout: float,
        *,
        rngs: nnx.Rngs,
    ):
        self.lstm = nn.LSTM(
            input_size, hidden_size, num_layers, batch_first=True, dropout=dropout, rngs=rngs
        )
        self.fc = nn.Linear(hidden_size, output_size, rngs=rngs)

    def __call__(self, sequences: Float[Array, "N L I"]) -> Float[Array, "N O"]:
        """Returns one output for each sequence."""
        outputs, _ = self.lstm(sequences)  # (N, L, hidden_size)
        return self.fc(outputs[:, -1])


def lstm(
    input_size: int,
    hidden_size: int,
    output_size: int,
    *,
    num_layers: int = 1,
    dropout: float = 0.0,
) -> Model:
    """Builds a sequence classifier or forecaster.

    Args:
        input_size: features of each step.
        hidden_size: features of the hidden state.
        output_size: number of classes, or of values to forecast.
        num_layers: recurrent layers, one above the other.
        dropout: probability of zeroing a feature between the layers in training.

    Returns:
        A model from ``(N, L, input_size)`` to ``(N, output_size)``; L is free.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.lstm(1, 32, 1)  # the next value of a series
        >>> params, buffers = model.init(jax.random.key(0))
        >>> model.apply(params, buffers, jnp.ones((8, 24, 1)))[0].shape
        (8, 1)

    Torch: ``fdl.parity.twins.lstm`` writes it out.
    """
    arguments = (input_size, hidden_size, output_size, num_layers, dropout)
    return as_model(lambda rngs: SequenceLSTM(*arguments, rngs=rngs))
