"""Faults in an LSTM and its readout."""

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


class Changed(nn.LSTM):
    """An LSTM whose weights are changed before use."""

    def change(self, weights: F.LSTMWeights) -> F.LSTMWeights:
        return weights

    def _weights(self, layer: int, suffix: str) -> F.LSTMWeights:
        return self.change(super()._weights(layer, suffix))


class SwappedGates(Changed):
    """Gates in the order of Keras' i, f, c, o read as i, f, o, c."""

    def change(self, weights):
        def swapped(tensor):
            i, f, g, o = jnp.split(tensor, 4)
            return jnp.concatenate([i, f, o, g])

        return F.LSTMWeights(*(None if t is None else swapped(t) for t in weights))


class OneBias(Changed):
    def change(self, weights):
        return weights._replace(bias_hh=jnp.zeros_like(weights.bias_hh))


class StoppedInput(Changed):
    def change(self, weights):
        return weights._replace(weight_ih=jax.lax.stop_gradient(weights.weight_ih))


class NoDropout(nn.LSTM):
    def __call__(self, input, hx=None):
        training, self.training = self.training, False
        output = super().__call__(input, hx)
        self.training = training
        return output


class Readout(nn.Module):
    def __init__(self, rngs: nnx.Rngs, lstm: type = nn.LSTM, read: Any = lambda y: y[:, -1]):
        self.lstm = lstm(3, 4, 2, batch_first=True, dropout=0.5, rngs=rngs)
        self.fc = nn.Linear(4, 2, rngs=rngs)
        self.read = read

    def __call__(self, x):
        return self.fc(self.read(self.lstm(x)[0]))


class TorchReadout(torch.nn.Module):
    """Reads the outputs at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 4, 2, batch_first=True, dropout=0.5)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


def twin() -> torch.nn.Module:
    torch.manual_seed(0)
    return TorchReadout()


def pair(**changes: Any) -> Pair:
    generator = np.random.default_rng(0)
    batches = [(generator.normal(size=(4, 5, 3)), generator.integers(0, 2, 4)) for _ in range(2)]
    options = {"optimizer": (torch.optim.Adam, fdl.optim.adam()), "steps": 2}
    candidate = fdl.as_model(lambda rngs: Readout(rngs, **changes))
    return Pair(twin, candidate, batches, {"loss": "cross_entropy", **options})


def at(name: str, module: str, phase: str, step: int, cause: str, **changes: Any) -> Fault:
    return Fault(name, pair(**changes), module, phase, step, cause)


PAIRS = {"two-layer lstm with dropout": pair()}

FAULTS = [
    at("gates swapped", "lstm", "forward", 0, "gate order", lstm=SwappedGates),
    at("one of two biases", "lstm", "forward", 0, "missing bias", lstm=OneBias),
    at("input weights do not learn", "lstm", "backward", 0, "stopped gradient", lstm=StoppedInput),
    at("no dropout between layers", "lstm", "forward", 1, "missing dropout", lstm=NoDropout),
    at("first step read", "", "forward", 0, "time step", read=lambda y: y[:, 0]),
    at("mean over time", "", "forward", 0, "time step", read=lambda y: y.mean(1)),
]
