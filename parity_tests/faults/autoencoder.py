"""Faults in an autoencoder, on inputs that are often exactly zero, and in its loss."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn


class HalfKink(nn.Module):
    def __call__(self, input):
        return jnp.maximum(input, 0)


class NoOutput(nn.Module):
    def __call__(self, input):
        return input


class HardSigmoid(nn.Module):
    def __call__(self, input):
        return jax.nn.hard_sigmoid(input)


def network(kink=nn.ReLU, last=nn.Sigmoid) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            kink(),
            nn.Sequential(nn.Linear(8, 3, rngs=rngs), nn.Tanh()),
            nn.Sequential(nn.Linear(3, 8, rngs=rngs), last()),
        )
    )


def twin() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn
    return layers.Sequential(
        layers.ReLU(),
        layers.Sequential(layers.Linear(8, 3), layers.Tanh()),
        layers.Sequential(layers.Linear(3, 8), layers.Sigmoid()),
    )


def pair(loss: Any = "mse_loss", **changes: Any) -> Pair:
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(2, 4, 8)) * (generator.random((2, 4, 8)) > 0.5)
    batches = [(x, np.abs(x)) for x in inputs]
    given = loss if isinstance(loss, str) else (torch.nn.functional.mse_loss, loss)
    options = {"loss": given, "optimizer": (torch.optim.SGD, fdl.optim.sgd()), "steps": 2}
    return Pair(twin, network(**changes), batches, options)


PAIRS = {"autoencoder": pair()}

FAULTS = [
    Fault(
        "half a gradient at the kink",
        pair(kink=HalfKink),
        "0",
        "backward",
        0,
        "gradient at the kink",
    ),
    Fault("no sigmoid", pair(last=NoOutput), "2.1", "forward", 0, "another activation"),
    Fault("hard sigmoid", pair(last=HardSigmoid), "2.1", "forward", 0, "another activation"),
    Fault(
        "half the squared error",
        pair(lambda x, t: F.mse_loss(x, t) / 2),
        "",
        "loss",
        0,
        "half of the square",
    ),
    Fault(
        "summed over features",
        pair(lambda x, t: jnp.sum((x - t) ** 2) / len(x)),
        "",
        "loss",
        0,
        "reduction",
    ),
    Fault(
        "absolute error", pair(lambda x, t: jnp.abs(x - t).mean()), "", "loss", 0, "another loss"
    ),
    Fault("huge loss", pair(lambda x, t: F.mse_loss(x, t) + 1.0), "", "loss", 0, "offset"),
]
