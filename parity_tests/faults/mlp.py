"""Faults in a dense network, its loss, optimizer, schedule and clipping."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from faults.table import Fault, Pair

import fdl
import fdl.functional as F
from fdl import nn
from fdl.parity import TorchUpdate


class Dense(nn.Linear):
    """A layer to plant faults into."""


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


class HalfKink(nn.Module):
    def __call__(self, input):
        return jnp.maximum(input, 0)


def network(first=nn.Linear, second=nn.Linear, activation=nn.ReLU) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            first(6, 6, rngs=rngs), activation(), second(6, 6, rngs=rngs), nn.Linear(6, 3, rngs=rngs)
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
    given = {"loss": "cross_entropy", "optimizer": (torch.optim.AdamW, fdl.optim.adamw()), "steps": 3}
    return Pair(reference, candidate or network(), data or batches(), {**given, **options})


def torch_update(optimizer, *, schedule=None, clip=None, **options):
    def factory(parameters):
        made = optimizer(parameters, **options)
        return TorchUpdate(made, schedule(made) if schedule else None, clip)

    return factory


def sgd(ours, **options) -> dict[str, Any]:
    return {"optimizer": (lambda p: torch.optim.SGD(p, **options), ours)}


def adam(ours, optimizer=torch.optim.Adam, **options) -> dict[str, Any]:
    return {"optimizer": (lambda p: optimizer(p, **options), ours)}


def exponential(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


def clipped(parameters):
    return torch.nn.utils.clip_grad_norm_(parameters, 0.05)


def scheduled(ours) -> dict[str, Any]:
    return {"optimizer": (torch_update(torch.optim.SGD, schedule=exponential, lr=0.1), ours)}


def clipping(ours) -> dict[str, Any]:
    return {"optimizer": (torch_update(torch.optim.SGD, clip=clipped, lr=0.1), ours)}


def torch_clip(most: float, epsilon: float = 1e-6) -> optax.GradientTransformation:
    """Torch's clipping by the norm of all gradients."""

    def update(updates, state, params=None):
        norm = optax.tree.norm(updates)
        factor = jnp.minimum(1.0, most / (norm + epsilon))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def rate(factor_of_step):
    """SGD with a rate that is a function of the step, in the gradient's own dtype."""

    def update(updates, count, params=None):
        scale = factor_of_step(count.astype(jnp.result_type(float)))
        return jax.tree.map(lambda g: (-scale).astype(g.dtype) * g, updates), count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


def uncorrected_adam():
    """Adam without the correction of its moments' bias."""
    first, second = optax.ema(0.9, debias=False), optax.ema(0.999, debias=False)

    def init(params):
        return first.init(params), second.init(params)

    def update(updates, state, params=None):
        squares = jax.tree.map(jnp.square, updates)
        mean, mean_state = first.update(updates, state[0])
        square, square_state = second.update(squares, state[1])
        step = jax.tree.map(lambda m, v: -1e-3 * m / (jnp.sqrt(v) + 1e-8), mean, square)
        return step, (mean_state, square_state)

    return optax.GradientTransformation(init, update)


def loss_pair(ours, theirs=torch.nn.functional.cross_entropy) -> dict[str, Any]:
    return {"loss": (theirs, ours)}


def mean_of_all(x, target):
    """Counts ignored labels in the mean."""
    return F.cross_entropy(x, target, reduction="sum") / len(target)


class Unused(torch.nn.Module):
    """Has a parameter that no output depends on."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.used = torch.nn.Linear(6, 3)
        self.spare = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.used(x)


class UnusedPort(nn.Module):
    def __init__(self, rngs):
        self.used = nn.Linear(6, 3, rngs=rngs)
        self.spare = nn.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        return self.used(x)


adamw = fdl.optim.adamw

PAIRS = {
    "mlp, AdamW": pair(),
    "mlp, SGD with Nesterov": pair(
        **sgd(
            fdl.optim.sgd(0.1, momentum=0.9, nesterov=True), lr=0.1, momentum=0.9, nesterov=True
        )
    ),
    "mlp, exponential schedule": pair(**scheduled(rate(lambda t: 0.1 * 0.5**t))),
    "mlp, clipped": pair(**clipping(optax.chain(torch_clip(0.05), fdl.optim.sgd(0.1)))),
    "mlp, ignored labels": pair(data=batches(ignored=True)),
}

FAULTS = [
    Fault(
        "transposed square weight", pair(network(second=Transposed)), "2", "forward", 0,
        "transposed weight",
    ),
    Fault("no bias", pair(network(first=NoBias)), "0", "forward", 0, "missing bias"),
    Fault("bias twice", pair(network(second=TwiceBias)), "2", "forward", 0, "doubled bias"),
    Fault(
        "GELU by tanh",
        pair(network(activation=TanhGelu), reference=lambda: twin(torch.nn.GELU)),
        "1", "forward", 0, "GELU",
    ),
    Fault(
        "GELU by erf",
        pair(network(activation=ErfGelu), reference=lambda: twin(lambda: torch.nn.GELU("tanh"))),
        "1", "forward", 0, "GELU",
    ),
    Fault("SiLU for ReLU", pair(network(activation=lambda: jax.nn.silu)), "1", "forward", 0,
          "another activation"),
    Fault("bfloat16 product", pair(network(second=Bfloat16)), "2", "forward", 0, "rounding"),
    Fault(
        "bfloat16 product in float32 alone", pair(network(second=Bfloat16InFloat32)), "2",
        "forward", 0, "rounding", ("float64", "float32"),
    ),
    Fault("weight without gradient", pair(network(second=StoppedWeight)), "2", "backward", 0,
          "stopped gradient"),
    Fault(
        "summed loss", pair(**loss_pair(lambda x, t: F.cross_entropy(x, t, reduction="sum"))),
        "", "loss", 0, "reduction",
    ),
    Fault(
        "smoothed labels",
        pair(**loss_pair(lambda x, t: F.cross_entropy(x, t, label_smoothing=1e-6))),
        "", "loss", 0, "label smoothing",
    ),
    Fault(
        "softmax before cross entropy",
        pair(**loss_pair(lambda x, t: F.cross_entropy(jax.nn.softmax(x), t))),
        "", "loss", 0, "logits and probabilities",
    ),
    Fault(
        "ignored labels count in the mean",
        pair(data=batches(ignored=True), **loss_pair(mean_of_all)), "", "loss", 0, "ignore_index",
    ),
    Fault(
        "decay 1e-4 for 1e-2", pair(**adam(adamw(weight_decay=1e-4), torch.optim.AdamW)),
        "0", "update", 1, "weight decay",
    ),
    Fault(
        "coupled decay", pair(**adam(fdl.optim.adam(weight_decay=1e-2), torch.optim.AdamW)),
        "0", "update", 1, "weight decay",
    ),
    Fault(
        "decoupled decay", pair(**adam(adamw(weight_decay=1e-2), weight_decay=1e-2)),
        "0", "update", 1, "weight decay",
    ),
    Fault(
        "epsilon inside the root", pair(**adam(optax.adam(1e-3, eps=0.0, eps_root=1e-8))),
        "0", "update", 1, "epsilon inside the root",
    ),
    Fault("epsilon 1e-6", pair(**adam(fdl.optim.adam(eps=1e-6))), "0", "update", 1, "epsilon"),
    Fault(
        "no bias correction",
        pair(**adam(uncorrected_adam())),
        "0", "update", 1, "bias correction",
    ),
    Fault("betas", pair(**adam(fdl.optim.adam(betas=(0.9, 0.99)))), "0", "update", 2, "betas"),
    Fault(
        "no Nesterov",
        pair(**sgd(fdl.optim.sgd(0.1, momentum=0.9), lr=0.1, momentum=0.9, nesterov=True)),
        "0", "update", 1, "Nesterov",
    ),
    Fault(
        "no dampening",
        pair(**sgd(fdl.optim.sgd(0.1, momentum=0.9), lr=0.1, momentum=0.9, dampening=0.5)),
        "0", "update", 2, "dampening",
    ),
    Fault(
        "momentum as an average",
        pair(**sgd(optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1)), lr=0.1, momentum=0.9)),
        "0", "update", 1, "momentum",
    ),
    Fault("twice the rate", pair(**sgd(fdl.optim.sgd(0.2), lr=0.1)), "0", "update", 1,
          "learning rate"),
    Fault("uphill", pair(**sgd(fdl.optim.sgd(0.1, maximize=True), lr=0.1)), "0", "update", 1, "sign"),
    Fault(
        "schedule a step ahead", pair(**scheduled(rate(lambda t: 0.1 * 0.5 ** (t + 1)))),
        "0", "update", 1, "schedule off by one",
    ),
    Fault(
        "schedule a step behind",
        pair(**scheduled(rate(lambda t: 0.1 * 0.5 ** jnp.maximum(t - 1, 0)))),
        "0", "update", 2, "schedule off by one",
    ),
    Fault("no schedule", pair(**scheduled(fdl.optim.sgd(0.1))), "0", "update", 2,
          "missing schedule"),
    Fault(
        "clipped without epsilon",
        pair(**clipping(optax.chain(torch_clip(0.05, 0.0), fdl.optim.sgd(0.1)))),
        "0", "update", 1, "clip epsilon",
    ),
    Fault("not clipped", pair(**clipping(fdl.optim.sgd(0.1))), "0", "update", 1,
          "missing clipping"),
    Fault(
        "unused parameter decays",
        pair(fdl.as_model(UnusedPort), reference=Unused),
        "spare", "update", 1, "parameter without gradient",
    ),
]
