"""Every optimizer that has a momentum or betas, under a scheduler that cycles them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal

import fdl

STEPS = 40
OPTIMIZERS: list[tuple[str, str, dict[str, Any]]] = [
    ("SGD", "sgd", {"momentum": 0.3, "nesterov": True}),
    ("RMSprop", "rmsprop", {"momentum": 0.3, "centered": True, "weight_decay": 0.1}),
    ("Muon", "muon", {"momentum": 0.3}),
    ("Muon", "muon", {"momentum": 0.3, "nesterov": False}),
    ("Adam", "adam", {"betas": (0.3, 0.99)}),
    ("AdamW", "adamw", {"betas": (0.3, 0.99), "amsgrad": True}),
    ("Adamax", "adamax", {"betas": (0.3, 0.99)}),
    ("NAdam", "nadam", {"betas": (0.3, 0.99)}),
    ("RAdam", "radam", {"betas": (0.3, 0.9)}),
    ("SparseAdam", "sparse_adam", {"betas": (0.3, 0.99)}),
]


@pytest.fixture(autouse=True)
def without_rounding(monkeypatch, wide_default):
    """Torch keeps a scalar of NAdam in its default dtype, and Muon's matrices in bfloat16."""

    def normalized(matrix, coefficients, steps, eps):
        return matrix / matrix.norm().clamp(min=eps)

    monkeypatch.setattr(torch.optim._muon, "_zeropower_via_newtonschulz", normalized)


def gradient(drawn: Any, value: Any) -> Any:
    """It depends on the parameter, and is zero where what was drawn is."""
    return drawn / (1 + value * value)


def in_torch(kind: str, options: dict[str, Any], start: np.ndarray, drawn: np.ndarray):
    """The parameter after every step."""
    weight = torch.tensor(start, requires_grad=True)
    optimizer = getattr(torch.optim, kind)([weight], lr=0.1, **options)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, STEPS)
    for row in drawn:
        weight.grad = gradient(torch.tensor(row), weight.detach())
        if kind == "SparseAdam":
            weight.grad = weight.grad.to_sparse(1)
        optimizer.step()
        scheduler.step()
        yield weight.detach().numpy().copy()


@pytest.mark.parametrize(("kind", "name", "options"), OPTIMIZERS)
def test_every_step_equals_torchs(kind, name, options):
    generator = np.random.default_rng(0)
    start, drawn = generator.normal(size=(3, 4)), generator.normal(size=(STEPS, 3, 4))
    drawn[generator.random((STEPS, 3)) < 0.3] = 0
    expected = in_torch(kind, options, start, drawn)
    schedule = fdl.optim.one_cycle_lr(0.1, STEPS)
    if "betas" in options:
        cycled = {"betas": (schedule.momentum, options["betas"][1])}
    else:
        cycled = {"momentum": schedule.momentum}
    own = {"ns_steps": 0, "ns_dtype": "float64"} if name == "muon" else {}
    with jax.enable_x64(True):
        optimizer = getattr(fdl.optim, name)(schedule, **{**options, **cycled, **own})

        def step(carry, row):
            params, state = carry
            updates, state = optimizer.update(gradient(row, params), state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        weight = jnp.asarray(start)
        run = jax.jit(lambda *carry: jax.lax.scan(step, carry, jnp.asarray(drawn)))
        _, path = run(weight, optimizer.init(weight))
        for got, wanted in zip(path, expected, strict=True):
            assert_equal({"weight": got}, {"weight": wanted})


def test_all_that_torch_can_cycle_are_tested():
    found = {
        name
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type)
        and issubclass(kind, torch.optim.Optimizer)
        and kind is not torch.optim.Optimizer
        and {"betas", "momentum"} & kind([torch.ones(1, 1)]).defaults.keys()
    }
    assert found == {kind for kind, _, _ in OPTIMIZERS}
