"""BERT beside that of transformers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as TF
import transformers

import fdl
import fdl.functional as F
from fdl.models import BertConfig
from zoo.case import Case

SMALL = BertConfig(
    vocab_size=50,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=16,
    num_labels=3,
)


def twin(name: str, config: BertConfig, output: Callable | None = None, **options: Any):
    """Makes transformers' network of this name; it returns `output(inputs, what it returned)`."""
    theirs = transformers.BertConfig(**config._asdict(), return_dict=output is not None)
    network = getattr(transformers, name)(theirs, **options)
    if output is not None:
        network.register_forward_hook(lambda _, inputs, returned: output(inputs, returned))
    return network


def logits(_inputs: Any, returned: Any) -> torch.Tensor:
    """What a head returns."""
    return returned.logits


def sentences(inputs: Any, returned: Any, *, normalize: bool = True) -> torch.Tensor:
    """What sentence_transformers' Pooling and Normalize make of BERT's output."""
    hidden = returned.last_hidden_state
    mask = inputs[1][..., None].expand(hidden.shape).to(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    return TF.normalize(mean, p=2, dim=1) if normalize else mean


def tokens(count: int, length: int, vocab_size: int, *, types: bool = True) -> tuple:
    """Sentences of several lengths, filled up with token 0, their mask and their types."""
    generator = np.random.default_rng(0)
    lengths = length - np.arange(count) * (length // count)
    mask = (np.arange(length) < lengths[:, None]).astype(int)
    ids = generator.integers(1, vocab_size, (count, length)) * mask
    halves = (np.arange(length) >= lengths[:, None] // 2).astype(int) * mask
    return (ids, mask, halves) if types else (ids, mask)


def numbers(*shape: int) -> np.ndarray:
    """Targets of a regression."""
    return np.random.default_rng(1).normal(size=shape)


def labels(*shape: int, classes: int, ignore: bool = False) -> np.ndarray:
    """Classes, of which every third is not to count."""
    drawn = np.random.default_rng(1).integers(0, classes, shape)
    return np.where(np.arange(drawn.size).reshape(shape) % 3 == 0, -100, drawn) if ignore else drawn


OF_EACH = (
    lambda output, target: TF.mse_loss(output[0], target) + output[1].square().mean(),
    lambda output, target: F.mse_loss(output[0], target) + (output[1] ** 2).mean(),
)
OF_TOKENS = (
    lambda output, target: TF.cross_entropy(output.mT, target),
    lambda output, target: F.cross_entropy(output.mT, target),
)
ROWS = tokens(3, 12, SMALL.vocab_size)


def bare(config: BertConfig, batch: tuple, *, heavy: bool = False, **options: Any) -> Case:
    """BERT without a head."""
    target = numbers(*batch[0].shape, config.hidden_size)
    return Case(
        lambda: fdl.models.bert(config, **options),
        lambda: twin("BertModel", config),
        OF_EACH,
        (*batch, target),
        "transformers.BertModel",
        heavy=heavy,
    )


def masked(config: BertConfig, batch: tuple = ROWS, **options: Any) -> Case:
    """BERT that guesses tokens."""
    target = labels(*batch[0].shape, classes=config.vocab_size, ignore=True)
    return Case(
        lambda: fdl.models.bert_for_masked_lm(config, **options),
        lambda: twin("BertForMaskedLM", config, logits),
        OF_TOKENS,
        (*batch, target),
        "transformers.BertForMaskedLM",
    )


def classifier(of: str, loss: Any, target: np.ndarray) -> Case:
    """BERT with a linear head on sequences or tokens."""
    config = SMALL._replace(num_hidden_layers=1, classifier_dropout=0.3)
    factory, theirs = f"bert_for_{of.lower()}_classification", f"BertFor{of}Classification"
    return Case(
        lambda: getattr(fdl.models, factory)(config),
        lambda: twin(theirs, config, logits),
        loss,
        (*ROWS, target),
        f"transformers.{theirs}",
    )


def sentence(config: BertConfig, batch: tuple, *, normalize: bool = True) -> Case:
    """BERT that returns a vector for each sentence; the pooler, which has no gradient, is out."""
    options = {"add_pooling_layer": False}
    return Case(
        lambda: fdl.models.sentence_bert(config, normalize=normalize, **options),
        lambda: twin(
            "BertModel",
            config,
            lambda *seen: sentences(*seen, normalize=normalize),
            **options,
        ),
        "mse_loss",
        (*batch, numbers(len(batch[0]), config.hidden_size)),
        "`transformers.BertModel`, mean over the mask, unit length",
    )


ONE_LAYER = SMALL._replace(num_hidden_layers=1)
DEEP = BertConfig(vocab_size=1000, hidden_size=256, num_attention_heads=4, intermediate_size=1024)
MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)

CASES = {
    "bert": bare(SMALL, ROWS),
    "bert, ids alone, remat": bare(
        ONE_LAYER._replace(pad_token_id=None, hidden_act="relu"), ROWS[:1], remat=True
    ),
    "bert, gelu_new, no dropout": bare(
        ONE_LAYER._replace(
            hidden_act="gelu_new",
            layer_norm_eps=1e-5,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        ROWS[:2],
    ),
    "bert, twelve layers of 256": bare(DEEP, tokens(2, 12, DEEP.vocab_size), heavy=True),
    "bert, six layers of 384": bare(MINILM, tokens(2, 12, MINILM.vocab_size), heavy=True),
    "bert_for_masked_lm": masked(ONE_LAYER),
    "bert_for_masked_lm, untied": masked(ONE_LAYER._replace(tie_word_embeddings=False)),
    "bert_for_sequence_classification": classifier(
        "Sequence", "cross_entropy", labels(len(ROWS[0]), classes=SMALL.num_labels)
    ),
    "bert_for_token_classification": classifier(
        "Token", OF_TOKENS, labels(*ROWS[0].shape, classes=SMALL.num_labels, ignore=True)
    ),
    "sentence_bert": sentence(ONE_LAYER, ROWS[:2]),
    "sentence_bert, of any length": sentence(ONE_LAYER, ROWS[:2], normalize=False),
}
