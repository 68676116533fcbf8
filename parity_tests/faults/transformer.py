"""Faults in a transformer encoder whose port is plain functions with taps."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import fdl
from faults.encoder import (
    CLASSES,
    HEADS,
    LENGTH,
    PAD,
    VOCABULARY,
    WIDTH,
    Classifier,
    MaskedMean,
    PlainMean,
    dropped,
    linear,
    masked,
    norm,
    plain_mean,
    port,
    scores,
)
from faults.table import Fault, Pair


def at(place: str, wrong: Callable, right: Callable) -> Callable:
    """A part that is wrong in one module alone."""
    return lambda params, name, x: (wrong if name == place else right)(params, name, x)


def transposed(params, name, x):
    return x @ params[f"{name}.weight"] + params[f"{name}.bias"]


def biasless(params, name, x):
    return x @ params[f"{name}.weight"].T


def learnt_padding(params, name, tokens):
    return params[f"{name}.weight"][tokens]


def undivided(x, key):
    return jnp.where(jax.random.bernoulli(key, 0.9, x.shape), x, 0)


def features_first(x):
    """Splits the width into (features, heads) instead of (heads, features)."""
    return x.reshape(len(x), LENGTH, WIDTH // HEADS, HEADS).transpose(0, 3, 1, 2)


def finite_mask(values, padding):
    return jnp.where(padding[:, None, None, :], jnp.finfo(values.dtype).min, values)


def stopped_softmax(values):
    return jax.lax.stop_gradient(jax.nn.softmax(values))


def stopped_keys(q, k):
    return scores(q, jax.lax.stop_gradient(k))


def over_length(x, padding):
    return jnp.where(padding[:, :, None], 0, x).sum(1) / LENGTH


def batches() -> list[Any]:
    generator = np.random.default_rng(0)
    made = []
    for _ in range(2):
        tokens = generator.integers(1, VOCABULARY, (4, LENGTH))
        for row, length in enumerate((6, 4, 5, 2)):
            tokens[row, length:] = PAD
        made.append((tokens, generator.integers(0, CLASSES, 4)))
    return made


def pair(optimizer=None, mean=MaskedMean, **changed) -> Pair:
    twin = Classifier(mean())
    shapes = {k: jax.ShapeDtypeStruct(t.shape, "float32") for k, t in twin.state_dict().items()}
    options = {"loss": "cross_entropy", "params": shapes}
    if optimizer is not None:
        options |= {"optimizer": (torch.optim.AdamW, optimizer), "steps": 2}
    return Pair(lambda: Classifier(mean()), port(**changed), batches(), options)


def rate_020(x, key):
    return dropped(x, key, rate=0.2)


def forward(name: str, module: str, cause: str, step: int = 0, **changed) -> Fault:
    """A fault that shows in the forward pass, in evaluation or in training."""
    return Fault(name, pair(**changed), module, "forward", step, cause)


FIRST, SECOND = "blocks.0.attention", "blocks.1.attention"

PAIRS = {
    "transformer": pair(fdl.optim.adamw()),
    "transformer, mask of a finite number": pair(masked=finite_mask),
}

FAULTS = [
    forward("transformer: positions missing", "", "missing connection", placed=lambda x, p: x),
    forward(
        "transformer: q transposed",
        f"{SECOND}.q",
        "transposed weight",
        linear=at(f"{SECOND}.q", transposed, linear),
    ),
    forward(
        "transformer: attention's output without bias",
        f"{FIRST}.out",
        "missing bias",
        linear=at(f"{FIRST}.out", biasless, linear),
    ),
    forward(
        "transformer: mask of the wrong polarity",
        FIRST,
        "mask polarity",
        masked=lambda s, padding: masked(s, ~padding),
    ),
    forward("transformer: mask missing", FIRST, "missing mask", masked=lambda s, padding: s),
    forward(
        "transformer: softmax over queries",
        FIRST,
        "softmax axis",
        softmax=lambda s: jax.nn.softmax(s, axis=-2),
    ),
    forward(
        "transformer: scores not scaled", FIRST, "attention scale", scores=lambda q, k: q @ k.mT
    ),
    forward(
        "transformer: scores scaled by the width of all heads",
        FIRST,
        "attention scale",
        scores=lambda q, k: q @ k.mT / math.sqrt(WIDTH),
    ),
    forward(
        "transformer: heads split features first", FIRST, "order of heads", heads=features_first
    ),
    forward(
        "transformer: heads joined without transposing back",
        FIRST,
        "missing transpose",
        joined=lambda x: x.reshape(len(x), LENGTH, WIDTH),
    ),
    forward("transformer: GELU by tanh", "blocks.0.gelu", "GELU", gelu=jax.nn.gelu),
    forward(
        "transformer: LayerNorm epsilon 1e-6",
        "blocks.0.norm1",
        "epsilon",
        norm=partial(norm, epsilon=1e-6),
    ),
    forward(
        "transformer: LayerNorm of the unbiased variance",
        "blocks.0.norm1",
        "unbiased variance",
        norm=partial(norm, ddof=1),
    ),
    forward(
        "transformer: no residual around attention",
        "blocks.0",
        "missing connection",
        attended=lambda x, y: y,
    ),
    forward("transformer: mean over padding too", "pool", "missing mask", pool=plain_mean),
    forward(
        "transformer: mean divides by the padded length",
        "pool",
        "padding counted",
        pool=over_length,
    ),
    forward(
        "transformer: dropout not scaled", "dropout", "dropout scale", step=1, dropped=undivided
    ),
    forward(
        "transformer: dropout missing",
        "dropout",
        "missing dropout",
        step=1,
        dropped=lambda x, key: x,
    ),
    forward(
        "transformer: dropout of another rate", "dropout", "dropout rate", step=1, dropped=rate_020
    ),
    Fault(
        "transformer: padding's embedding learns",
        pair(None, PlainMean, pool=plain_mean, embed=learnt_padding),
        "embedding",
        "backward",
        0,
        "padding_idx",
    ),
    Fault(
        "transformer: attention weights without gradient",
        pair(softmax=stopped_softmax),
        SECOND,
        "backward",
        0,
        "stopped gradient",
    ),
    Fault(
        "transformer: keys without gradient",
        pair(scores=stopped_keys),
        SECOND,
        "backward",
        0,
        "stopped gradient",
    ),
    Fault(
        "transformer: half the learning rate",
        pair(fdl.optim.adamw(5e-4)),
        "",
        "update",
        1,
        "learning rate",
    ),
    Fault(
        "transformer: decay of Optax's default",
        pair(optax.adamw(1e-3)),
        "",
        "update",
        1,
        "weight decay",
    ),
]
