"""fdl.optim's schedules against torch.optim.lr_scheduler: every step, past the natural end too."""

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal
from schedule_cases import (
    CASES,
    LR,
    NAMED,
    ONE_EACH,
    OWN_RATE,
    STEPS,
    TORCH,
    Case,
    assert_near,
    each_case,
    jitted,
    torch_optimizer,
    torch_values,
)
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

import fdl
from fdl.parity import TOLERANCE


def test_every_scheduler_of_torch_is_here():
    public = {getattr(lr_scheduler, name) for name in lr_scheduler.__all__}
    assert set(TORCH.values()) == public - {lr_scheduler.LRScheduler} | {SWALR}
    assert {case.name for case in ONE_EACH} == {case.name for case in CASES}
    assert {case.name for case in CASES} == set(TORCH) - {
        "reduce_lr_on_plateau",
        "sequential_lr",
        "chained_scheduler",
    }


@each_case
def test_every_step_equals_torchs(case, record_property):
    worst = assert_near(jitted(case.fdl(), STEPS), torch_values(case.torch, STEPS))
    record_property("schedule", ("alone", case.name, worst))


# --- momentum


CYCLES = [case for case in CASES if case.name in OWN_RATE]


@pytest.mark.parametrize("case", CYCLES, ids=str)
def test_every_momentum_equals_torchs(case):
    expected = torch_values(case.torch, STEPS, key="momentum", momentum=0.9)
    assert np.ptp(expected) > 0
    assert_near(jitted(case.fdl().momentum, STEPS), expected)


UPDATES = 100
TRAINED = [
    Case("one_cycle_lr", {"max_lr": 0.2, "total_steps": UPDATES}),
    Case("cyclic_lr", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 7, "step_size_down": 9}),
]
OPTIMIZERS: list[tuple[str, Any, dict[str, Any]]] = [
    ("sgd", torch.optim.SGD, {"momentum": 0.3}),
    ("sgd", torch.optim.SGD, {"momentum": 0.3, "nesterov": True, "weight_decay": 0.1}),
    ("sgd", torch.optim.SGD, {"momentum": 0.3, "dampening": 0.4}),
    ("adam", torch.optim.Adam, {"betas": (0.3, 0.99)}),
    ("adamw", torch.optim.AdamW, {"betas": (0.3, 0.99), "amsgrad": True}),
]


@pytest.mark.parametrize("case", TRAINED, ids=str)
@pytest.mark.parametrize(("name", "kind", "options"), OPTIMIZERS)
def test_training_with_a_cycled_momentum_equals_torchs(case, name, kind, options):
    generator = np.random.default_rng(0)
    start, drawn = generator.normal(size=5), generator.normal(size=(UPDATES, 5))
    parameter = torch.tensor(start, requires_grad=True)
    optimizer = kind([parameter], lr=LR, **options)
    scheduler, path = case.torch(optimizer), []
    for grad in drawn:
        parameter.grad = torch.tensor(grad) + parameter.detach().tanh()
        optimizer.step()
        scheduler.step()
        path.append(parameter.detach().numpy().copy())

    schedule = case.fdl()
    cycled = {"betas": (schedule.momentum, 0.99)} if "betas" in options else {}
    cycled = cycled or {"momentum": schedule.momentum}
    with jax.enable_x64(True):
        transform = getattr(fdl.optim, name)(schedule, **{**options, **cycled})

        def step(carry, grad):
            value, state = carry
            updates, state = transform.update(grad + jnp.tanh(value), state, value)
            value = optax.apply_updates(value, updates)
            return (value, state), value

        value = jnp.asarray(start)
        _, values = jax.jit(lambda *carry: jax.lax.scan(step, carry, jnp.asarray(drawn)))(
            value, transform.init(value)
        )
        for got, expected in zip(values, path, strict=True):
            assert_equal({"parameter": got}, {"parameter": expected})


def test_momentum_that_is_not_cycled_is_refused():
    for case in TRAINED:
        schedule = Case(case.name, {**case.options, "cycle_momentum": False}).fdl()
        with pytest.raises(AttributeError, match="cycle_momentum=True"):
            _ = schedule.momentum


# --- plateau


def noisy_metric(mode: str) -> np.ndarray:
    """Falls, stays, falls again; with noise, and something that is not a number."""
    generator = np.random.default_rng(0)
    parts = [np.linspace(1, 0.5, 40), np.full(80, 0.5), np.linspace(0.49, 0.3, 60), [math.nan] * 3]
    metric = np.concatenate([*parts, np.full(STEPS - 183, 0.3)])
    metric += 1e-3 * generator.normal(size=STEPS) + 0.2 * (generator.random(STEPS) < 0.05)
    return metric if mode == "min" else -metric


PLATEAUS = [
    {},
    {"patience": 5, "factor": 0.5},
    {"patience": 0, "factor": 0.9, "threshold": 0.01},
    {"patience": 2, "factor": 0.5, "cooldown": 3, "min_lr": 1e-3},
    {"patience": 3, "factor": 0.3, "cooldown": 1, "threshold": 0.0, "eps": 1e-4},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau_equals_torchs(options, mode, threshold_mode, record_property):
    options = {**options, "mode": mode, "threshold_mode": threshold_mode}
    metrics = noisy_metric(mode)
    optimizer = torch_optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    names = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")
    expected = []
    for metric in metrics:
        optimizer.step()
        scheduler.step(metric)
        lr = optimizer.param_groups[0]["lr"]
        expected.append([lr, *[getattr(scheduler, name) for name in names]])
    with jax.enable_x64(True):
        plateau = fdl.optim.reduce_lr_on_plateau(LR, **options)

        def step(state, metric):
            state = plateau.step(state, metric)
            return state, state

        _, states = jax.jit(lambda m: jax.lax.scan(step, plateau.init(), m))(jnp.asarray(metrics))
        got = np.stack([np.asarray(states[0], float)] + [np.asarray(s, float) for s in states[1:]])
    assert len({row[0] for row in expected}) > 1
    worst = assert_near(got.T, np.array(expected, float))
    record_property("schedule", ("alone", "reduce_lr_on_plateau", worst))


# --- what users meet


NO_REASON = {"last_epoch", "optimizer"}


@pytest.mark.parametrize("name", TORCH)
def test_arguments_and_defaults_are_torchs(name):
    def defaults(function: Any) -> list[tuple[str, Any]]:
        parameters = inspect.signature(function).parameters.items()
        return [(k, p.default) for k, p in parameters if k not in NO_REASON | {"self"}]

    composed = {"sequential_lr", "chained_scheduler"}
    got = defaults(getattr(fdl.optim, name))
    if name not in OWN_RATE | composed:
        assert got.pop(0) == ("lr", inspect.Parameter.empty)
    assert got == defaults(TORCH[name].__init__)


def bad(name: str, **options: Any) -> Case:
    return Case(name, options)


REFUSED = [
    bad("multiplicative_lr", lr_lambda=3),
    bad("constant_lr", factor=1.1),
    bad("constant_lr", factor=-0.1),
    bad("linear_lr", start_factor=0.0),
    bad("linear_lr", start_factor=1.1),
    bad("linear_lr", end_factor=1.1),
    bad("linear_lr", end_factor=-0.1),
    bad("cosine_annealing_warm_restarts", T_0=0),
    bad("cosine_annealing_warm_restarts", T_0=1.5),
    bad("cosine_annealing_warm_restarts", T_0=5, T_mult=0),
    bad("cosine_annealing_warm_restarts", T_0=5, T_mult=1.5),
    bad("cosine_annealing_warm_restarts", T_0=5, eta_min="0"),
    bad("swa_lr", swa_lr=0.1, anneal_strategy="cosine"),
    bad("swa_lr", swa_lr=0.1, anneal_epochs=-1),
    bad("swa_lr", swa_lr=0.1, anneal_epochs=1.5),
    bad("one_cycle_lr", max_lr=0.1),
    bad("one_cycle_lr", max_lr=0.1, epochs=3),
    bad("one_cycle_lr", max_lr=0.1, total_steps=0),
    bad("one_cycle_lr", max_lr=0.1, total_steps=1.5),
    bad("one_cycle_lr", max_lr=0.1, epochs=0, steps_per_epoch=3),
    bad("one_cycle_lr", max_lr=0.1, epochs=3, steps_per_epoch=-3),
    bad("one_cycle_lr", max_lr=0.1, total_steps=9, pct_start=1.1),
    bad("one_cycle_lr", max_lr=0.1, total_steps=9, pct_start=-0.1),
    bad("one_cycle_lr", max_lr=0.1, total_steps=9, pct_start=1),
    bad("one_cycle_lr", max_lr=0.1, total_steps=9, anneal_strategy="cosine"),
    bad("one_cycle_lr", max_lr=0.1, total_steps=4, pct_start=0.25),
    bad("cyclic_lr", base_lr=0.1, max_lr=0.2, mode="square"),
    bad("cyclic_lr", base_lr=0.1, max_lr=0.2, step_size_up=0),
    bad("reduce_lr_on_plateau", factor=1.0),
    bad("reduce_lr_on_plateau", mode="least"),
    bad("reduce_lr_on_plateau", threshold_mode="both"),
    bad("step_lr", step_size=0),
    bad("cosine_annealing_lr", T_max=0),
    bad("constant_lr", factor=0.0, total_iters=2),
]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_torch_refuses_is_refused(case):
    with pytest.raises((ValueError, TypeError, ZeroDivisionError)):
        torch_values(case.torch, 4)
    with pytest.raises((ValueError, TypeError), match=rf"{case.name}: .*: expected .*got"):
        case.fdl()


@pytest.mark.parametrize("name", [name for name in TORCH if name in NAMED and name not in OWN_RATE])
def test_a_negative_learning_rate_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: lr: expected 0 or more"):
        getattr(fdl.optim, name)(-0.1, **NAMED[name].options)


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
def test_past_its_end_a_one_cycle_keeps_its_last_rate(three_phase, anneal_strategy):
    options = {"total_steps": 20, "three_phase": three_phase, "anneal_strategy": anneal_strategy}
    values = jitted(fdl.optim.one_cycle_lr(1.0, **options), 30)
    with pytest.raises(ValueError, match="Tried to step 21 times"):
        torch_values(lambda o: lr_scheduler.OneCycleLR(o, 1.0, **options), 22)
    assert_near(
        values[:21], torch_values(Case("one_cycle_lr", {"max_lr": 1.0, **options}).torch, 21)
    )
    assert (values[21:] == values[19]).all()
    assert values[19] == pytest.approx(1 / 25 / 1e4)


def test_warm_restarts_take_fractions_of_an_epoch():
    case = Case("cosine_annealing_warm_restarts", {"T_0": 3, "T_mult": 2})
    optimizer = torch_optimizer()
    scheduler, expected = case.torch(optimizer), []
    counts = np.arange(0, 30, 0.125)
    for count in counts:
        scheduler.step(count)
        expected.append(optimizer.param_groups[0]["lr"])
    with jax.enable_x64(True):
        values = jax.jit(jax.vmap(case.fdl()))(jnp.asarray(counts))
        assert_near(np.asarray(values), np.array(expected))


def test_the_base_rate_may_be_an_argument_of_a_jitted_function():
    @jax.jit
    def rates(lr):
        given = {"one_cycle_lr": {"max_lr": lr}, "cyclic_lr": {"base_lr": lr}}
        return [
            getattr(fdl.optim, case.name)(**{**case.options, **given.get(case.name, {"lr": lr})})(7)
            for case in ONE_EACH
        ]

    expected = [
        getattr(fdl.optim, c.name)(**{**c.options, next(iter(c.options)): LR})
        if c.name in OWN_RATE
        else c.fdl()
        for c in ONE_EACH
    ]
    values = jax.jit(lambda: [schedule(7) for schedule in expected])()
    np.testing.assert_allclose(rates(LR), values, rtol=TOLERANCE.float32(0.0))
