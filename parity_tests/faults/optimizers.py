"""Faults in optimizers: what ports make of torch's, Optax's own of the same name among them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import fdl
from faults.mlp import pair
from faults.table import Fault, Pair
from faults.updates import exponential, torch_update
from fdl import nn, optim


def linears() -> fdl.Model:
    """Two layers: as little to compile as a rule for arrays needs."""
    return fdl.as_model(
        lambda rngs: nn.Sequential(nn.Linear(6, 6, rngs=rngs), nn.Linear(6, 3, rngs=rngs))
    )


def twin() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 3))


def matrices() -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            nn.Linear(6, 6, bias=False, rngs=rngs), nn.Linear(6, 3, bias=False, rngs=rngs)
        )
    )


def matrix_twin() -> torch.nn.Module:
    torch.manual_seed(0)
    linear = torch.nn.Linear
    return torch.nn.Sequential(linear(6, 6, bias=False), linear(6, 3, bias=False))


def trained(theirs, ours, *, steps: int = 3, **options) -> Pair:
    """The two layers under an optimizer: torch's factory and the transform."""
    return pair(linears(), reference=twin, optimizer=(theirs, ours), steps=steps, **options)


def by_muon(ours) -> Pair:
    made = {"reference": matrix_twin, "optimizer": (torch.optim.Muon, ours)}
    return pair(matrices(), **made)


def falling(optimizer, **options):
    """Torch's optimizer under :func:`exponential`."""
    return torch_update(optimizer, schedule=exponential, **options)


def bags() -> list[Any]:
    generator = np.random.default_rng(0)
    return [(generator.integers(0, 9, (4, 2)), generator.integers(0, 3, 4)) for _ in range(3)]


def embedded(ours) -> Pair:
    """Bags of words under SparseAdam."""

    def reference():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.EmbeddingBag(9, 3, sparse=True))

    def port(rngs):
        return nn.Sequential(nn.EmbeddingBag(9, 3, rngs=rngs))

    optimizer = (lambda p: torch.optim.SparseAdam(p, lr=0.1), ours)
    return pair(fdl.as_model(port), reference=reference, data=bags(), optimizer=optimizer)


def convolved(ours) -> Pair:
    """A convolution under Adafactor."""

    def reference():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Conv2d(4, 5, 3), torch.nn.Flatten())

    def port(rngs):
        return nn.Sequential(nn.Conv2d(4, 5, 3, rngs=rngs), nn.Flatten())

    generator = np.random.default_rng(0)
    data = [(generator.normal(size=(8, 4, 3, 3)), generator.integers(0, 5, 8)) for _ in range(3)]
    optimizer = (torch.optim.Adafactor, ours)
    return pair(fdl.as_model(port), reference=reference, data=data, optimizer=optimizer)


def adamax_of_the_paper(lr, eps):
    """Adamax with epsilon where Adam has it."""

    def init(params):
        zeros = optax.tree.zeros_like(params)
        return jnp.zeros((), jnp.int32), zeros, zeros

    def update(updates, state, params=None):
        count, mean, most = state[0] + 1, state[1], state[2]
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, updates)
        most = jax.tree.map(lambda u, g: jnp.maximum(0.999 * u, jnp.abs(g)), most, updates)
        correction = 1 - 0.9 ** count.astype(jnp.result_type(float))
        step = jax.tree.map(
            lambda m, u: -lr * m / correction.astype(m.dtype) / (u + eps), mean, most
        )
        return step, (count, mean, most)

    return optax.GradientTransformation(init, update)


def asgd_without_delay(schedule):
    """ASGD whose rate is the schedule's of the same step."""

    def update(updates, count, params=None):
        step = count.astype(jnp.result_type(float))
        lr = schedule(step)
        eta = lr / (1 + 1e-4 * lr * step) ** 0.75
        return jax.tree.map(lambda g, p: -eta * (g + 1e-4 * p), updates, params), count + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


def in_out(transform):
    """A transform that sees kernels as Flax stores them, (in, out)."""

    def turned(tree):
        return jax.tree.map(jnp.transpose, tree)

    def update(updates, state, params):
        updates, state = transform.update(turned(updates), state, turned(params))
        return turned(updates), state

    return optax.GradientTransformation(lambda params: transform.init(turned(params)), update)


momentum_after_rate = optax.chain(
    optax.scale_by_rms(0.99, 1e-8, eps_in_sqrt=False),
    optax.scale_by_schedule(lambda count: -1e-2 * 0.5**count),
    optax.trace(0.9),
)


def rmsprop(**options):
    return lambda parameters: torch.optim.RMSprop(parameters, **options)


def adagrad(**options):
    return lambda parameters: torch.optim.Adagrad(parameters, **options)


def adamax(**options):
    return lambda parameters: torch.optim.Adamax(parameters, lr=0.1, **options)


def amsgrad(parameters):
    return torch.optim.Adam(parameters, amsgrad=True)


nadam, radam, asgd = torch.optim.NAdam, torch.optim.RAdam, torch.optim.ASGD
half = optim.exponential_lr(1e-2, 0.5)

PAIRS = {
    "RMSprop": trained(
        falling(torch.optim.RMSprop, momentum=0.9, centered=True, weight_decay=1e-2),
        optim.rmsprop(half, momentum=0.9, centered=True, weight_decay=1e-2),
    ),
    "NAdam": trained(
        lambda p: nadam(p, weight_decay=1e-2, decoupled_weight_decay=True),
        optim.nadam(weight_decay=1e-2, decoupled_weight_decay=True),
    ),
    "RAdam": trained(radam, optim.radam(), steps=7),
    "Adagrad": trained(adagrad(lr_decay=0.1), optim.adagrad(lr_decay=0.1)),
    "Rprop": trained(torch.optim.Rprop, optim.rprop()),
    "Adadelta": trained(torch.optim.Adadelta, optim.adadelta()),
    "Adamax": trained(adamax(), optim.adamax(0.1)),
    "ASGD": trained(falling(asgd), optim.asgd(half)),
    "SparseAdam": embedded(optim.sparse_adam(0.1)),
    "Adafactor": convolved(optim.adafactor()),
    "Muon": by_muon(optim.muon()),
    "amsgrad": trained(amsgrad, optim.adam(amsgrad=True)),
}


def fault(name: str, wrong: Pair, cause: str, *, module: str = "0", step: int = 1) -> Fault:
    return Fault(name, wrong, module, "update", step, cause)


FAULTS = [
    fault("optax.nadam", trained(nadam, optax.nadam(2e-3)), "momentum schedule"),
    fault(
        "NAdam as Adam",
        trained(nadam, optim.adam(2e-3)),
        "another optimizer",
    ),
    fault(
        "optax.radam",
        trained(radam, optax.radam(1e-3), steps=7),
        "epsilon after the bias correction",
        step=6,
    ),
    fault(
        "RMSprop: epsilon inside the root",
        trained(rmsprop(), optax.rmsprop(1e-2, 0.99)),
        "epsilon inside the root",
    ),
    fault(
        "RMSprop: decay 0.9",
        trained(rmsprop(), optax.rmsprop(1e-2, eps_in_sqrt=False)),
        "decay of the mean square",
    ),
    fault("optax.rmsprop", trained(rmsprop(), optax.rmsprop(1e-2)), "Optax's defaults"),
    fault(
        "RMSprop: mean square from 1",
        trained(rmsprop(), optax.rmsprop(1e-2, 0.99, initial_scale=1.0, eps_in_sqrt=False)),
        "initial mean square",
    ),
    fault(
        "RMSprop: momentum after the rate",
        trained(falling(torch.optim.RMSprop, momentum=0.9), momentum_after_rate),
        "momentum",
        step=2,
    ),
    fault(
        "RMSprop: not centred",
        trained(rmsprop(centered=True), optim.rmsprop()),
        "centring",
    ),
    fault("optax.adagrad", trained(adagrad(), optax.adagrad(1e-2)), "Optax's defaults"),
    fault(
        "Adagrad: epsilon inside the root",
        trained(adagrad(eps=1e-8), optax.adagrad(1e-2, 0.0, 1e-8)),
        "epsilon inside the root",
    ),
    fault(
        "Adagrad: accumulator from 0.1",
        trained(adagrad(), optim.adagrad(initial_accumulator_value=0.1)),
        "initial accumulator",
    ),
    fault(
        "Adagrad: no lr_decay",
        trained(adagrad(lr_decay=0.1), optim.adagrad()),
        "falling rate",
        step=2,
    ),
    fault("optax.rprop", trained(torch.optim.Rprop, optax.rprop(1e-2)), "delayed step"),
    fault("optax.amsgrad", trained(amsgrad, optax.amsgrad(1e-3)), "amsgrad", step=2),
    fault("optax.adadelta", trained(torch.optim.Adadelta, optax.adadelta()), "sign"),
    fault(
        "Adadelta: another rate",
        trained(lambda p: torch.optim.Adadelta(p, lr=0.5), optax.adadelta(1.0)),
        "learning rate",
    ),
    fault(
        "Adadelta: decay 0.95",
        trained(torch.optim.Adadelta, optim.adadelta(rho=0.95)),
        "decay of the mean square",
    ),
    fault(
        "Adamax: no epsilon",
        trained(adamax(), optax.adamax(0.1, eps=0.0)),
        "missing epsilon",
    ),
    fault(
        "Adamax: epsilon after the maximum",
        trained(adamax(eps=1e-4), adamax_of_the_paper(0.1, 1e-4)),
        "epsilon after the maximum",
        step=2,
    ),
    fault("ASGD as SGD", trained(asgd, optim.sgd(1e-2)), "decay of ASGD"),
    fault(
        "ASGD: prompt rate",
        trained(falling(asgd), asgd_without_delay(lambda step: 1e-2 * 0.5**step)),
        "late rate",
        step=2,
    ),
    fault(
        "SparseAdam: dense",
        embedded(optax.adam(0.1)),
        "rows without gradient",
    ),
    fault(
        "optax.adafactor",
        trained(torch.optim.Adafactor, optax.adafactor(1e-2)),
        "missing factors",
    ),
    fault(
        "Adafactor: factors of the largest axes",
        convolved(optax.adafactor(1e-2, min_dim_size_to_factor=1)),
        "factored axes",
    ),
    fault("Muon: no Nesterov", by_muon(optim.muon(nesterov=False)), "Nesterov"),
    fault("Muon: kernels (in, out)", by_muon(in_out(optim.muon())), "transposed matrix"),
    fault("Muon in float64", by_muon(optim.muon(ns_dtype="float64")), "rounding"),
]
