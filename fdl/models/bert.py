"""BERT: a transformer's encoder, pretrained on text."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

import fdl.functional as F
from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl._variables import assign
from fdl.models.bert_config import BertConfig
from fdl.nn._module import draw_key, forked_stream

Ids = Int[Array, "N L"]
Mask = Int[Array, "N L"] | Bool[Array, "N L"] | Float[Array, "N L"]
"""One where a token is to be attended to, zero where it is padding."""
Hidden = Float[Array, "N L D"]
Keys = Bool[Array, "N 1 1 L"]

ACTIVATIONS = {
    "gelu": nn.GELU,
    "gelu_new": lambda: nn.GELU("tanh"),
    "gelu_pytorch_tanh": lambda: nn.GELU("tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
BASE = BertConfig()


class BertModelOutput(NamedTuple):
    """What BERT makes of a batch of sequences.

    Attributes:
        last_hidden_state: features of each token ``(N, L, D)``.
        pooler_output: features of each sequence ``(N, D)``; None without a pooler.
    """

    last_hidden_state: Hidden
    pooler_output: Float[Array, "N D"] | None


def draw(network: nnx.Module, config: BertConfig, rngs: nnx.Rngs) -> None:
    """Draws all weights from a normal distribution; biases and the padding token become zero."""
    for _, layer in nnx.iter_modules(network):
        if isinstance(layer, nn.Linear | nn.Embedding):
            shape, dtype = layer.weight.shape, layer.weight.dtype
            drawn = jax.random.normal(rngs.params(), shape, dtype)
            assign(layer.weight, config.initializer_range * drawn)
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            assign(layer.bias, jnp.zeros_like(layer.bias[...]))
        if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
            assign(layer.weight, layer.weight[...].at[layer.padding_idx].set(0))


class BertEmbeddings(nn.Module):
    """The sum of what a token, its type and its position stand for, normalised."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        size = config.hidden_size
        self.word_embeddings = nn.Embedding(
            config.vocab_size, size, padding_idx=config.pad_token_id, rngs=rngs
        )
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, size, rngs=rngs)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size, rngs=rngs)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob, rngs=rngs)

    def __call__(
        self, input_ids: Ids, token_type_ids: Ids | None, position_ids: Ids | None
    ) -> Hidden:
        """Maps tokens ``(N, L)`` to features ``(N, L, D)``."""
        if token_type_ids is None:
            token_type_ids = jnp.zeros_like(input_ids)
        if position_ids is None:
            position_ids = self._positions(input_ids.shape[1])
        embeddings = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        embeddings = embeddings + self.position_embeddings(position_ids)
        return self.dropout(self.LayerNorm(embeddings))

    def _positions(self, length: int) -> Int[Array, "1 L"]:
        longest = self.position_embeddings.num_embeddings
        if length > longest:
            raise ValueError(
                f"bert: input_ids: expected at most max_position_embeddings={longest} tokens, got "
                f"{length}. Cut the sequences."
            )
        return jnp.arange(length)[None]


class BertSelfAttention(nn.Module):
    """Attention of several heads, without the projection of what they return."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        size = config.hidden_size
        self.num_attention_heads = config.num_attention_heads
        self.query = nn.Linear(size, size, rngs=rngs)
        self.key = nn.Linear(size, size, rngs=rngs)
        self.value = nn.Linear(size, size, rngs=rngs)
        self.dropout = config.attention_probs_dropout_prob
        self.stream = forked_stream(rngs, self.dropout)

    def __call__(self, hidden_states: Hidden, attention_mask: Keys | None) -> Hidden:
        """Lets each token attend to the keys where the mask is true."""
        attended = F.scaled_dot_product_attention(
            self._heads(self.query(hidden_states)),
            self._heads(self.key(hidden_states)),
            self._heads(self.value(hidden_states)),
            attention_mask,
            dropout_p=self.dropout if self.training else 0.0,
            dropout_key=draw_key(self.stream, self.training),
        )  # (N, H, L, D / H)
        return jnp.swapaxes(attended, 1, 2).reshape(hidden_states.shape)

    def _heads(self, projected: Hidden) -> Float[Array, "N H L E"]:
        batch, length, size = projected.shape
        heads = self.num_attention_heads
        return jnp.swapaxes(projected.reshape(batch, length, heads, size // heads), 1, 2)


class _ResidualProjection(nn.Module):
    """A linear layer whose result is added to an earlier state and normalised."""

    def __init__(self, in_features: int, config: BertConfig, *, rngs: nnx.Rngs):
        self.dense = nn.Linear(in_features, config.hidden_size, rngs=rngs)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob, rngs=rngs)

    def __call__(self, hidden_states: Float[Array, "N L I"], input_tensor: Hidden) -> Hidden:
        """Maps ``(N, L, in_features)`` beside ``(N, L, D)`` to ``(N, L, D)``."""
        return self.LayerNorm(self.dropout(self.dense(hidden_states)) + input_tensor)


class BertAttention(nn.Module):
    """Self-attention beside the identity."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.self = BertSelfAttention(config, rngs=rngs)
        self.output = _ResidualProjection(config.hidden_size, config, rngs=rngs)

    def __call__(self, hidden_states: Hidden, attention_mask: Keys | None) -> Hidden:
        """Returns a tensor as `hidden_states`."""
        return self.output(self.self(hidden_states, attention_mask), hidden_states)


class BertIntermediate(nn.Module):
    """The wide layer of the feed-forward network."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size, rngs=rngs)
        self.intermediate_act_fn = ACTIVATIONS[config.hidden_act]()

    def __call__(self, hidden_states: Hidden) -> Float[Array, "N L I"]:
        """Maps ``(N, L, D)`` to ``(N, L, intermediate_size)``."""
        return self.intermediate_act_fn(self.dense(hidden_states))


class BertLayer(nn.Module):
    """Attention, then a feed-forward network for each token."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.attention = BertAttention(config, rngs=rngs)
        self.intermediate = BertIntermediate(config, rngs=rngs)
        self.output = _ResidualProjection(config.intermediate_size, config, rngs=rngs)

    def __call__(self, hidden_states: Hidden, attention_mask: Keys | None) -> Hidden:
        """Returns a tensor as `hidden_states`."""
        attended = self.attention(hidden_states, attention_mask)
        return self.output(self.intermediate(attended), attended)


class BertEncoder(nn.Module):
    """The layers, one after another."""

    def __init__(self, config: BertConfig, *, remat: bool, rngs: nnx.Rngs):
        self.remat = remat
        self.layer = nn.ModuleList(
            [BertLayer(config, rngs=rngs) for _ in range(config.num_hidden_layers)]
        )

    def __call__(self, hidden_states: Hidden, attention_mask: Keys | None) -> Hidden:
        """Returns a tensor as `hidden_states`."""
        for layer in self.layer:
            if self.remat:
                hidden_states = nn.utils.checkpoint(layer, hidden_states, attention_mask)
            else:
                hidden_states = layer(hidden_states, attention_mask)
        return hidden_states


class BertPooler(nn.Module):
    """A linear layer and tanh of the first token, which stands for the sequence."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, rngs=rngs)
        self.activation = nn.Tanh()

    def __call__(self, hidden_states: Hidden) -> Float[Array, "N D"]:
        """Maps ``(N, L, D)`` to ``(N, D)``."""
        return self.activation(self.dense(hidden_states[:, 0]))


class BertModel(nn.Module):
    """Embeddings, encoder and pooler.

    Torch: ``transformers.BertModel``.
    """

    def __init__(
        self,
        config: BertConfig,
        *,
        add_pooling_layer: bool = True,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        _check(config)
        self.embeddings = BertEmbeddings(config, rngs=rngs)
        self.encoder = BertEncoder(config, remat=remat, rngs=rngs)
        self.pooler = BertPooler(config, rngs=rngs) if add_pooling_layer else None
        draw(self, config, rngs)

    def __call__(
        self,
        input_ids: Ids,
        attention_mask: Mask | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
    ) -> BertModelOutput:
        """Returns the features of tokens and sequences."""
        embedded = self.embeddings(input_ids, token_type_ids, position_ids)
        hidden = self.encoder(embedded, _keys(attention_mask, input_ids))
        return BertModelOutput(hidden, None if self.pooler is None else self.pooler(hidden))


def _keys(attention_mask: Mask | None, input_ids: Ids) -> Keys | None:
    """The mask in the shape of attention's scores."""
    if attention_mask is None:
        return None
    if attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"bert: attention_mask: expected {input_ids.shape}, the shape of input_ids, got "
            f"{attention_mask.shape}. Give one for each token, zero for each token of padding."
        )
    return attention_mask.astype(bool)[:, None, None, :]


def _check(config: BertConfig) -> None:
    if config.hidden_size % config.num_attention_heads:
        raise ValueError(
            f"bert: num_attention_heads: expected a divisor of hidden_size={config.hidden_size}, "
            f"got {config.num_attention_heads}."
        )
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(
            f"bert: hidden_act: expected one of {[*ACTIVATIONS]}, got {config.hidden_act!r}."
        )


def bert(
    config: BertConfig = BASE, *, add_pooling_layer: bool = True, remat: bool = False
) -> Model:
    """Builds BERT: 109.5 million parameters as it stands.

    Args:
        config: sizes and options; ``BertConfig.from_json`` reads those of published weights.
        add_pooling_layer: whether the first token's features are made the sequence's.
        remat: whether the backward pass computes layers again instead of keeping their insides.

    Returns:
        A model from ``(input_ids, attention_mask=None, token_type_ids=None, position_ids=None)``,
        each ``(N, L)``, to :class:`BertModelOutput`. L is free up to `max_position_embeddings`. The
        mask is zero for padding; without one all tokens are attended to. Token types are 0 and
        positions 0 to L - 1 if they are not given.

    Raises:
        ValueError: if sizes do not fit, the activation is unknown, sequences are too long, or a
            mask has another shape than the tokens.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.bert()
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> params["encoder.layer.11.attention.self.query.weight"].shape
        (768, 768)

    Torch: ``transformers.BertModel`` with ``return_dict=False``, its encoder: no cache, cross
    attention, `inputs_embeds`, or masks of more than two axes. Attention is torch's
    ``scaled_dot_product_attention``, as it is there by default: a sequence of padding alone attends
    to nothing, where ``attn_implementation="eager"`` averages over it.

    Source: Devlin et al., "BERT", NAACL 2019.
    """
    return as_model(
        lambda rngs: BertModel(config, add_pooling_layer=add_pooling_layer, remat=remat, rngs=rngs)
    )
