"""Sentence-BERT: a vector for each sentence."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl._model import as_model
from fdl._types import Model
from fdl.models.bert import BASE, BertModel, Hidden, Ids, Mask
from fdl.models.bert_config import BertConfig


class SentenceBert(BertModel):
    """BERT whose output is the mean of its tokens' features.

    Torch: ``transformers.BertModel`` with the ``Pooling`` and ``Normalize`` of
    ``sentence_transformers``.
    """

    def __init__(
        self,
        config: BertConfig,
        *,
        add_pooling_layer: bool = True,
        normalize: bool = True,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        super().__init__(config, add_pooling_layer=add_pooling_layer, remat=remat, rngs=rngs)
        self.normalize = normalize

    def __call__(
        self,
        input_ids: Ids,
        attention_mask: Mask | None = None,
        token_type_ids: Ids | None = None,
        position_ids: Ids | None = None,
    ) -> Float[Array, "N D"]:
        """Returns the vectors of sentences."""
        output = super().__call__(input_ids, attention_mask, token_type_ids, position_ids)
        sentences = mean_of_tokens(output.last_hidden_state, attention_mask)
        return F.normalize(sentences, dim=1) if self.normalize else sentences


def mean_of_tokens(hidden_states: Hidden, attention_mask: Mask | None) -> Float[Array, "N D"]:
    """Averages features ``(N, L, D)`` over the tokens where the mask is not zero."""
    if attention_mask is None:
        return jnp.mean(hidden_states, axis=1)
    weights = attention_mask.astype(hidden_states.dtype)[..., None]  # (N, L, 1)
    return jnp.sum(hidden_states * weights, axis=1) / jnp.maximum(jnp.sum(weights, axis=1), 1e-9)


def sentence_bert(
    config: BertConfig = BASE,
    *,
    add_pooling_layer: bool = True,
    normalize: bool = True,
    remat: bool = False,
) -> Model:
    """Builds BERT whose output is a vector for each sentence: the mean over its tokens.

    Sentences that mean the same are near each other: with `normalize` the similarity of two is the
    dot product of their vectors.

    Args:
        config: sizes and options; ``BertConfig.from_json`` reads those of published weights.
        add_pooling_layer: whether there is BERT's pooler, which published weights contain though
            the output does not depend on it.
        normalize: whether vectors have length 1.
        remat: whether the backward pass computes layers again instead of keeping their insides.

    Returns:
        A model from inputs as :func:`bert` takes them to vectors ``(N, D)``. Padding, where
        `attention_mask` is zero, does not count.

    Raises:
        ValueError: as :func:`bert`.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> config = fdl.models.BertConfig(hidden_size=384, num_hidden_layers=6)
        >>> model = fdl.models.sentence_bert(config)
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> tokens = jnp.ones((8, 20), int)
        >>> jax.eval_shape(model.apply, params, buffers, tokens)[0].shape
        (8, 384)

    Torch: ``transformers.BertModel``, whose keys it has, then ``Pooling`` and ``Normalize`` of
    ``sentence_transformers``. Weight decay shrinks the idle pooler here, while torch's optimizers
    skip what has no gradient: leave it out where you train.

    Source: Reimers and Gurevych, "Sentence-BERT", EMNLP 2019.
    """
    return as_model(
        lambda rngs: SentenceBert(
            config,
            add_pooling_layer=add_pooling_layer,
            normalize=normalize,
            remat=remat,
            rngs=rngs,
        )
    )
