"""Faults in a dense network and its loss."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn


class Transposed(nn.Linear):
    def __call__(self, input):
        return input @ self.weight[...] + self.bias[...]


class NoBias(nn.Linear):
    def __call__(self, input):
        return input @ self.weight[...].T


class TwiceBias(nn.Linear):
    def __call__(self, input):
        return input @ self.weight[...].T + 2 * self.bias[...]


class Bfloat16(nn.Linear):
    def __call__(self, input):
        rounded = (t.astype(jnp.bfloat16) for t in (input, self.weight[...]))
        return F.linear(*rounded).astype(input.dtype) + self.bias[...]


class Bfloat16InFloat32(nn.Linear):
    """Right in meaning, not in precision."""

    def __call__(self, input):
        precise = input.dtype == jnp.float64
        return (nn.Linear if precise else Bfloat16).__call__(self, input)


class StoppedWeight(nn.Linear):
    def __call__(self, input):
        weight = jax.lax.stop_gradient(self.weight[...])
        return input @ weight.T + self.bias[...]


class TanhGelu(nn.Module):
    def __call__(self, input):
        return jax.nn.gelu(input, approximate=True)


class ErfGelu(nn.Module):
    def __call__(self, input):
        return jax.nn.gelu(input, approximate=False)


def network(first=nn.Linear, second=nn.Linear, activation=nn.ReLU) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            first(6, 6, rngs=rngs),
            activation(),
            second(6, 6, rngs=rngs),
            nn.Linear(6, 3, rngs=rngs),
        )
    )


def twin(activation=torch.nn.ReLU) -> torch.nn.Module:
    torch.manual_seed(0)
    linear = torch.nn.Linear
    return torch.nn.Sequential(linear(6, 6), activation(), linear(6, 6), linear(6, 3))


def batches(ignored: bool = False) -> list[Any]:
    generator = np.random.default_rng(0)
    made = []
    for _ in range(3):
        target = generator.integers(0, 3, 8)
        if ignored:
            target[:3] = -100
        made.append((generator.normal(size=(8, 6)), target))
    return made


def pair(candidate=None, *, reference=twin, data=None, **options) -> Pair:
    given = {
        "loss": "cross_entropy",
        "optimizer": (torch.optim.AdamW, fdl.optim.adamw()),
        "steps": 3,
    }
    return Pair(reference, candidate or network(), data or batches(), {**given, **options})


def loss_pair(ours) -> dict[str, Any]:
    return {"loss": (torch.nn.functional.cross_entropy, ours)}


def mean_of_all(x, target):
    """Counts ignored labels in the mean."""
    return F.cross_entropy(x, target, reduction="sum") / len(target)


PAIRS = {
    "mlp, AdamW": pair(),
    "mlp, ignored labels": pair(data=batches(ignored=True)),
}

FAULTS = [
    Fault(
        "transposed square weight",
        pair(network(second=Transposed)),
        "2",
        "forward",
        0,
        "transposed weight",
    ),
    Fault("no bias", pair(network(first=NoBias)), "0", "forward", 0, "missing bias"),
    Fault("bias twice", pair(network(second=TwiceBias)), "2", "forward", 0, "doubled bias"),
    Fault(
        "GELU by tanh",
        pair(network(activation=TanhGelu), reference=lambda: twin(torch.nn.GELU)),
        "1",
        "forward",
        0,
        "GELU",
    ),
    Fault(
        "GELU by erf",
        pair(network(activation=ErfGelu), reference=lambda: twin(lambda: torch.nn.GELU("tanh"))),
        "1",
        "forward",
        0,
        "GELU",
    ),
    Fault(
        "SiLU for ReLU",
        pair(network(activation=nn.SiLU)),
        "1",
        "forward",
        0,
        "another activation",
    ),
    Fault("bfloat16 product", pair(network(second=Bfloat16)), "2", "forward", 0, "rounding"),
    Fault(
        "bfloat16 product in float32 alone",
        pair(network(second=Bfloat16InFloat32)),
        "2",
        "forward",
        0,
        "rounding",
        ("float64", "float32"),
    ),
    Fault(
        "weight without gradient",
        pair(network(second=StoppedWeight)),
        "2",
        "backward",
        0,
        "stopped gradient",
    ),
    Fault(
        "summed loss",
        pair(**loss_pair(lambda x, t: F.cross_entropy(x, t, reduction="sum"))),
        "",
        "loss",
        0,
        "reduction",
    ),
    Fault(
        "smoothed labels",
        pair(**loss_pair(lambda x, t: F.cross_entropy(x, t, label_smoothing=1e-6))),
        "",
        "loss",
        0,
        "label smoothing",
    ),
    Fault(
        "softmax before cross entropy",
        pair(**loss_pair(lambda x, t: F.cross_entropy(jax.nn.softmax(x), t))),
        "",
        "loss",
        0,
        "logits and probabilities",
    ),
    Fault(
        "ignored labels count in the mean",
        pair(data=batches(ignored=True), **loss_pair(mean_of_all)),
        "",
        "loss",
        0,
        "ignore_index",
    ),
]
