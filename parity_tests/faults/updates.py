"""Faults in the updates of a dense network: optimizer, schedule and clipping."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch

import fdl
from faults.mlp import pair, twin
from faults.table import Fault
from fdl import nn
from fdl.parity import TorchUpdate


def torch_update(optimizer, *, schedule=None, clip=None, every=1, **options):
    def factory(parameters):
        made = optimizer(parameters, **options)
        return TorchUpdate(made, schedule(made) if schedule else None, clip, every)

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


def from_zero() -> torch.nn.Module:
    """A network whose biases start at 0, so that they are as large as their updates."""
    network = twin()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
    return network


adamw = fdl.optim.adamw

PAIRS = {
    "mlp, SGD with Nesterov": pair(
        **sgd(fdl.optim.sgd(0.1, momentum=0.9, nesterov=True), lr=0.1, momentum=0.9, nesterov=True)
    ),
    "mlp, exponential schedule": pair(**scheduled(rate(lambda t: 0.1 * 0.5**t))),
    "mlp, clipped": pair(**clipping(optax.chain(torch_clip(0.05), fdl.optim.sgd(0.1)))),
}

FAULTS = [
    Fault(
        "decay 1e-4 for 1e-2",
        pair(**adam(adamw(weight_decay=1e-4), torch.optim.AdamW)),
        "0",
        "update",
        1,
        "weight decay",
    ),
    Fault(
        "coupled decay",
        pair(**adam(fdl.optim.adam(weight_decay=1e-2), torch.optim.AdamW)),
        "0",
        "update",
        1,
        "weight decay",
    ),
    Fault(
        "decoupled decay",
        pair(**adam(adamw(weight_decay=1e-2), weight_decay=1e-2)),
        "0",
        "update",
        1,
        "weight decay",
    ),
    Fault(
        "epsilon inside the root",
        pair(**adam(optax.adam(1e-3, eps=0.0, eps_root=1e-8))),
        "0",
        "update",
        1,
        "epsilon inside the root",
    ),
    Fault("epsilon 1e-6", pair(**adam(fdl.optim.adam(eps=1e-6))), "0", "update", 1, "epsilon"),
    Fault(
        "no bias correction",
        pair(**adam(uncorrected_adam())),
        "0",
        "update",
        1,
        "bias correction",
    ),
    Fault("betas", pair(**adam(fdl.optim.adam(betas=(0.9, 0.99)))), "0", "update", 2, "betas"),
    Fault(
        "no Nesterov",
        pair(**sgd(fdl.optim.sgd(0.1, momentum=0.9), lr=0.1, momentum=0.9, nesterov=True)),
        "0",
        "update",
        1,
        "Nesterov",
    ),
    Fault(
        "no dampening",
        pair(**sgd(fdl.optim.sgd(0.1, momentum=0.9), lr=0.1, momentum=0.9, dampening=0.5)),
        "0",
        "update",
        2,
        "dampening",
    ),
    Fault(
        "momentum as an average",
        pair(
            **sgd(
                optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1)), lr=0.1, momentum=0.9
            )
        ),
        "0",
        "update",
        1,
        "momentum",
    ),
    Fault(
        "twice the rate", pair(**sgd(fdl.optim.sgd(0.2), lr=0.1)), "0", "update", 1, "learning rate"
    ),
    Fault(
        "uphill", pair(**sgd(fdl.optim.sgd(0.1, maximize=True), lr=0.1)), "0", "update", 1, "sign"
    ),
    Fault(
        "schedule a step ahead",
        pair(**scheduled(rate(lambda t: 0.1 * 0.5 ** (t + 1)))),
        "0",
        "update",
        1,
        "schedule off by one",
    ),
    Fault(
        "schedule a step behind",
        pair(**scheduled(rate(lambda t: 0.1 * 0.5 ** jnp.maximum(t - 1, 0)))),
        "0",
        "update",
        2,
        "schedule off by one",
    ),
    Fault(
        "no schedule", pair(**scheduled(fdl.optim.sgd(0.1))), "0", "update", 2, "missing schedule"
    ),
    Fault(
        "clipped without epsilon",
        pair(**clipping(optax.chain(torch_clip(0.05, 0.0), fdl.optim.sgd(0.1)))),
        "0",
        "update",
        1,
        "clip epsilon",
    ),
    Fault(
        "not clipped", pair(**clipping(fdl.optim.sgd(0.1))), "0", "update", 1, "missing clipping"
    ),
    Fault(
        "bias correction in float32",
        pair(**adam(optax.adamw(1e-3, weight_decay=1e-2), torch.optim.AdamW), reference=from_zero),
        "0",
        "update",
        1,
        "bias correction in float32",
        ("float64", "float32"),
    ),
    Fault(
        "unused parameter decays",
        pair(fdl.as_model(UnusedPort), reference=Unused),
        "spare",
        "update",
        1,
        "parameter without gradient",
    ),
]
