"""Adafactor and Muon against torch.optim; what torch refuses of them and of L-BFGS."""

import inspect
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal

import fdl
from fdl.optim.muon import _orthogonalized
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

STEPS = 100
NEWTON_SCHULZ = "_zeropower_via_newtonschulz"
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Case(NamedTuple):
    """An optimizer with options and a learning rate to start from."""

    name: str
    lr: float
    options: dict[str, Any]

    def __str__(self) -> str:
        text = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}(lr={self.lr},{text})".replace(" ", "")


TORCH = {"adafactor": torch.optim.Adafactor, "muon": torch.optim.Muon}
SHAPES = {
    "adafactor": {"conv": (4, 3, 2, 5), "weight": (3, 4), "bias": (4,), "scale": ()},
    "muon": {"wide": (3, 4), "tall": (5, 3), "column": (4, 1)},
}
ADAFACTOR = [
    Case("adafactor", 0.01, {}),
    Case("adafactor", 0.5, {"weight_decay": 0.05}),  # above 1 / sqrt(t) after four steps
    Case("adafactor", 0.01, {"weight_decay": 0.1, "maximize": True}),
    Case("adafactor", 0.01, {"beta2_decay": -1.0}),
    Case("adafactor", 0.01, {"beta2_decay": 0.0}),
    Case("adafactor", 0.01, {"d": 1.5}),
    Case("adafactor", 0.1, {"eps": (1.5, 2.0), "d": 1.1}),
    Case("adafactor", 0.1, {"eps": (0.0, 0.0), "beta2_decay": -0.5}),
]
MUON = [
    Case("muon", 0.02, {}),
    Case("muon", 0.02, {"weight_decay": 0.2}),
    Case("muon", 0.02, {"weight_decay": 0.0, "nesterov": False}),
    Case("muon", 0.02, {"momentum": 0.8}),
    Case("muon", 0.02, {"momentum": 0.3, "nesterov": False}),
    Case("muon", 0.02, {"ns_steps": 6}),
    Case("muon", 0.02, {"ns_coefficients": (3.4, -4.7, 2.0), "eps": 3.0}),
    Case("muon", 0.02, {"adjust_lr_fn": "match_rms_adamw"}),
    Case("muon", 0.02, {"adjust_lr_fn": "original"}),
]
each_case = pytest.mark.parametrize("case", [*ADAFACTOR, *MUON], ids=str)
each_muon = pytest.mark.parametrize("case", MUON, ids=str)
each_rate = pytest.mark.parametrize("changing", [False, True], ids=["constant", "changing"])


def problem(shapes: dict[str, tuple[int, ...]]) -> tuple[dict[str, np.ndarray], ...]:
    """Parameters, and the part of the gradients of every step that does not depend on them."""
    generator = np.random.default_rng(0)
    params = {k: generator.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    drawn = {k: generator.normal(size=(STEPS, *s)).astype(np.float32) for k, s in shapes.items()}
    return params, drawn


def factor(step: Any) -> Any:
    """What a changing learning rate is multiplied by: rises and falls, exact in float32."""
    return 0.5 + (step % 8) / 8


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    return distance(got, expected, maximum(expected), maximum)


def pull(value: Any) -> Any:
    return value / (1 + value * value)


def torch_run(case: Case, dtype: str, shapes=None, *, changing: bool, noise: float = 0):
    """Every parameter after every step, and the final state of each."""
    generator = np.random.default_rng(1)
    params, drawn = problem(shapes or SHAPES[case.name])
    params = {k: torch.tensor(v.astype(dtype)).requires_grad_() for k, v in params.items()}
    optimizer = TORCH[case.name](params.values(), lr=case.lr, **case.options)
    path = {k: [] for k in params}
    for step in range(STEPS):
        if changing:
            optimizer.param_groups[0]["lr"] = case.lr * factor(step)
        for key, value in params.items():
            gradient = torch.tensor(drawn[key][step].astype(dtype)) + pull(value.detach())
            shift = noise * generator.uniform(-1, 1, value.shape)
            value.grad = gradient * (1 + torch.tensor(shift)).to(gradient)
        optimizer.step()
        for key, value in params.items():
            path[key].append(value.detach().numpy().copy())
    states = {k: dict(optimizer.state[value]) for k, value in params.items()}
    return {k: np.stack(v) for k, v in path.items()}, states


def fdl_run(case: Case, dtype: str, shapes=None, *, changing: bool, **more: Any):
    """The same in one jitted scan, and the final state."""
    lr = (lambda step: case.lr * factor(step)) if changing else case.lr
    optimizer = getattr(fdl.optim, case.name)(lr, **case.options, **more)
    params, drawn = (
        {k: jnp.asarray(v.astype(dtype)) for k, v in arrays.items()}
        for arrays in problem(shapes or SHAPES[case.name])
    )

    def step(carry, drawn):
        params, state = carry
        grads = jax.tree.map(lambda g, p: g + pull(p), drawn, params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    run = jax.jit(lambda params, state: jax.lax.scan(step, (params, state), drawn))
    (_, state), path = run(params, optimizer.init(params))
    return {k: np.asarray(v) for k, v in path.items()}, state


def assert_meaning(case: Case, *, changing: bool, **more: Any) -> float:
    """Asserts that steps and state are torch's in float64; returns the worst error."""
    expected, states = torch_run(case, "float64", changing=changing)
    with jax.enable_x64(True):
        path, state = fdl_run(case, "float64", changing=changing, **more)
        for step in range(STEPS):
            got, wanted = ({k: v[step] for k, v in p.items()} for p in (path, expected))
            assert_equal(got, wanted)
        named = next(part for part in state if hasattr(part, "_asdict") and part)._asdict()
        for key, wanted in states.items():
            got = {k: named[k] if k == "step" else named[k][key] for k in wanted}
            got, wanted = ({k: np.float64(v) for k, v in s.items()} for s in (got, wanted))
            assert_equal(got, wanted)
    return max(relative(path[k], expected[k]) for k in expected)


def assert_precision(case: Case, *, changing: bool, **more: Any) -> float:
    """Asserts that float32 is about as near float64 as torch's; returns the worst error."""
    oracle, _ = torch_run(case, "float64", changing=changing)
    reference, _ = torch_run(case, "float32", changing=changing)
    path, _ = fdl_run(case, "float32", changing=changing, **more)
    worst = 0.0
    for name, values in oracle.items():
        own = 0.0
        for step, exact in enumerate(values):
            size = maximum(values[: step + 1])
            error, own_now = (
                distance(run[name][step], exact, size, maximum) for run in (path, reference)
            )
            own, worst = max(own, own_now), max(worst, error)
            assert error <= TOLERANCE.float32(own), (name, step, error, own)
    return worst


@pytest.fixture
def unrounded(monkeypatch):
    """Torch's Newton-Schulz iteration in the dtype of the gradient, not in bfloat16."""
    muon = torch.optim._muon
    source = inspect.getsource(getattr(muon, NEWTON_SCHULZ))
    assert "grad.bfloat16()" in source
    names = dict(vars(muon))
    exec(source.replace("grad.bfloat16()", "grad.clone()"), names)
    monkeypatch.setattr(muon, NEWTON_SCHULZ, names[NEWTON_SCHULZ])


# --- Adafactor and Muon, step by step


@pytest.mark.parametrize("case", ADAFACTOR, ids=str)
@each_rate
def test_adafactor_equals_torch_in_float64(case, changing, record_property):
    record_property("worst", assert_meaning(case, changing=changing))


@pytest.mark.parametrize("case", ADAFACTOR, ids=str)
@each_rate
def test_adafactor_is_as_precise_as_torchs_in_float32(case, changing, record_property):
    record_property("worst", assert_precision(case, changing=changing))


@each_muon
@each_rate
@pytest.mark.usefixtures("unrounded")
def test_muon_equals_torch_in_float64(case, changing, record_property):
    record_property("worst", assert_meaning(case, changing=changing, ns_dtype=jnp.float64))


@each_muon
@each_rate
@pytest.mark.usefixtures("unrounded")
def test_muon_is_as_precise_as_torchs_in_float32(case, changing, record_property):
    record_property("worst", assert_precision(case, changing=changing, ns_dtype=jnp.float32))


@each_muon
@each_rate
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_muon_in_bfloat16_is_within_torchs_own_sensitivity(case, changing, dtype, record_property):
    """Equal but for sums that fall between two bfloat16 numbers.

    There float32 sums in another order round the other way: they differ by 2**-24 or so. The
    bound is the table's multiple of what torch's own steps change by, in any matrix, when
    gradients change by 2**-12, less than bfloat16 can hold (its epsilon is 2**-7). That they are
    nearly always equal is for the next test.
    """
    shapes = {**SHAPES["muon"], "larger": (20, 30), "largest": (64, 24)}
    wanted, _ = torch_run(case, dtype, shapes, changing=changing)
    shifted, _ = torch_run(case, dtype, shapes, changing=changing, noise=2**-12)
    with jax.enable_x64(dtype == "float64"):
        path, _ = fdl_run(case, dtype, shapes, changing=changing)
    found, own = (max(relative(run[k], wanted[k]) for k in wanted) for run in (path, shifted))
    record_property("worst", found)
    record_property("allowed", TOLERANCE.multiple * own)
    assert found <= TOLERANCE.multiple * own


@pytest.mark.parametrize("shape", [(3, 4), (7, 5), (20, 30), (64, 64)], ids=str)
def test_orthogonalisation_has_torchs_bits(shape):
    """Few sums fall so near the middle of two bfloat16 numbers that their order decides."""
    ours = jax.jit(partial(_newton_schulz, dtype=jnp.bfloat16))
    generator = torch.Generator().manual_seed(0)
    equal = []
    for _ in range(20):
        matrix = torch.randn(shape, generator=generator)
        wanted = getattr(torch.optim._muon, NEWTON_SCHULZ)(matrix, COEFFICIENTS, 5, 1e-7)
        got = np.asarray(ours(jnp.asarray(matrix.numpy())))
        equal.append(np.array_equal(got, wanted.float().numpy()))
    assert np.mean(equal) >= (1 if math.prod(shape) < 100 else 0.5)


def _newton_schulz(matrix, dtype):
    return _orthogonalized(matrix, COEFFICIENTS, 5, 1e-7, dtype)


def test_zero_gradients_move_nothing():
    params = {"w": jnp.ones((2, 3))}
    for optimizer in (fdl.optim.muon(weight_decay=0.0), fdl.optim.adafactor()):
        grads = jax.tree.map(jnp.zeros_like, params)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        assert not updates["w"].any()


def test_muon_names_what_is_no_matrix():
    params = {"head": {"weight": jnp.ones((2, 3)), "bias": jnp.ones(2)}, "conv": jnp.ones((1,) * 4)}
    with pytest.raises(ValueError, match=r"'conv' of .*'head.bias' of .*optax.partition") as raised:
        fdl.optim.muon().init(params)
    assert "weight" not in str(raised.value)
    labels = jax.tree.map(lambda p: "muon" if p.ndim == 2 else "adamw", params)
    optimizer = optax.partition({"muon": fdl.optim.muon(), "adamw": fdl.optim.adamw()}, labels)
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert all(leaf.any() for leaf in jax.tree.leaves(updates))


# --- arguments


@pytest.mark.parametrize("name", ["adafactor", "muon", "lbfgs"])
def test_arguments_and_defaults_are_torchs(name):
    def defaults(function):
        return {k: p.default for k, p in inspect.signature(function).parameters.items()}

    expected = defaults({**TORCH, "lbfgs": torch.optim.LBFGS}[name])
    kept = {k: v for k, v in expected.items() if k not in ("params", "foreach")}
    found = defaults(getattr(fdl.optim, name))
    own = {"ns_dtype"} if name == "muon" else set()
    assert list(found) == [*kept, *own]
    assert {k: found[k] for k in kept} == kept


REFUSED = [
    *[(name, "lr", -0.1) for name in ("adafactor", "muon", "lbfgs")],
    ("adafactor", "beta2_decay", 0.8),
    ("adafactor", "eps", (-1e-30, 1e-3)),
    ("adafactor", "eps", (None, -1e-3)),
    ("adafactor", "d", 0.5),
    ("adafactor", "weight_decay", -1.0),
    ("muon", "momentum", -0.1),
    ("muon", "weight_decay", -0.1),
    ("muon", "adjust_lr_fn", "arbitrary"),
]
LATER = [  # torch raises in its step, or while it shifts a history of nothing
    ("muon", "ns_steps", 100),
    ("muon", "ns_coefficients", (1.0, 2.0)),
    ("lbfgs", "line_search_fn", "armijo"),
    ("lbfgs", "history_size", 0),
]


@pytest.mark.parametrize("wrong", [*REFUSED, *LATER], ids=str)
def test_what_torch_refuses_is_refused(wrong):
    name, argument, value = wrong
    if wrong in REFUSED:
        with pytest.raises(ValueError):  # noqa: PT011  torch's own words
            {**TORCH, "lbfgs": torch.optim.LBFGS}[name]([torch.zeros(2, 2)], **{argument: value})
    with pytest.raises(ValueError, match=f"{name}: {argument}: expected .*got"):
        getattr(fdl.optim, name)(**{argument: value})


def test_lbfgs_says_what_an_update_needs():
    optimizer, params = fdl.optim.lbfgs(), {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"lbfgs: update: expected .*value_fn, got"):
        optimizer.update(params, optimizer.init(params), params)


@pytest.mark.parametrize("name", TORCH)
def test_hyperparameters_can_be_injected(name):
    params = {"w": jnp.arange(6.0).reshape(2, 3)}
    options = {"lr": 0.1, "weight_decay": 0.2}
    plain = getattr(fdl.optim, name)(**options)
    injected = optax.inject_hyperparams(getattr(fdl.optim, name))(**options)
    updates, _ = jax.jit(injected.update)(params, injected.init(params), params)
    expected, _ = plain.update(params, plain.init(params), params)
    assert relative(np.asarray(updates["w"]), np.asarray(expected["w"])) <= TOLERANCE.float32(0)


@pytest.mark.parametrize("name", TORCH)
def test_bfloat16_parameters_keep_their_dtype(name):
    params = {"w": jnp.ones((2, 3), jnp.bfloat16)}
    optimizer = getattr(fdl.optim, name)(optax.constant_schedule(0.1), weight_decay=0.1)
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert updates["w"].dtype == jnp.bfloat16
