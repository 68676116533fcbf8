"""Parameter groups by pattern against torch's param_groups, over whole trajectories."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from gradient_paths import (
    STEPS,
    Arrays,
    assert_paths,
    drawn_gradients,
    fdl_path,
    leaves,
    torch_path,
)

import fdl

DECAY = {"weight_decay": 0.1}
NONE = {"weight_decay": 0.0}
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, **DECAY}, {"nesterov": True, **NONE}),
    "adam": (torch.optim.Adam, DECAY, {"betas": (0.7, 0.9), **NONE}),
    "adamw": (torch.optim.AdamW, DECAY, {"amsgrad": True, **NONE}),
    "adamax": (torch.optim.Adamax, DECAY, NONE),
    "nadam": (torch.optim.NAdam, DECAY, {"momentum_decay": 0.01, **NONE}),
    "radam": (torch.optim.RAdam, DECAY, {"decoupled_weight_decay": True, "weight_decay": 0.3}),
    "adagrad": (torch.optim.Adagrad, DECAY, {"lr_decay": 0.1, **NONE}),
    "adadelta": (torch.optim.Adadelta, DECAY, {"rho": 0.5, **NONE}),
    "rmsprop": (torch.optim.RMSprop, DECAY, {"centered": True, "eps": 0.1, **NONE}),
    "rprop": (torch.optim.Rprop, {}, {"etas": (0.3, 1.7)}),
    "asgd": (torch.optim.ASGD, DECAY, {"lambd": 0.05, "t0": 9.0, **NONE}),
    "adafactor": (torch.optim.Adafactor, DECAY, {"d": 1.5, **NONE}),
    "muon": (torch.optim.Muon, DECAY, {"nesterov": False, **NONE}),
    "sparse_adam": (torch.optim.SparseAdam, {"eps": 1e-3}, {"betas": (0.5, 0.6)}),
}
"""Torch's class, the options of all and those of biases."""

each_optimizer = pytest.mark.parametrize("name", CASES)


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Every combination of patterns; Muon has matrices only."""
    bias = (1, 3) if name == "muon" else (3,)
    return {
        "stem.weight": (3, 2),
        "stem.bias": bias,
        "backbone.0.weight": (3, 4),
        "backbone.0.bias": bias,
        "backbone.1.weight": (2, 3),
        "head.weight": (3, 3),
        "head.bias": bias,
    }


def rising(step):
    return 0.5 + (step % 5) / 4


def falling(step):
    return 2.0 - step / STEPS


def torch_run(name: str, make) -> Arrays:
    """Every parameter after every step; `make` returns optimizers and schedulers."""
    start, drawn = drawn_gradients(shapes(name))
    params = leaves(start)
    optimizers, schedulers = make(params)

    def step(number):
        for one in (*optimizers, *schedulers):
            one.step()

    return torch_path(params, drawn, step, sparse=name == "sparse_adam")


@each_optimizer
@pytest.mark.usefixtures("unrounded", "wide_default")
def test_every_step_equals_torch_with_groups_and_schedules(name):
    """A bias of the backbone has the options of both; the stem stays; groups have own schedules."""
    theirs, base, of_bias = CASES[name]

    def make(params):
        for key in ("stem.weight", "stem.bias"):
            params[key].requires_grad_(False)
        groups = [
            {"params": [params["head.weight"], params["stem.weight"]]},
            {"params": [params["head.bias"], params["stem.bias"]], **of_bias},
            {"params": [params[f"backbone.{i}.weight"] for i in (0, 1)], "lr": 0.002},
            {"params": [params["backbone.0.bias"]], "lr": 0.002, **of_bias},
        ]
        optimizer = theirs(groups, lr=0.02, **base)
        schedule = [rising, rising, falling, falling]
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)]

    with jax.enable_x64(True):
        own = {"ns_dtype": jnp.float64} if name == "muon" else {}
        optimizer = fdl.optim.param_groups(
            getattr(fdl.optim, name),
            {
                "*.bias": of_bias,
                "backbone.*": {"lr": lambda step: 0.002 * falling(step)},
                "stem.*": {"frozen": True},
            },
            lr=lambda step: 0.02 * rising(step),
            **base,
            **own,
        )
        path, state = fdl_path(optimizer, *drawn_gradients(shapes(name)))
        assert_paths(path, torch_run(name, make))
    assert not jax.tree.leaves(state.inner_states["*.bias + stem.*"])
    assert sorted(state.inner_states) == [
        "*",
        "*.bias",
        "*.bias + backbone.*",
        "*.bias + stem.*",
        "backbone.*",
    ]


@pytest.mark.usefixtures("unrounded")
def test_two_optimizers_equal_two_of_torch():
    """Another optimizer's group starts anew: only what comes after counts, and being frozen."""

    def make(params):
        params["stem.bias"].requires_grad_(False)
        biases = [params[f"{part}.bias"] for part in ("stem", "backbone.0", "head")]
        rest = [params[key] for key in params if not key.endswith("bias")]
        adamw = torch.optim.AdamW(
            [{"params": biases[:1] + biases[2:]}, {"params": biases[1:2]}], 0.03
        )
        adamw.param_groups[1]["betas"] = (0.5, 0.9)
        return [torch.optim.Muon(rest, 0.02, momentum=0.8), adamw], []

    with jax.enable_x64(True):
        optimizer = fdl.optim.param_groups(
            fdl.optim.muon,
            {
                "stem.bias": {"frozen": True},
                "head.bias": {"lr": 9.0, "momentum": 0.1},
                "*.bias": {"optimizer": fdl.optim.adamw, "lr": 0.03},
                "backbone.*.bias": {"betas": (0.5, 0.9)},
            },
            lr=0.02,
            momentum=0.8,
            ns_dtype=jnp.float64,
        )
        path, _ = fdl_path(optimizer, *drawn_gradients(shapes("muon")))
        assert_paths(path, torch_run("muon", make))
