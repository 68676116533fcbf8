"""Faults in activations, their kinks, and norms of signals."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn


class Clipped(nn.Hardtanh):
    """``jnp.clip`` has the gradient 1/2 at its bounds."""

    def __call__(self, input):
        return jnp.clip(input, -1, 1)


class JaxHardTanh(nn.Hardtanh):
    """``jax.nn.hard_tanh`` has the gradient 1 at its bounds."""

    def __call__(self, input):
        return jax.nn.hard_tanh(input)


class JaxLeaky(nn.PReLU):
    """``jax.nn.leaky_relu`` has the gradient 1 at 0."""

    def __call__(self, input):
        return jnp.where(input >= 0, input, self.weight[...] * input)


class ConstantSlope(nn.PReLU):
    """The slope that Flax's PReLU begins with, and no learning."""

    def __call__(self, input):
        return F.leaky_relu(input, 0.01) + 0 * self.weight[...]


class BiasedVariance(nn.InstanceNorm1d):
    def __call__(self, input):
        before = self.running_var[...]
        output = super().__call__(input)
        if self.training:
            self.running_var[...] = 0.9 * before + 0.1 * input.var(2).mean(0)
        return output


class OwnStatistics(nn.InstanceNorm1d):
    """Flax's has no running statistics, and uses the sample's in evaluation too."""

    def __call__(self, input):
        if self.training:
            return super().__call__(input)
        return F.instance_norm(input, None, None, *self._affine(), eps=self.eps).output


class Unbounded(nn.Softplus):
    def __call__(self, input):
        return jax.nn.softplus(self.beta * input) / self.beta


class PlainSoftplus(nn.Softplus):
    def __call__(self, input):
        return jax.nn.softplus(input)


class Centred(nn.RMSNorm):
    def __call__(self, x):
        return F.layer_norm(x, (6,), self.weight[...], eps=float(jnp.finfo(x.dtype).eps))


def network(
    hardtanh: Any = nn.Hardtanh,
    prelu: Any = nn.PReLU,
    norm: Any = nn.InstanceNorm1d,
    softplus: Any = nn.Softplus,
    rms: Any = nn.RMSNorm,
) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            hardtanh(),
            prelu(),
            norm(4, affine=True, track_running_stats=True),
            softplus(beta=2.0, threshold=3.0),
            rms(6),
            nn.Flatten(),
            nn.Linear(24, 3, rngs=rngs),
        )
    )


def twin() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn
    made = layers.Sequential(
        layers.Hardtanh(),
        layers.PReLU(),
        layers.InstanceNorm1d(4, affine=True, track_running_stats=True),
        layers.Softplus(beta=2.0, threshold=3.0),
        layers.RMSNorm(6),
        layers.Flatten(),
        layers.Linear(24, 3),
    )
    for layer in made[2], made[4]:
        for tensor in (*layer.parameters(), *layer.buffers()):
            if tensor.is_floating_point():
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
    return made


def batches() -> list[Any]:
    """Signals in steps of 1/2, so that many values are at a kink."""
    generator = np.random.default_rng(0)
    signals = np.round(2 * generator.normal(size=(2, 4, 4, 6))) / 2
    return [(x, generator.integers(0, 3, 4)) for x in signals]


def pair(**layers: Any) -> Pair:
    options = {"optimizer": (torch.optim.SGD, fdl.optim.sgd()), "steps": 2}
    return Pair(twin, network(**layers), batches(), {"loss": "cross_entropy", **options})


def at(name: str, module: str, phase: str, step: int, cause: str, **layers: Any) -> Fault:
    return Fault(name, pair(**layers), module, phase, step, cause)


KINK = "gradient at the kink"
FLAX_MOMENTUM = partial(nn.InstanceNorm1d, momentum=0.9)

PAIRS = {"signals": pair()}

FAULTS = [
    at("hardtanh by jnp.clip", "0", "backward", 0, KINK, hardtanh=Clipped),
    at("hardtanh by jax.nn", "0", "backward", 0, KINK, hardtanh=JaxHardTanh),
    at("PReLU with gradient 1 at 0", "1", "backward", 0, KINK, prelu=JaxLeaky),
    at("PReLU that is not learnt", "1", "forward", 0, "negative slope", prelu=ConstantSlope),
    at(
        *("instance norm: biased running variance", "2", "buffer", 1, "biased variance"),
        norm=BiasedVariance,
    ),
    at(
        *("instance norm: momentum as Flax has it", "2", "buffer", 1, "momentum convention"),
        norm=FLAX_MOMENTUM,
    ),
    at(
        *("instance norm without running statistics", "2", "forward", 0),
        "train instead of eval mode",
        norm=OwnStatistics,
    ),
    at("softplus without threshold", "3", "forward", 0, "softplus", softplus=Unbounded),
    at("softplus without beta", "3", "forward", 0, "softplus", softplus=PlainSoftplus),
    at(
        *("RMS norm with Flax's epsilon", "4", "forward", 0, "epsilon"),
        rms=partial(nn.RMSNorm, eps=1e-6),
    ),
    at("RMS norm subtracts the mean", "4", "forward", 0, "centring", rms=Centred),
]
