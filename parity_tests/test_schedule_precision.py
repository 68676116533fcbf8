"""Schedules in float32, over long trainings, and at counts that no float32 can hold."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from schedule_cases import CASES, LR, ONE_EACH, STEPS, Case, assert_near, jitted, torch_values

import fdl
from fdl.parity import TOLERANCE


def test_float32_is_as_precise_as_float32_can_be():
    schedules = [case.fdl() for case in CASES]
    together = jax.jit(jax.vmap(lambda step: jnp.stack([s(step) for s in schedules])))
    for case, got in zip(CASES, np.asarray(together(jnp.arange(STEPS))).T, strict=True):
        exact = torch_values(case.torch, STEPS)
        assert got.dtype == np.float32
        assert np.abs(got - exact).max() <= TOLERANCE.float32(0.0) * np.abs(exact).max(), case


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_integer_and_float_counts_are_one(dtype):
    schedules = [case.fdl() for case in ONE_EACH]
    together = jax.vmap(lambda step: jnp.stack([s(step) for s in schedules]))
    expected = jitted(lambda step: jnp.stack([s(step) for s in schedules]), STEPS)
    with jax.enable_x64(True):
        assert_near(np.asarray(jax.jit(together)(jnp.arange(STEPS, dtype=dtype))), expected)


LONG = 100_000
FOLLOWED = [
    Case("exponential_lr", {"gamma": 0.9999}),
    Case("exponential_lr", {"gamma": 0.9992}),
    Case("exponential_lr", {"gamma": 1.00005}),
    Case("step_lr", {"step_size": 30, "gamma": 0.999}),
    Case("multi_step_lr", {"milestones": [10, 50_000, 70_000], "gamma": 0.3}),
    Case("linear_lr", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": LONG}),
    Case("polynomial_lr", {"total_iters": LONG, "power": 2.0}),
    Case("cosine_annealing_lr", {"T_max": LONG}),
    Case("cosine_annealing_lr", {"T_max": 7919, "eta_min": 1e-3}),
    Case("cosine_annealing_warm_restarts", {"T_0": 317}),
    Case("cosine_annealing_warm_restarts", {"T_0": 1000, "T_mult": 2}),
    Case("swa_lr", {"swa_lr": 0.001, "anneal_epochs": LONG}),
    Case("swa_lr", {"swa_lr": 0.001, "anneal_epochs": LONG, "anneal_strategy": "linear"}),
    Case("one_cycle_lr", {"max_lr": 0.1, "total_steps": LONG}),
    Case("one_cycle_lr", {"max_lr": 0.1, "total_steps": LONG, "three_phase": True}),
    Case("one_cycle_lr", {"max_lr": 0.1, "total_steps": LONG, "anneal_strategy": "linear"}),
    Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "mode": "triangular2"}),
    Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "mode": "exp_range", "gamma": 0.9999}),
    Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 20.5}),
]
BUDGET = TOLERANCE.float32(0.0)


@pytest.mark.parametrize("case", FOLLOWED, ids=str)
def test_over_a_long_training_each_value_is_near_float64s(case):
    """Each relatively to itself, down to the smallest: nothing drifts, nothing cancels."""
    counts = np.arange(LONG, dtype=np.int32)
    got = np.asarray(jax.jit(jax.vmap(case.fdl()))(counts))
    exact = jitted(case.fdl(), LONG)
    assert got.dtype == np.float32
    assert np.ptp(exact) > 0
    np.testing.assert_allclose(got, exact, rtol=BUDGET)


FAR = [2**24 - 1, 2**24, 2**24 + 1, 2**24 + 2, 2**24 + 3, 2**26 + 5, 2**31 - 2]
CONTINUING = [
    Case("step_lr", {"step_size": 2**24 + 1}),
    Case("multi_step_lr", {"milestones": [2**24 + 1, 2**24 + 3]}),
    Case("constant_lr", {"factor": 0.5, "total_iters": 2**24 + 1}),
    Case("exponential_lr", {"gamma": 1 - 1e-8}),
    Case("cosine_annealing_lr", {"T_max": 7, "eta_min": 0.01}),
    Case("cosine_annealing_warm_restarts", {"T_0": 7}),
    Case("cosine_annealing_warm_restarts", {"T_0": 2**24 + 1, "T_mult": 2}),
    Case("one_cycle_lr", {"max_lr": 0.1, "total_steps": 2**26 + 7}),
    Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "step_size_down": 4}),
]


def exact_and_narrow(schedules: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    def together(step: jax.Array) -> jax.Array:
        return jnp.stack([schedule(step) for schedule in schedules])

    counts = np.array(FAR, np.int32)
    with jax.enable_x64(True):
        exact = np.asarray(jax.jit(jax.vmap(together))(counts))
    return exact, np.asarray(jax.jit(jax.vmap(together))(counts))


def test_counts_beyond_what_float32_holds_are_exact():
    schedules = [case.fdl() for case in CONTINUING]
    decay = Case("exponential_lr", {"gamma": 0.5}).fdl()
    late = fdl.optim.sequential_lr([decay, decay], [2**24 + 1])
    momenta = [schedule.momentum for schedule in schedules[-2:]]
    slow = fdl.optim.per_epoch(decay, 2**24 + 1)
    exact, narrow = exact_and_narrow([*schedules, late, slow, *momenta])
    assert (np.ptp(exact, axis=0) > 0).all()
    np.testing.assert_allclose(narrow, exact, rtol=BUDGET, atol=BUDGET * LR)


def test_optimizers_hand_over_the_integer_count():
    case = Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3})
    exact, _ = exact_and_narrow([case.fdl()])
    schedule = case.fdl()
    optimizer = fdl.optim.sgd(schedule, momentum=schedule.momentum)
    state = optimizer.init(jnp.ones(()))
    for count, lr in zip(FAR, exact[:, 0], strict=True):
        counts = {"step": jnp.int32(count), "count": jnp.int32(count)}
        updates, _ = optimizer.update(jnp.ones(()), optax.tree.set(state, **counts))
        np.testing.assert_allclose(-updates, lr, rtol=BUDGET)


@pytest.mark.parametrize("argument", [2**30, 2**40])
def test_a_count_that_no_int32_reaches_is_refused(argument):
    with pytest.raises(ValueError, match=r"T_max: expected an integer from 1 to below 2\*\*30"):
        fdl.optim.cosine_annealing_lr(0.1, argument)
