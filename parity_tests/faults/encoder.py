"""A small transformer encoder: modules in torch, plain functions with taps in JAX."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import torch

from fdl.parity import tap

WIDTH, HEADS, LENGTH, CLASSES, VOCABULARY, PAD = 8, 2, 6, 3, 11, 0


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q = torch.nn.Linear(WIDTH, WIDTH)
        self.k = torch.nn.Linear(WIDTH, WIDTH)
        self.v = torch.nn.Linear(WIDTH, WIDTH)
        self.dropout = torch.nn.Dropout(0.1)
        self.out = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x, padding):
        q, k, v = (self.heads(project(x)) for project in (self.q, self.k, self.v))
        scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(WIDTH // HEADS)
        scores = scores.masked_fill(padding[:, None, None, :], -math.inf)
        mixed = torch.matmul(self.dropout(scores.softmax(-1)), v)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def heads(self, x):
        return x.view(len(x), LENGTH, HEADS, WIDTH // HEADS).transpose(1, 2)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1 = torch.nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.norm2 = torch.nn.LayerNorm(WIDTH)
        self.fc1 = torch.nn.Linear(WIDTH, 2 * WIDTH)
        self.gelu = torch.nn.GELU()
        self.fc2 = torch.nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x, padding):
        x = x + self.attention(self.norm1(x), padding)
        return x + self.fc2(self.gelu(self.fc1(self.norm2(x))))


class MaskedMean(torch.nn.Module):
    def forward(self, x, padding):
        kept = (~padding)[:, :, None].to(x.dtype)
        return (x * kept).sum(1) / kept.sum(1)


class PlainMean(torch.nn.Module):
    def forward(self, x, padding):
        return x.mean(1)


class Classifier(torch.nn.Module):
    def __init__(self, pool):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(VOCABULARY, WIDTH, padding_idx=PAD)
        self.positions = torch.nn.Parameter(0.3 * torch.randn(LENGTH, WIDTH))
        self.dropout = torch.nn.Dropout(0.1)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(2))
        self.pool = pool
        self.head = torch.nn.Linear(WIDTH, CLASSES)
        for name, parameter in self.named_parameters():
            if "norm" in name:
                torch.nn.init.normal_(parameter, 1.0, 0.2)

    def forward(self, tokens):
        padding = tokens == PAD
        x = self.dropout(self.embedding(tokens) + self.positions)
        for block in self.blocks:
            x = block(x, padding)
        return self.head(self.pool(x, padding))


def embed(params, name, tokens):
    rows = params[f"{name}.weight"][tokens]
    return jnp.where((tokens == PAD)[..., None], jax.lax.stop_gradient(rows), rows)


def linear(params, name, x):
    return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]


def norm(params, name, x, epsilon=1e-5, ddof=0):
    centred = x - x.mean(-1, keepdims=True)
    y = centred / jnp.sqrt(x.var(-1, keepdims=True, ddof=ddof) + epsilon)
    return y * params[f"{name}.weight"] + params[f"{name}.bias"]


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def dropped(x, key, rate=0.1):
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0)


def heads(x):
    return x.reshape(len(x), LENGTH, HEADS, WIDTH // HEADS).swapaxes(1, 2)


def joined(x):
    return x.swapaxes(1, 2).reshape(len(x), LENGTH, WIDTH)


def scores(q, k):
    return q @ k.mT / math.sqrt(WIDTH // HEADS)


def masked(values, padding):
    return jnp.where(padding[:, None, None, :], -jnp.inf, values)


def masked_mean(x, padding):
    kept = ~padding[:, :, None]
    return jnp.where(kept, x, 0).sum(1) / kept.sum(1).astype(x.dtype)


def plain_mean(x, padding):
    return x.mean(1)


def added(x, y):
    return x + y


class Parts(NamedTuple):
    """What the port is made of; a fault puts another function in one place."""

    embed: Callable = embed
    placed: Callable = added
    linear: Callable = linear
    norm: Callable = norm
    gelu: Callable = gelu
    dropped: Callable = dropped
    heads: Callable = heads
    scores: Callable = scores
    masked: Callable = masked
    softmax: Callable = jax.nn.softmax
    joined: Callable = joined
    attended: Callable = added
    fed: Callable = added
    pool: Callable = masked_mean


def port(**changed) -> Callable:
    """The classifier in JAX, as a function of torch's `state_dict`."""
    part = Parts(**changed)

    def linear(params, name, x):
        return tap(name, part.linear(params, name, x))

    def norm(params, name, x):
        return tap(name, part.norm(params, name, x))

    def dropout(name, x, key):
        return tap(name, x if key is None else part.dropped(x, key))

    def attention(params, name, x, padding, key):
        q, k, v = (part.heads(linear(params, f"{name}.{which}", x)) for which in "qkv")
        scores = part.masked(part.scores(q, k), padding)
        mixed = dropout(f"{name}.dropout", part.softmax(scores), key) @ v
        return tap(name, linear(params, f"{name}.out", part.joined(mixed)))

    def block(params, name, x, padding, key):
        y = norm(params, f"{name}.norm1", x)
        x = part.attended(x, attention(params, f"{name}.attention", y, padding, key))
        y = linear(params, f"{name}.fc1", norm(params, f"{name}.norm2", x))
        y = linear(params, f"{name}.fc2", tap(f"{name}.gelu", part.gelu(y)))
        return tap(name, part.fed(x, y))

    def classifier(params, tokens, train=False, key=None):
        keys = jax.random.split(key, 3) if train else [None] * 3
        padding = tokens == PAD
        x = tap("embedding", part.embed(params, "embedding", tokens))
        x = dropout("dropout", part.placed(x, params["positions"]), keys[0])
        for i in range(2):
            x = block(params, f"blocks.{i}", x, padding, keys[1 + i])
        return linear(params, "head", tap("pool", part.pool(x, padding)))

    return classifier
