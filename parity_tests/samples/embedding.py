"""Samples of lookups that torch's table lacks."""

import jax.numpy as jnp
import torch

import fdl.functional as F
from fdl import nn
from samples.refusal import refused
from samples.sample import FdlFunction, Sample, TorchFunction

GENERATOR = torch.Generator().manual_seed(0)
IDS = torch.tensor([[1, 4, 1, 0], [3, 3, 5, 0]])
FLAT = torch.tensor([3, 0, 3, 5, 1, 1, 5, 0])
TWICE = torch.tensor([3, 0, 3, 1, 1, 0])
OFFSETS = torch.tensor([0, 3, 3, 7])


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=GENERATOR).requires_grad_()


def table():
    """Rows 1 and 3 tie in one column and are signed zeros in another."""
    weight = normal(6, 3).detach()
    weight[1, 0] = weight[3, 0] = 2
    weight[1, 1], weight[3, 1], weight[0, 1] = 0.0, -0.0, -1
    return weight.requires_grad_()


def looked_up(ids, **options):
    return Sample("embedding", (), options, (ids, table()))


def bagged(ids, offsets=None, **options):
    inputs = (ids, table()) if offsets is None else (ids, table(), offsets)
    return Sample("embedding_bag", (), options, inputs)


def weighted(ids, offsets=None, **options):
    given = bagged(ids, offsets, mode="sum", **options)
    return given._replace(named={"per_sample_weights": normal(*ids.shape)})


def layer(name, *inputs, **options):
    return Sample(name, (6, 3), options, inputs)


def renormed(**options):
    """Torch's is no part of ``torch.nn``, and changes the table."""

    def changed(weight, ids):
        limits = options["max_norm"], options.get("norm_type", 2.0)
        return torch.embedding_renorm_(weight.clone(), ids, *limits)

    builders = (
        lambda: TorchFunction(changed),
        lambda rngs: FdlFunction(F.embedding_renorm, options, rngs),
    )
    inputs = (table().detach(), IDS)
    return Sample("embedding_renorm", (), options, inputs, builders=builders)


LOOKUPS = [
    looked_up(IDS),
    looked_up(torch.tensor(2)),
    looked_up(IDS[:0]),
    looked_up(IDS, padding_idx=-3),
    looked_up(IDS, scale_grad_by_freq=True, padding_idx=1),
    looked_up(IDS, max_norm=1.0),
    looked_up(IDS.int(), max_norm=1.5, norm_type=1.0, padding_idx=0),
    looked_up(IDS, max_norm=0.5, norm_type=float("inf")),
    looked_up(IDS[:0], max_norm=1.0),
    renormed(max_norm=1.0),
    renormed(max_norm=1.5, norm_type=3.0),
    Sample("one_hot", (), {"num_classes": 6}, (IDS,)),
    Sample("one_hot", (), {"num_classes": 8}, (torch.tensor(2),)),
    Sample("one_hot", (), {"num_classes": 2}, (IDS[:0],)),
]

BAGS = [
    *(bagged(FLAT, OFFSETS, mode=mode) for mode in ("sum", "mean", "max")),
    *(bagged(IDS, mode=mode, padding_idx=0) for mode in ("sum", "mean", "max")),
    *(bagged(FLAT, OFFSETS, mode=mode, padding_idx=-5) for mode in ("mean", "max")),
    bagged(FLAT, torch.tensor([0, 0, 8, 8]), mode="max"),
    bagged(FLAT, torch.tensor([0, 2, 8]), mode="mean", include_last_offset=True),
    bagged(FLAT, torch.tensor([0, 2, 8]), mode="max", include_last_offset=True),
    bagged(TWICE, torch.tensor([0, 4]), mode="sum", scale_grad_by_freq=True),
    bagged(TWICE, torch.tensor([0, 4]), mode="mean", scale_grad_by_freq=True, padding_idx=3),
    bagged(FLAT[:0], torch.tensor([0, 0]), mode="mean"),
    bagged(FLAT[:0], torch.tensor([0]), mode="max"),
    bagged(IDS, mode="max", max_norm=1.0),
    weighted(FLAT, OFFSETS),
    weighted(IDS, padding_idx=3, max_norm=1.0),
]

LAYERS = [
    layer("Embedding", IDS, padding_idx=1),
    layer("Embedding", IDS, padding_idx=-1, scale_grad_by_freq=True),
    layer("Embedding", IDS, max_norm=1.0),
    layer("Embedding", IDS, max_norm=0.7, norm_type=3.0, padding_idx=0),
    layer("Embedding", IDS, _weight=table()),
    layer("EmbeddingBag", IDS),
    layer("EmbeddingBag", FLAT, OFFSETS, mode="max", padding_idx=3),
    layer("EmbeddingBag", FLAT, OFFSETS, normal(8), mode="sum"),
    layer("EmbeddingBag", FLAT, torch.tensor([0, 4, 8]), include_last_offset=True, mode="sum"),
    layer("EmbeddingBag", FLAT, OFFSETS, max_norm=1.0, padding_idx=-1),
    layer("EmbeddingBag", TWICE, torch.tensor([0, 1]), scale_grad_by_freq=True),
]

SAMPLES = LOOKUPS + BAGS + LAYERS

TABLE, IDS_JAX = jnp.ones((6, 3)), jnp.array([0, 5])
STARTS = jnp.array([0, 1])

REFUSED = [
    refused(
        ValueError,
        "embedding;input;expected;0 to 5;got 0 to 6",
        F.embedding,
        jnp.array([0, 6]),
        TABLE,
    ),
    refused(ValueError, "input;expected;got -100", F.embedding, jnp.array([-100, 1]), TABLE),
    refused(TypeError, "input;expected integers;got", F.embedding, jnp.ones(2), TABLE),
    refused(ValueError, "weight;expected;got", F.embedding, IDS_JAX, TABLE[0]),
    refused(ValueError, "padding_idx;expected -6 to 5;got 6", F.embedding, IDS_JAX, TABLE, 6),
    refused(
        ValueError,
        "embedding_renorm;input;expected;got",
        F.embedding_renorm,
        TABLE,
        IDS_JAX + 1,
        1.0,
    ),
    refused(
        ValueError, "mode;expected;got 'avg'", F.embedding_bag, IDS_JAX, TABLE, STARTS, mode="avg"
    ),
    refused(ValueError, "input, offsets;expected;got", F.embedding_bag, IDS_JAX, TABLE),
    refused(
        ValueError, "input, offsets;expected;got", F.embedding_bag, IDS_JAX[None], TABLE, STARTS
    ),
    refused(
        ValueError,
        "offsets;expected to ascend from 0;got",
        F.embedding_bag,
        IDS_JAX,
        TABLE,
        STARTS + 1,
    ),
    refused(ValueError, "offsets;at most 2;got", F.embedding_bag, IDS_JAX, TABLE, STARTS * 3),
    refused(
        TypeError, "offsets;expected integers;got", F.embedding_bag, IDS_JAX, TABLE, jnp.zeros(1)
    ),
    refused(
        ValueError,
        "scale_grad_by_freq;expected False;got",
        F.embedding_bag,
        IDS_JAX,
        TABLE,
        STARTS,
        mode="max",
        scale_grad_by_freq=True,
    ),
    refused(
        ValueError,
        "per_sample_weights;expected None;got",
        F.embedding_bag,
        IDS_JAX,
        TABLE,
        STARTS,
        per_sample_weights=jnp.ones(2),
    ),
    refused(
        ValueError,
        "per_sample_weights;expected the shape;got",
        F.embedding_bag,
        IDS_JAX,
        TABLE,
        STARTS,
        mode="sum",
        per_sample_weights=jnp.ones(3),
    ),
    refused(
        TypeError,
        "expected one dtype;got",
        F.embedding_bag,
        IDS_JAX,
        TABLE,
        STARTS,
        mode="sum",
        per_sample_weights=jnp.ones(2, jnp.bfloat16),
    ),
    refused(ValueError, "one_hot;tensor;expected;got", F.one_hot, IDS_JAX, 5),
    refused(ValueError, "num_classes;expected;got -1", F.one_hot, jnp.zeros(0, int)),
    refused(TypeError, "tensor;expected integers;got", F.one_hot, jnp.ones(2)),
    refused(ValueError, "Embedding;padding_idx;expected;got 6", nn.Embedding, 6, 3, 6),
    refused(TypeError, "EmbeddingBag;rngs;expected;got None", nn.EmbeddingBag, 6, 3),
    refused(ValueError, "_weight;expected shape;got", nn.Embedding, 6, 2, _weight=TABLE),
    refused(ValueError, "embeddings;expected;got", nn.Embedding.from_pretrained, TABLE[0]),
]
