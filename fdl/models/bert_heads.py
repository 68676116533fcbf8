"""BERT for masked language modelling, and for classes of sequences and tokens."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models.bert import ACTIVATIONS, BASE, BertModel, Hidden, Ids, Mask, draw
from fdl.models.bert_config import BertConfig

Scores = Float[Array, "N L V"]


class BertPredictionHeadTransform(nn.Module):
    """A layer of features between the encoder and the decoder."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, rngs=rngs)
        self.transform_act_fn = ACTIVATIONS[config.hidden_act]()
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def __call__(self, hidden_states: Hidden) -> Hidden:
        """Returns a tensor as `hidden_states`."""
        return self.LayerNorm(self.transform_act_fn(self.dense(hidden_states)))


class BertLMPredictionHead(nn.Module):
    """A score for each token of the vocabulary."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.transform = BertPredictionHeadTransform(config, rngs=rngs)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(config.vocab_size))

    def __call__(self, hidden_states: Hidden) -> Scores:
        """Maps ``(N, L, D)`` to ``(N, L, V)``."""
        return self.decoder(self.transform(hidden_states))


class BertOnlyMLMHead(nn.Module):
    """The head under the name that it has in checkpoints."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        self.predictions = BertLMPredictionHead(config, rngs=rngs)

    def __call__(self, sequence_output: Hidden) -> Scores:
        """Maps ``(N, L, D)`` to ``(N, L, V)``."""
        return self.predictions(sequence_output)


class BertForMaskedLM(nn.Module):
    """BERT that guesses tokens, its decoder the transpose of the table of tokens.

    Torch: ``transformers.BertForMaskedLM``.
    """

    def __init__(self, config: BertConfig, *, remat: bool = False, rngs: nnx.Rngs):
        self.bert = BertModel(config, add_pooling_layer=False, remat=remat, rngs=rngs)
        self.cls = BertOnlyMLMHead(config, rngs=rngs)
        draw(self.cls, config, rngs)
        if config.tie_word_embeddings:
            head = self.cls.predictions
            head.decoder.weight = self.bert.embeddings.word_embeddings.weight
            head.decoder.bias = head.bias

    def __call__(
        self,
        input_ids: Ids,
        attention_mask: Mask | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
    ) -> Scores:
        """Returns the scores of tokens at each place."""
        return self.cls(
            self.bert(input_ids, attention_mask, token_type_ids, position_ids).last_hidden_state
        )


class BertForSequenceClassification(nn.Module):
    """A linear classifier of whole sequences.

    Torch: ``transformers.BertForSequenceClassification``.
    """

    def __init__(self, config: BertConfig, *, remat: bool = False, rngs: nnx.Rngs):
        self.bert = BertModel(config, remat=remat, rngs=rngs)
        self.dropout = nn.Dropout(config.head_dropout_prob, rngs=rngs)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels, rngs=rngs)
        draw(self.classifier, config, rngs)

    def __call__(
        self,
        input_ids: Ids,
        attention_mask: Mask | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
    ) -> Float[Array, "N C"]:
        """Returns the logits of sequences."""
        output = self.bert(input_ids, attention_mask, token_type_ids, position_ids)
        return self.classifier(self.dropout(output.pooler_output))  # pyrefly: ignore


class BertForTokenClassification(nn.Module):
    """A linear classifier of each token.

    Torch: ``transformers.BertForTokenClassification``.
    """

    def __init__(self, config: BertConfig, *, remat: bool = False, rngs: nnx.Rngs):
        self.bert = BertModel(config, add_pooling_layer=False, remat=remat, rngs=rngs)
        self.dropout = nn.Dropout(config.head_dropout_prob, rngs=rngs)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels, rngs=rngs)
        draw(self.classifier, config, rngs)

    def __call__(
        self,
        input_ids: Ids,
        attention_mask: Mask | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
    ) -> Float[Array, "N L C"]:
        """Returns the logits of tokens."""
        output = self.bert(input_ids, attention_mask, token_type_ids, position_ids)
        return self.classifier(self.dropout(output.last_hidden_state))


def bert_for_masked_lm(config: BertConfig = BASE, *, remat: bool = False) -> Model:
    """Builds BERT with a head that scores the tokens of the vocabulary at each place.

    Args:
        config: sizes and options. With `tie_word_embeddings` decoder and table of tokens are one
            tensor, under the table's name; ``model.tied`` has the decoder's.
        remat: whether the backward pass computes layers again instead of keeping their insides.

    Returns:
        A model from inputs as :func:`bert` takes them to scores ``(N, L, V)``. For
        ``F.cross_entropy`` bring V to axis 1; targets of -100 do not count.

    Raises:
        ValueError: as :func:`bert`.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.bert_for_masked_lm()
        >>> model.tied["cls.predictions.decoder.weight"]
        'bert.embeddings.word_embeddings.weight'

    Torch: ``transformers.BertForMaskedLM``, which returns the scores as ``output.logits``;
    deviations as for :func:`bert`.
    """
    return as_model(lambda rngs: BertForMaskedLM(config, remat=remat, rngs=rngs))


def bert_for_sequence_classification(config: BertConfig = BASE, *, remat: bool = False) -> Model:
    """Builds BERT with a linear classifier of whole sequences.

    Args:
        config: sizes and options, among them `num_labels` and `classifier_dropout`.
        remat: whether the backward pass computes layers again instead of keeping their insides.

    Returns:
        A model from inputs as :func:`bert` takes them to logits ``(N, num_labels)``.

    Raises:
        ValueError: as :func:`bert`.

    Example:
        >>> import fdl, jax
        >>> config = fdl.models.BertConfig(num_labels=3)
        >>> model = fdl.models.bert_for_sequence_classification(config)
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> params["classifier.weight"].shape
        (3, 768)

    Torch: ``transformers.BertForSequenceClassification``, which returns ``output.logits``;
    deviations as for :func:`bert`.
    """
    return as_model(lambda rngs: BertForSequenceClassification(config, remat=remat, rngs=rngs))


def bert_for_token_classification(config: BertConfig = BASE, *, remat: bool = False) -> Model:
    """Builds BERT with a linear classifier of each token, for names and parts of speech.

    Args:
        config: sizes and options, among them `num_labels` and `classifier_dropout`.
        remat: whether the backward pass computes layers again instead of keeping their insides.

    Returns:
        A model from inputs as :func:`bert` takes them to logits ``(N, L, num_labels)``.

    Raises:
        ValueError: as :func:`bert`.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.bert_for_token_classification(fdl.models.BertConfig(num_labels=9))
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> "bert.pooler.dense.weight" in params
        False

    Torch: ``transformers.BertForTokenClassification``, which returns ``output.logits``; deviations
    as for :func:`bert`.
    """
    return as_model(lambda rngs: BertForTokenClassification(config, remat=remat, rngs=rngs))
