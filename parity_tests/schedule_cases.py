"""Schedules by their names and torch's arguments, and what both sides make of them."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

import fdl

LR = 0.1
STEPS = 300
MILESTONE = 17
NEAR = 1e-12
"""How far a learning rate may be from torch's, absolutely and relatively to the largest."""

TORCH: dict[str, Any] = {
    "lambda_lr": lr_scheduler.LambdaLR,
    "multiplicative_lr": lr_scheduler.MultiplicativeLR,
    "step_lr": lr_scheduler.StepLR,
    "multi_step_lr": lr_scheduler.MultiStepLR,
    "constant_lr": lr_scheduler.ConstantLR,
    "linear_lr": lr_scheduler.LinearLR,
    "exponential_lr": lr_scheduler.ExponentialLR,
    "polynomial_lr": lr_scheduler.PolynomialLR,
    "cosine_annealing_lr": lr_scheduler.CosineAnnealingLR,
    "cosine_annealing_warm_restarts": lr_scheduler.CosineAnnealingWarmRestarts,
    "one_cycle_lr": lr_scheduler.OneCycleLR,
    "cyclic_lr": lr_scheduler.CyclicLR,
    "swa_lr": SWALR,
    "reduce_lr_on_plateau": lr_scheduler.ReduceLROnPlateau,
    "sequential_lr": lr_scheduler.SequentialLR,
    "chained_scheduler": lr_scheduler.ChainedScheduler,
}
OWN_RATE = {"one_cycle_lr", "cyclic_lr"}
"""What replaces the optimizer's learning rate, and takes no base one."""


class Case(NamedTuple):
    """A schedule by its name and torch's arguments."""

    name: str
    options: dict[str, Any]

    def torch(self, optimizer: torch.optim.Optimizer) -> Any:
        return TORCH[self.name](optimizer, **self.options)

    def fdl(self) -> Any:
        factory = getattr(fdl.optim, self.name)
        return factory(**self.options) if self.name in OWN_RATE else factory(LR, **self.options)

    def __str__(self) -> str:
        return f"{self.name}({','.join(f'{k}={shown(v)}' for k, v in self.options.items())})"


def shown(value: Any) -> str:
    return getattr(value, "__name__", str(value)).replace(" ", "")


def decaying(step):
    return 0.97**step


def stairs(step):
    return 0.5 ** (step // 10)


def wavy(step):
    return 1 - 0.3 * (step % 3) / 7


def fading(number):
    return 1 / (1 + 0.1 * number)


CASES = [
    Case("lambda_lr", {"lr_lambda": decaying}),
    Case("lambda_lr", {"lr_lambda": stairs}),
    Case("multiplicative_lr", {"lr_lambda": wavy}),
    Case("multiplicative_lr", {"lr_lambda": lambda step: 1 + 0.001 * step}),
    Case("step_lr", {"step_size": 30}),
    Case("step_lr", {"step_size": 1, "gamma": 0.9}),
    Case("step_lr", {"step_size": 7, "gamma": 1.1}),
    Case("step_lr", {"step_size": 50, "gamma": 0.0}),
    Case("multi_step_lr", {"milestones": [30, 80]}),
    Case("multi_step_lr", {"milestones": [120, 30, 30, 0, 200], "gamma": 0.5}),
    Case("multi_step_lr", {"milestones": []}),
    Case("constant_lr", {}),
    Case("constant_lr", {"factor": 0.25, "total_iters": 40}),
    Case("constant_lr", {"factor": 0.25, "total_iters": 0}),
    Case("linear_lr", {}),
    Case("linear_lr", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 50}),
    Case("linear_lr", {"start_factor": 0.1, "end_factor": 0.9, "total_iters": 200}),
    Case("linear_lr", {"start_factor": 0.1, "total_iters": 0}),
    Case("exponential_lr", {"gamma": 0.95}),
    Case("exponential_lr", {"gamma": 0.5}),
    Case("exponential_lr", {"gamma": 1.01}),
    Case("exponential_lr", {"gamma": 0.0}),
    Case("polynomial_lr", {}),
    Case("polynomial_lr", {"total_iters": 100, "power": 2.0}),
    Case("polynomial_lr", {"total_iters": 250, "power": 0.5}),
    Case("polynomial_lr", {"total_iters": 0}),
    Case("cosine_annealing_lr", {"T_max": 100}),
    Case("cosine_annealing_lr", {"T_max": 37, "eta_min": 0.01}),
    Case("cosine_annealing_lr", {"T_max": 1}),
    Case("cosine_annealing_lr", {"T_max": 2, "eta_min": 0.2}),
    Case("cosine_annealing_warm_restarts", {"T_0": 10}),
    Case("cosine_annealing_warm_restarts", {"T_0": 10, "T_mult": 2, "eta_min": 0.01}),
    Case("cosine_annealing_warm_restarts", {"T_0": 1, "T_mult": 3}),
    Case("cosine_annealing_warm_restarts", {"T_0": 7, "T_mult": 2}),
    Case("swa_lr", {"swa_lr": 0.05}),
    Case("swa_lr", {"swa_lr": 0.3, "anneal_epochs": 100, "anneal_strategy": "linear"}),
    Case("swa_lr", {"swa_lr": 0.05, "anneal_epochs": 0}),
    Case("swa_lr", {"swa_lr": 0.01, "anneal_epochs": 250}),
    Case("one_cycle_lr", {"max_lr": 1.0, "total_steps": STEPS}),
    Case("one_cycle_lr", {"max_lr": 1.0, "total_steps": STEPS - 1, "anneal_strategy": "linear"}),
    Case("one_cycle_lr", {"max_lr": 0.5, "epochs": 8, "steps_per_epoch": 40, "pct_start": 0.33}),
    Case("one_cycle_lr", {"max_lr": 1.0, "total_steps": 301, "three_phase": True}),
    Case(
        "one_cycle_lr",
        {
            "max_lr": 2.0,
            "total_steps": 299,
            "three_phase": True,
            "pct_start": 0.47,
            "anneal_strategy": "linear",
            "div_factor": 10.0,
            "final_div_factor": 100.0,
            "base_momentum": 0.5,
            "max_momentum": 0.99,
        },
    ),
    Case("one_cycle_lr", {"max_lr": 1.0, "total_steps": STEPS, "pct_start": 0.0}),
    Case("one_cycle_lr", {"max_lr": 1.0, "total_steps": STEPS + 1, "pct_start": 1.0}),
    Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 20}),
    Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1}),
    *[
        Case(
            "cyclic_lr",
            {
                "base_lr": 0.01,
                "max_lr": 0.2,
                "step_size_up": 20,
                "step_size_down": 33,
                "mode": mode,
                "gamma": 0.99,
                "base_momentum": 0.5,
                "max_momentum": 0.95,
            },
        )
        for mode in ("triangular", "triangular2", "exp_range")
    ],
    *[
        Case(
            "cyclic_lr",
            {
                "base_lr": 0.01,
                "max_lr": 0.2,
                "step_size_up": 13,
                "step_size_down": 5,
                "scale_fn": fading,
                "scale_mode": scale_mode,
            },
        )
        for scale_mode in ("cycle", "iterations")
    ],
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)

ONE_EACH = [
    Case("lambda_lr", {"lr_lambda": wavy}),
    Case("multiplicative_lr", {"lr_lambda": wavy}),
    Case("step_lr", {"step_size": 5, "gamma": 0.7}),
    Case("multi_step_lr", {"milestones": [0, 11, 29, 29], "gamma": 0.8}),
    Case("constant_lr", {"factor": 0.25, "total_iters": 21}),
    Case("linear_lr", {"start_factor": 0.3, "end_factor": 0.9, "total_iters": 23}),
    Case("exponential_lr", {"gamma": 0.95}),
    Case("polynomial_lr", {"total_iters": 25, "power": 0.8}),
    Case("cosine_annealing_lr", {"T_max": 12, "eta_min": 0.01}),
    Case("cosine_annealing_warm_restarts", {"T_0": 5, "T_mult": 2, "eta_min": 0.02}),
    Case("swa_lr", {"swa_lr": 0.05, "anneal_epochs": 19}),
    Case("one_cycle_lr", {"max_lr": 1.0, "total_steps": 2 * STEPS}),
    Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 6, "step_size_down": 9}),
    Case("cosine_annealing_lr", {"T_max": 40}),
]
"""What the pairs are made of; the last one by its more usual arguments."""


def torch_optimizer(kind: Any = torch.optim.SGD, **options: Any) -> torch.optim.Optimizer:
    return kind([torch.zeros((), requires_grad=True)], lr=LR, **options)


def torch_values(
    make: Callable[[torch.optim.Optimizer], Any], steps: int, key: str = "lr", **options: Any
) -> np.ndarray:
    """What each step of the optimizer uses: an entry of its group, or Adam's "beta1"."""
    optimizer = torch_optimizer(**options)
    scheduler = make(optimizer)
    values = []
    for step in range(steps):
        if step:
            scheduler.step()
        group = optimizer.param_groups[0]
        values.append(group["betas"][0] if key == "beta1" else group[key])
        optimizer.step()
    return np.array(values, float)


def jitted(schedule: Any, steps: int) -> np.ndarray:
    """The schedule inside jit, on Optax's int32 counts, in float64."""
    with jax.enable_x64(True):
        values = jax.jit(jax.vmap(schedule))(jnp.arange(steps, dtype=jnp.int32))
        assert values.dtype == jnp.float64
        return np.asarray(values)


def assert_near(got: np.ndarray, expected: np.ndarray) -> float:
    """Within the bound of the largest value, and of each value where it is not rounding of 0.

    Returns the largest difference, absolute or of the largest value, whichever is less.
    """
    assert np.isfinite(expected).all()
    error = np.abs(got - expected)
    assert error.max() <= NEAR * max(1.0, np.abs(expected).max()), error.argmax()
    sizeable = np.abs(expected) > 1e-3 * NEAR
    assert (error[sizeable] <= NEAR * np.maximum(np.abs(expected[sizeable]), 1e-3)).all()
    return float(error.max() / max(1.0, np.abs(expected).max()))


def sequence(o: torch.optim.Optimizer, *cases: Case, milestones: list[int]) -> Any:
    return joined(o, [case.torch(o) for case in cases], milestones)


def joined(o: torch.optim.Optimizer, members: list[Any], milestones: list[int]) -> Any:
    with warnings.catch_warnings():
        # torch steps a scheduler again in the constructor, before any update
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        return lr_scheduler.SequentialLR(o, members, milestones)


def chain(o: torch.optim.Optimizer, *cases: Case) -> Any:
    return lr_scheduler.ChainedScheduler([case.torch(o) for case in cases], o)


def compare_all(
    schedules: list[Any], expected: list[np.ndarray], names: list[str]
) -> dict[str, float]:
    """Compares many schedules compiled as one function; returns how far each is off."""
    values = jitted(lambda step: jnp.stack([s(step) for s in schedules]), STEPS)
    worst = {}
    for name, got, reference in zip(names, values.T, expected, strict=True):
        try:
            worst[name] = assert_near(got, reference)
        except AssertionError as error:
            raise AssertionError(name) from error
    return worst


NAMED = {str(case).partition("(")[0]: case for case in ONE_EACH}
