"""Faults in a bag of words and a bidirectional gated recurrent unit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn

WORDS, WIDTH, HIDDEN, PAD = 7, 3, 4, 0


class OtherGRU(nn.GRU):
    """A gated recurrent unit with another step."""

    def __call__(self, input, hx=None):
        return self._run(self.stack, input, hx, None)

    def stack(self, sequence, hx, weights, *_dropout, **_options):
        finals = []
        for directions in weights:
            ran = [self.direction(w, sequence, k == 1) for k, w in enumerate(directions)]
            sequence = jnp.concatenate([outputs for outputs, _ in ran], -1)
            finals += [final for _, final in ran]
        return sequence, jnp.stack(finals)

    def direction(self, weights, sequence, reverse):
        def advance(hidden, projected):
            (new,) = self.step(weights, projected, (hidden,))
            return new, new

        projected = F.linear(sequence, weights.weight_ih, weights.bias_ih)
        start = jnp.zeros_like(projected[0, :, :HIDDEN])
        final, outputs = jax.lax.scan(advance, start, projected, reverse=reverse)
        return outputs, final


def gates(weights, projected, hidden):
    """The gates r and z, and the input's part of n."""
    recalled = F.linear(hidden, weights.weight_hh, weights.bias_hh)
    r, z, _ = jnp.split(jax.nn.sigmoid(projected + recalled), 3, -1)
    return r, z, jnp.split(projected, 3, -1)[2]


class ResetBefore(OtherGRU):
    """Keras' ``reset_after=False``, and the paper's first version."""

    @staticmethod
    def step(weights, projected, state):
        (hidden,) = state
        r, z, given = gates(weights, projected, hidden)
        recalled = F.linear(r * hidden, weights.weight_hh[-HIDDEN:], weights.bias_hh[-HIDDEN:])
        return ((1 - z) * jnp.tanh(given + recalled) + z * hidden,)


class MergedBiases(OtherGRU):
    """As nnx.GRUCell, whose hidden product has no bias of its own: the reset gate misses it."""

    @staticmethod
    def step(weights, projected, state):
        (hidden,) = state
        r, z, given = gates(weights, projected, hidden)
        recalled = F.linear(hidden, weights.weight_hh[-HIDDEN:])
        n = jnp.tanh(given + weights.bias_hh[-HIDDEN:] + r * recalled)
        return ((1 - z) * n + z * hidden,)


class ExchangedUpdate(OtherGRU):
    """The paper's z is torch's 1 - z."""

    @staticmethod
    def step(weights, projected, state):
        (hidden,) = state
        r, z, given = gates(weights, projected, hidden)
        recalled = F.linear(hidden, weights.weight_hh[-HIDDEN:], weights.bias_hh[-HIDDEN:])
        return (z * jnp.tanh(given + r * recalled) + (1 - z) * hidden,)


class Unturned(nn.GRU):
    """The backward direction's outputs stay in the order in which they were computed."""

    def __call__(self, input, hx=None):
        output, final = super().__call__(input, hx)
        forward, backward = jnp.split(output, 2, -1)
        return jnp.concatenate([forward, backward[:, ::-1]], -1), final


class PaddedBag(nn.EmbeddingBag):
    def __call__(self, input):
        return F.embedding(input, self.weight[...]).mean(1)


class LongBag(nn.EmbeddingBag):
    """Leaves padding out of the sum, and counts it in the mean."""

    def __call__(self, input):
        words = F.embedding(input, self.weight[...])
        return jnp.where((input == PAD)[..., None], 0, words).mean(1)


class SummedBag(nn.EmbeddingBag):
    def __call__(self, input):
        return F.embedding_bag(input, self.weight[...], mode="sum", padding_idx=PAD)


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.bag = torch.nn.EmbeddingBag(WORDS, WIDTH, padding_idx=PAD)
        self.embedding = torch.nn.Embedding(WORDS, WIDTH)
        self.gru = torch.nn.GRU(WIDTH, HIDDEN, 2, batch_first=True, bidirectional=True)
        self.fc = torch.nn.Linear(WIDTH + 2 * HIDDEN, 2)
        torch.nn.init.normal_(self.bag.weight)  # the padding's row too, as a checkpoint may have it

    def forward(self, tokens):
        states = self.gru(self.embedding(tokens))[0]
        return self.fc(torch.cat([self.bag(tokens), states.mean(1)], 1))


class Port(nn.Module):
    def __init__(self, rngs: nnx.Rngs, gru: Any = nn.GRU, bag: Any = nn.EmbeddingBag):
        self.bag = bag(WORDS, WIDTH, padding_idx=PAD, rngs=rngs)
        self.embedding = nn.Embedding(WORDS, WIDTH, rngs=rngs)
        self.gru = gru(WIDTH, HIDDEN, 2, batch_first=True, bidirectional=True, rngs=rngs)
        self.fc = nn.Linear(WIDTH + 2 * HIDDEN, 2, rngs=rngs)

    def __call__(self, tokens):
        states = self.gru(self.embedding(tokens))[0]
        return self.fc(jnp.concatenate([self.bag(tokens), states.mean(1)], 1))


def batches() -> list[Any]:
    generator = np.random.default_rng(0)
    made = []
    for _ in range(2):
        tokens = generator.integers(1, WORDS, (4, 5))
        for row, length in enumerate((5, 3, 4, 2)):
            tokens[row, length:] = PAD
        made.append((tokens, generator.integers(0, 2, 4)))
    return made


def pair(**layers: Any) -> Pair:
    options = {"optimizer": (torch.optim.SGD, fdl.optim.sgd()), "steps": 2}
    candidate = fdl.as_model(lambda rngs: Port(rngs, **layers))
    return Pair(Tagger, candidate, batches(), {"loss": "cross_entropy", **options})


def at(name: str, module: str, cause: str, **layers: Any) -> Fault:
    return Fault(name, pair(**layers), module, "forward", 0, cause)


PAIRS = {"bag of words and bidirectional gru": pair()}

FAULTS = [
    at("reset gate before the product", "gru", "reset gate", gru=ResetBefore),
    at("reset gate misses the bias", "gru", "reset gate", gru=MergedBiases),
    at("update gate exchanged", "gru", "update gate", gru=ExchangedUpdate),
    at("backward direction not turned back", "gru", "direction", gru=Unturned),
    at("bag's mean over padding", "bag", "padding counted", bag=PaddedBag),
    at("bag's mean by the padded length", "bag", "padding counted", bag=LongBag),
    at("bag summed", "bag", "reduction of a bag", bag=SummedBag),
]
