"""A run that begins in torch, goes on in fdl and ends in torch is one that never left; and back."""

from typing import Any

import jax
import numpy as np
import pytest
import torch
from continuations import (
    LEGS,
    Arrays,
    Combined,
    FdlSide,
    Run,
    TorchSide,
    handed_back,
    torch_in_float64,
)
from nearness import assert_equal, distances
from schedule_cases import NAMED, TORCH, Case

from fdl import interop
from fdl.parity import TOLERANCE

CYCLE = NAMED["one_cycle_lr"]
BACK_AND_FORTH = Case(
    "cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 6, "step_size_down": 9}
)
STEADY = Case(
    "cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 7, "cycle_momentum": False}
)
WARM_UP = Combined((NAMED["linear_lr"], NAMED["cosine_annealing_lr"]), (13,))
RESTART = Combined((NAMED["constant_lr"], NAMED["exponential_lr"], NAMED["step_lr"]), (7, 33))
BOTH = Combined((NAMED["exponential_lr"], NAMED["cosine_annealing_lr"]))
THREE = Combined((NAMED["linear_lr"], NAMED["multi_step_lr"], NAMED["polynomial_lr"]))

RUNS = [
    Run("SGD", "sgd", {}, NAMED["step_lr"]),
    Run("SGD", "sgd", {"momentum": 0.9, "nesterov": True}, CYCLE),
    Run("SGD", "sgd", {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.01}, WARM_UP),
    Run("SGD", "sgd", {"momentum": 0.7, "maximize": True}, BACK_AND_FORTH),
    Run("Adam", "adam", {"betas": (0.9, 0.99)}, CYCLE),
    Run("Adam", "adam", {"amsgrad": True}, NAMED["cosine_annealing_warm_restarts"]),
    Run("Adam", "adam", {"weight_decay": 0.1, "maximize": True}, RESTART),
    Run("AdamW", "adamw", {}, NAMED["cosine_annealing_lr"]),
    Run("AdamW", "adamw", {"amsgrad": True, "betas": (0.8, 0.99)}, BACK_AND_FORTH),
    Run("Adamax", "adamax", {"weight_decay": 0.01}, NAMED["exponential_lr"]),
    Run("NAdam", "nadam", {}, NAMED["linear_lr"]),
    Run("NAdam", "nadam", {"weight_decay": 0.1, "decoupled_weight_decay": True}, BOTH),
    Run("RAdam", "radam", {}, NAMED["polynomial_lr"]),
    Run("RAdam", "radam", {"betas": (0.8, 0.9), "weight_decay": 0.01}, STEADY),
    Run("Adagrad", "adagrad", {}, NAMED["multi_step_lr"]),
    Run("Adagrad", "adagrad", {"lr_decay": 0.05, "initial_accumulator_value": 0.1}, THREE),
    Run("Adadelta", "adadelta", {"rho": 0.8}, NAMED["constant_lr"]),
    Run("RMSprop", "rmsprop", {}, NAMED["swa_lr"]),
    Run("RMSprop", "rmsprop", {"centered": True, "eps": 1e-3}, NAMED["multiplicative_lr"]),
    Run("RMSprop", "rmsprop", {"momentum": 0.5, "weight_decay": 0.01}, NAMED["lambda_lr"]),
    Run("RMSprop", "rmsprop", {"momentum": 0.5, "centered": True, "eps": 1e-3}, WARM_UP),
    Run("Rprop", "rprop", {}, NAMED["step_lr"]),
    Run("Rprop", "rprop", {"etas": (0.6, 1.1), "step_sizes": (1e-5, 0.5)}, NAMED["linear_lr"]),
    Run("ASGD", "asgd", {}, NAMED["cosine_annealing_lr"]),
    Run("ASGD", "asgd", {"lambd": 1e-2, "t0": 5.0, "weight_decay": 0.01}, WARM_UP),
    Run("Adafactor", "adafactor", {}, NAMED["step_lr"]),
    Run("Adafactor", "adafactor", {"weight_decay": 0.1, "eps": (1e-3, 1e-2)}, THREE),
    Run("Muon", "muon", {}, NAMED["cosine_annealing_warm_restarts"]),
    Run("Muon", "muon", {"nesterov": False, "momentum": 0.8}, BOTH),
    Run("SparseAdam", "sparse_adam", {}, NAMED["exponential_lr"]),
    Run("SparseAdam", "sparse_adam", {"betas": (0.8, 0.9), "maximize": True}, WARM_UP),
    Run("LBFGS", "lbfgs", {"max_iter": 5}, NAMED["step_lr"]),
    Run("LBFGS", "lbfgs", {"max_iter": 3, "history_size": 4}, WARM_UP),
    Run("LBFGS", "lbfgs", {"max_iter": 5, "line_search_fn": "strong_wolfe"}, NAMED["linear_lr"]),
]
each_run = pytest.mark.parametrize("run", RUNS, ids=str)


def test_every_optimizer_and_every_scheduler_is_among_them():
    found = vars(torch.optim).values()
    kinds = {kind.__name__ for kind in found if isinstance(kind, type)} - {"Optimizer"}
    assert {run.name for run in RUNS} == kinds
    used = {
        case.name for run in RUNS for case in getattr(run.scheduler, "members", (run.scheduler,))
    }
    assert used == TORCH.keys() - {"sequential_lr", "chained_scheduler", "reduce_lr_on_plateau"}


@each_run
def test_a_run_that_goes_over_and_back_is_one_that_stays(run, record_property):
    with torch_in_float64(), jax.enable_x64(True):
        ours = FdlSide(run)
        worst = max(from_torch_and_back(run, ours), from_fdl_and_back(run, ours))
    record_property("worst", worst)
    assert worst <= TOLERANCE.float64


def from_torch_and_back(run, ours):
    """20 steps in torch, 20 in fdl, 20 in torch, against 60 in torch."""
    leg = run.leg
    whole, first = TorchSide(run), TorchSide(run)
    expected = whole.train(0, LEGS * leg)
    start = first.train(0, leg)
    params, state, middle = ours.train(*ours.resume(first.checkpoint()), leg, leg)
    last = TorchSide(run, handed_back(run, params, state, 2 * leg))
    worst = same_path([start, middle, last.train(2 * leg, leg)], expected)
    assert_same(last.checkpoint(), whole.checkpoint())
    return worst


def from_fdl_and_back(run, ours):
    """20 steps in fdl, 20 in torch, 20 in fdl, against 60 in fdl."""
    leg = run.leg
    params, state, start = ours.train(*ours.start(), 0, leg)
    middle = TorchSide(run, handed_back(run, params, state, leg))
    paths = [start, middle.train(leg, leg)]
    _, found, last = ours.train(*ours.resume(middle.checkpoint()), 2 * leg, leg)
    params, state, second = ours.train(params, state, leg, leg)
    _, state, third = ours.train(params, state, 2 * leg, leg)
    worst = same_path([*paths, last], joined([start, second, third]))
    like = TorchSide(run).optimizer
    assert_same(*(interop.optimizer_to_torch(s, like=like) for s in (found, state)))
    if run.name != "LBFGS":  # whose ring of pairs may begin elsewhere
        assert jax.tree.structure(found) == jax.tree.structure(state)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
            assert one.dtype == other.dtype
            assert_equal({"state": one}, {"state": np.asarray(other)})
    return worst


def joined(paths: list[Arrays]) -> Arrays:
    return {name: np.concatenate([path[name] for path in paths]) for name in paths[0]}


def same_path(paths: list[Arrays], expected: Arrays) -> float:
    """Asserts that every parameter is equal after every step; returns the worst error."""
    got, worst = joined(paths), 0.0
    for step in range(len(next(iter(expected.values())))):
        now, wanted = ({k: v[step] for k, v in path.items()} for path in (got, expected))
        assert_equal(now, wanted)
        worst = max(worst, *distances(now, wanted).values())
    return worst


def assert_same(got: Any, wanted: Any, path: str = "") -> None:
    """Asserts that two trees of torch's have the same types, and values that are equal."""
    assert type(got) is type(wanted), path
    if isinstance(wanted, dict):
        assert got.keys() == wanted.keys(), path
        for key in wanted:
            assert_same(got[key], wanted[key], f"{path}.{key}")
    elif isinstance(wanted, list | tuple):
        assert len(got) == len(wanted), path
        for number, (one, other) in enumerate(zip(got, wanted, strict=True)):
            assert_same(one, other, f"{path}[{number}]")
    elif isinstance(wanted, torch.Tensor):
        assert got.dtype == wanted.dtype, path
        assert_equal({path: got.detach().numpy()}, {path: wanted.detach().numpy()})
    elif isinstance(wanted, float):
        assert_equal({path: np.float64(got)}, {path: np.float64(wanted)})
    elif isinstance(wanted, int | str | None):
        assert got == wanted, path
