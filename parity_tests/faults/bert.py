"""Faults in BERT: transformers' network and ours."""

from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import nnx
from zoo.transformer import (
    OF_EACH,
    OF_TOKENS,
    SMALL,
    labels,
    logits,
    numbers,
    sentences,
    tokens,
    twin,
)

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn
from fdl.models.bert import BertEmbeddings, BertModel, BertPooler
from fdl.models.bert_heads import BertForMaskedLM
from fdl.models.sentence import SentenceBert, mean_of_tokens

CONFIG = SMALL._replace(hidden_size=8, num_attention_heads=2, intermediate_size=12)
ROWS = tokens(3, 8, CONFIG.vocab_size)


def pair(module: Any, twin: Any, loss: Any, target: Any) -> Pair:
    """A network of ours beside one of transformers'."""

    def seeded() -> torch.nn.Module:
        torch.manual_seed(0)
        return twin()

    options = {"loss": loss, "optimizer": (torch.optim.AdamW, fdl.optim.adamw()), "steps": 1}
    return Pair(seeded, fdl.as_model(module), [(*ROWS, target)], options)


class NoTypes(BertEmbeddings):
    def __call__(self, input_ids, token_type_ids, position_ids):
        self.token_type_embeddings(token_type_ids)
        embeddings = self.word_embeddings(input_ids)
        embeddings = embeddings + self.position_embeddings(self._positions(input_ids.shape[1]))
        return self.dropout(self.LayerNorm(embeddings))


class LaterPositions(BertEmbeddings):
    """RoBERTa's positions, which begin at 2."""

    def __call__(self, input_ids, token_type_ids, position_ids):
        positions = 2 + self._positions(input_ids.shape[1])
        return super().__call__(input_ids, token_type_ids, positions)


class MeanPooler(BertPooler):
    def __call__(self, hidden_states):
        return self.activation(self.dense(hidden_states.mean(1)))


class Unmasked(BertModel):
    def __call__(self, input_ids, attention_mask=None, *rest):
        return super().__call__(input_ids, None, *rest)


def bare(
    kind: type[BertModel] = BertModel,
    *,
    embeddings: type[BertEmbeddings] | None = None,
    pooler: type[BertPooler] | None = None,
    config: Any = CONFIG,
) -> Pair:
    """BERT without a head, one of its parts another."""

    def module(rngs: nnx.Rngs) -> nnx.Module:
        network = kind(config, rngs=rngs)
        if embeddings is not None:
            network.embeddings = embeddings(config, rngs=rngs)
        if pooler is not None:
            network.pooler = pooler(config, rngs=rngs)
        return network

    target = numbers(*ROWS[0].shape, CONFIG.hidden_size)
    return pair(module, lambda: twin("BertModel", CONFIG), OF_EACH, target)


class Unlearnt(nn.Linear):
    """A decoder that reads the table of tokens, and leaves its gradient to the embedding."""

    def __call__(self, input):
        return F.linear(input, jax.lax.stop_gradient(self.weight[...]), self.bias[...])


def masked(decoder: type[nn.Linear] | None = None) -> Pair:
    """BERT that guesses tokens, its decoder another."""

    def module(rngs: nnx.Rngs) -> nnx.Module:
        network = BertForMaskedLM(CONFIG, rngs=rngs)
        head = network.cls.predictions
        if decoder is not None:
            head.decoder = decoder(CONFIG.hidden_size, CONFIG.vocab_size, rngs=rngs)
            head.decoder.weight = network.bert.embeddings.word_embeddings.weight
            head.decoder.bias = head.bias
        return network

    target = labels(*ROWS[0].shape, classes=CONFIG.vocab_size)

    def torchs() -> torch.nn.Module:
        return twin("BertForMaskedLM", CONFIG, logits)

    return pair(module, torchs, OF_TOKENS, target)


class MeanOverPadding(SentenceBert):
    def __call__(self, input_ids, attention_mask=None, *rest):
        output = BertModel.__call__(self, input_ids, attention_mask, *rest)
        return F.normalize(jnp.mean(output.last_hidden_state, 1), dim=1)


class LongVectors(SentenceBert):
    def __call__(self, input_ids, attention_mask=None, *rest):
        output = BertModel.__call__(self, input_ids, attention_mask, *rest)
        return mean_of_tokens(output.last_hidden_state, attention_mask)


def sentence(kind: type[SentenceBert] = SentenceBert) -> Pair:
    """BERT that returns a vector for each sentence."""
    bare = {"add_pooling_layer": False}
    return pair(
        lambda rngs: kind(CONFIG, **bare, rngs=rngs),
        lambda: twin("BertModel", CONFIG, sentences, **bare),
        "mse_loss",
        numbers(len(ROWS[0]), CONFIG.hidden_size),
    )


PAIRS = {"bert": bare(), "bert for masked words": masked(), "bert of sentences": sentence()}

FAULTS = [
    Fault(
        "bert: token types missing",
        bare(embeddings=NoTypes),
        "embeddings",
        "forward",
        0,
        "missing connection",
    ),
    Fault(
        "bert: positions from 2",
        bare(embeddings=LaterPositions),
        "embeddings.position_embeddings",
        "forward",
        0,
        "shifted index",
    ),
    Fault(
        "bert: LayerNorm's default epsilon",
        bare(config=CONFIG._replace(layer_norm_eps=1e-5)),
        "embeddings.LayerNorm",
        "forward",
        0,
        "epsilon",
    ),
    Fault("bert: mean in the pooler", bare(pooler=MeanPooler), "pooler", "forward", 0, "time step"),
    Fault(
        "bert: padding attended to",
        bare(Unmasked),
        "encoder.layer.0.attention.self",
        "forward",
        0,
        "missing mask",
    ),
    Fault(
        "bert: tied table without the decoder's gradient",
        masked(Unlearnt),
        "cls.predictions.decoder",
        "backward",
        0,
        "stopped gradient",
    ),
    Fault("bert: mean over padding", sentence(MeanOverPadding), "", "forward", 0, "missing mask"),
    Fault(
        "bert: sentences of any length",
        sentence(LongVectors),
        "",
        "forward",
        0,
        "missing normalisation",
    ),
]
