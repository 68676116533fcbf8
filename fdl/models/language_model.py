"""A recurrent language model: at every position, which token comes next."""

from typing import Any

from flax import nnx
from jaxtyping import Array, Float, Int

from fdl import nn
from fdl._model import as_model
from fdl._types import Model

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class LanguageModel(nn.Module):
    """Embedding, recurrent layers and a linear head, dropout between; see :func:`language_model`.

    The head's weight is the embedding's where `tied`.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        rnn: nn.LSTM | nn.GRU | nn.RNN,
        dropout: float,
        *,
        tied: bool,
        rngs: nnx.Rngs,
    ):
        self.embedding = embedding
        self.rnn = rnn
        self.drop = nn.Dropout(dropout, rngs=rngs)
        self.fc = nn.Linear(rnn.hidden_size, embedding.num_embeddings, rngs=rngs)
        if tied:
            self.fc.weight = embedding.weight

    def __call__(
        self, ids: Int[Array, "N L"], state: Any = None
    ) -> tuple[Float[Array, "N L V"], Any]:
        """Returns the logits of the token after each, and the state after the last."""
        embedded = self.drop(self.embedding(ids))  # (N, L, embedding_dim)
        outputs, state = self.rnn(embedded, state)  # (N, L, hidden_size)
        return self.fc(self.drop(outputs)), state


def language_model(
    vocab_size: int,
    embedding_dim: int,
    hidden_size: int,
    *,
    cell: str = "lstm",
    num_layers: int = 1,
    dropout: float = 0.0,
    tied: bool = False,
) -> Model:
    """Builds a recurrent language model.

    Args:
        vocab_size: number of tokens V.
        embedding_dim: features of a token's vector.
        hidden_size: features of the hidden state.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        num_layers: recurrent layers, one above the other.
        dropout: probability of zeroing a feature in training: of the embedded tokens, between the
            recurrent layers, and of their outputs.
        tied: whether embedding and head share one weight, which makes the model smaller and often
            better; `embedding_dim` must be `hidden_size` then.

    Returns:
        A model from ids ``(N, L)`` and, optionally, a state to ``(logits, state)``: logits
        ``(N, L, V)`` of the token after each, and the recurrent layers' state after the last, from
        which a next call goes on. :func:`fdl.models.generate` writes with it.

    Raises:
        ValueError: if `cell` is none of the three, `tied` finds two different sizes, or a size or
            probability is out of range.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.language_model(100, 16, 32)
        >>> params, buffers = model.init(jax.random.key(0))
        >>> ids = jnp.zeros((2, 7), int)
        >>> (logits, state), _ = model.apply(params, buffers, ids)
        >>> logits.shape
        (2, 7, 100)
        >>> (further, state), _ = model.apply(params, buffers, ids, state)

    Torch: ``nn.Embedding`` named ``embedding``, the recurrent layer (``batch_first=True``) named
    ``rnn``, and ``nn.Linear`` named ``fc``; ``fdl.parity.twins.language_model`` writes it out. Tied
    weights are drawn as torch's, from the embedding's normal distribution.

    Source: for tying, Press and Wolf, "Using the Output Embedding to Improve Language Models",
    2017.
    """
    if cell not in CELLS:
        raise ValueError(f"language_model: cell: expected one of {', '.join(CELLS)}, got {cell!r}.")
    if tied and embedding_dim != hidden_size:
        raise ValueError(
            f"language_model: tied: expected embedding_dim = hidden_size, as one weight serves "
            f"both, got {embedding_dim} and {hidden_size}. Make them equal, or leave tied out."
        )

    def build(rngs: nnx.Rngs) -> LanguageModel:
        embedding = nn.Embedding(vocab_size, embedding_dim, rngs=rngs)
        rnn = CELLS[cell](
            embedding_dim, hidden_size, num_layers, batch_first=True, dropout=dropout, rngs=rngs
        )
        return LanguageModel(embedding, rnn, dropout, tied=tied, rngs=rngs)

    return as_model(build)
