"""fdl.optim against torch.optim: a hundred steps of every option, at every step."""

import inspect
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal, distances

import fdl
from fdl.optim.adam import bias_correction
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

STEPS = 100
TORCH = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
LR = {"sgd": 0.05, "adam": 0.02, "adamw": 0.02}

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("sgd", {}),
    ("sgd", {"weight_decay": 0.1}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "dampening": 0.4}),
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1}),
    ("sgd", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("sgd", {"dampening": 0.4, "maximize": True}),
    ("adam", {}),
    ("adam", {"betas": (0.0, 0.99)}),
    ("adam", {"betas": (0.0, 0.0)}),
    ("adam", {"eps": 0.1}),
    ("adam", {"weight_decay": 0.1}),
    ("adam", {"amsgrad": True}),
    ("adam", {"amsgrad": True, "weight_decay": 0.1, "maximize": True, "betas": (0.7, 0.9)}),
    ("adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("adamw", {}),
    ("adamw", {"weight_decay": 0.0}),
    ("adamw", {"weight_decay": 0.3, "amsgrad": True, "eps": 1e-3}),
    ("adamw", {"weight_decay": 0.3, "maximize": True, "betas": (0.0, 0.5)}),
]


def label(option: tuple[str, dict[str, Any]]) -> str:
    return f"{option[0]}({','.join(f'{k}={v}' for k, v in option[1].items())})".replace(" ", "")


each_option = pytest.mark.parametrize("option", OPTIONS, ids=map(label, OPTIONS))


def learning_rate(name: str, step: Any) -> Any:
    """A learning rate that rises and falls, exact in float32."""
    return LR[name] * (0.5 + (step % 8) / 8)


def pull(value: Any) -> Any:
    """The part of the gradient that depends on the parameter; exact operations only."""
    return value / (1 + value * value)


def problem(dtype: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Parameters, and gradients for every step that do not depend on them."""
    generator = np.random.default_rng(0)
    shapes = {"weight": (3, 4), "bias": (4,), "scale": ()}
    params = {k: generator.normal(size=s).astype(dtype) for k, s in shapes.items()}
    drawn = {k: generator.normal(size=(STEPS, *s)).astype(dtype) for k, s in shapes.items()}
    return params, drawn


def torch_run(option, dtype: str, *, changing: bool) -> tuple[dict[str, np.ndarray], Any]:
    """Every parameter after every step, and the optimizer."""
    name, options = option
    # The oracle too starts from what float32 holds.
    params, drawn = problem("float32")
    params = {k: torch.tensor(v.astype(dtype)).requires_grad_() for k, v in params.items()}
    optimizer = TORCH[name](params.values(), lr=LR[name], **options)
    path = {k: [] for k in params}
    for step in range(STEPS):
        if changing:
            optimizer.param_groups[0]["lr"] = learning_rate(name, step)
        for key, value in params.items():
            value.grad = torch.tensor(drawn[key][step].astype(dtype)) + pull(value.detach())
        optimizer.step()
        for key, value in params.items():
            path[key].append(value.detach().numpy().copy())
    return {k: np.stack(v) for k, v in path.items()}, (optimizer, params)


def fdl_run(option, dtype: str, *, changing: bool) -> tuple[dict[str, np.ndarray], Any]:
    """The same in one jitted scan, and the final state."""
    name, options = option
    lr = partial(learning_rate, name) if changing else LR[name]
    optimizer = getattr(fdl.optim, name)(lr, **options)
    params, drawn = (
        {k: jnp.asarray(v.astype(dtype)) for k, v in arrays.items()}
        for arrays in problem("float32")
    )

    def step(carry, drawn):
        params, state = carry
        grads = jax.tree.map(lambda g, p: g + pull(p), drawn, params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    run = jax.jit(lambda params, state: jax.lax.scan(step, (params, state), drawn))
    (_, state), path = run(params, optimizer.init(params))
    return path, state


@each_option
@pytest.mark.parametrize("changing", [False, True], ids=["constant", "changing"])
def test_every_step_equals_torch_in_float64(option, changing):
    expected, _ = torch_run(option, "float64", changing=changing)
    with jax.enable_x64(True):
        path, _ = fdl_run(option, "float64", changing=changing)
        for step in range(STEPS):
            assert_equal(
                {k: v[step] for k, v in path.items()}, {k: v[step] for k, v in expected.items()}
            )


@each_option
@pytest.mark.parametrize("changing", [False, True], ids=["constant", "changing"])
def test_every_step_is_as_precise_as_torchs_in_float32(option, changing):
    oracle, _ = torch_run(option, "float64", changing=changing)
    reference, _ = torch_run(option, "float32", changing=changing)
    path, _ = fdl_run(option, "float32", changing=changing)
    for name, values in oracle.items():
        own = 0.0
        for step, exact in enumerate(values):
            size = maximum(values[: step + 1])
            error, own_now = (
                distance(np.asarray(run[name][step]), exact, size, maximum)
                for run in (path, reference)
            )
            own = max(own, own_now)
            assert error <= TOLERANCE.float32(own), (name, step)


@each_option
def test_state_has_torchs_names_and_values(option):
    path, (optimizer, params) = torch_run(option, "float64", changing=False)
    with jax.enable_x64(True):
        _, state = fdl_run(option, "float64", changing=False)
        found = [
            part for part in state if isinstance(part, (fdl.optim.SGDState, fdl.optim.AdamState))
        ]
        for name, parameter in params.items():
            expected = {k: v for k, v in optimizer.state[parameter].items() if v is not None}
            named = found[0]._asdict() if expected else {}
            got = {k: named[k] if k == "step" else named[k][name] for k in expected}
            got, expected = (
                {k: np.float64(v) for k, v in side.items()} for side in (got, expected)
            )
            assert_equal({name: path[name], **got}, {name: path[name], **expected})


NOT_IN_JAX = {"foreach", "capturable", "differentiable", "fused"}


@pytest.mark.parametrize("name", TORCH)
def test_arguments_and_defaults_are_torchs(name):
    def defaults(function):
        return {k: p.default for k, p in inspect.signature(function).parameters.items()}

    expected = defaults(TORCH[name])
    kept = {k: v for k, v in expected.items() if k != "params" and k not in NOT_IN_JAX}
    assert defaults(getattr(fdl.optim, name)) == kept


INVALID = [
    ("sgd", {"lr": -0.1}),
    ("sgd", {"momentum": -0.1}),
    ("sgd", {"weight_decay": -0.1}),
    ("sgd", {"nesterov": True}),
    ("sgd", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
    *[
        (name, wrong)
        for name in ("adam", "adamw")
        for wrong in (
            {"lr": -0.1},
            {"lr": math.nan},
            {"eps": -0.1},
            {"weight_decay": -0.1},
            {"betas": (1.0, 0.9)},
            {"betas": (0.9, 1.0)},
            {"betas": (-0.1, 0.9)},
        )
    ],
]


@pytest.mark.parametrize("option", INVALID, ids=map(label, INVALID))
def test_what_torch_refuses_is_refused(option):
    name, wrong = option
    with pytest.raises(ValueError, match=r"Invalid|Nesterov"):  # torch's own words
        TORCH[name]([torch.zeros(1)], **wrong)
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected .*got"):
        getattr(fdl.optim, name)(**wrong)


# --- with the rest of Optax

PARAMS = {"w": jnp.arange(3.0)}
GRADS = {"w": jnp.array([3.0, -4.0, 12.0])}


@pytest.mark.parametrize("name", TORCH)
def test_is_a_link_of_a_chain_under_one_jit(name):
    optimizer = getattr(fdl.optim, name)(lr=0.1)
    chained = optax.chain(optax.clip_by_global_norm(1.0), optimizer)
    update = jax.jit(chained.update)
    state = chained.init(PARAMS)
    for _ in range(3):
        updates, state = update(GRADS, state, PARAMS)
    alone = optimizer.init(PARAMS)
    for _ in range(3):
        clipped = jax.tree.map(lambda g: g / 13, GRADS)
        expected, alone = optimizer.update(clipped, alone, PARAMS)
    assert update._cache_size() == 1
    assert max(distances(updates, as_numpy(expected)).values()) <= TOLERANCE.float32(0)


@pytest.mark.parametrize("name", TORCH)
def test_hyperparameters_can_be_injected(name):
    options = {"lr": 0.1, "weight_decay": 0.2}
    plain = getattr(fdl.optim, name)(**options)
    injected = optax.inject_hyperparams(getattr(fdl.optim, name))(**options)
    updates, state = jax.jit(injected.update)(GRADS, injected.init(PARAMS), PARAMS)
    expected, _ = plain.update(GRADS, plain.init(PARAMS), PARAMS)
    assert set(options) <= set(state.hyperparams)
    assert max(distances(updates, as_numpy(expected)).values()) <= TOLERANCE.float32(0)


def as_numpy(tree: dict[str, jax.Array]) -> dict[str, np.ndarray]:
    return {k: np.asarray(v) for k, v in tree.items()}


@pytest.mark.parametrize("name", TORCH)
def test_learning_rate_may_be_an_argument_of_a_jitted_function(name):
    def update(lr):
        optimizer = getattr(fdl.optim, name)(lr)
        return optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)[0]

    expected = as_numpy(update(0.1))
    assert max(distances(jax.jit(update)(0.1), expected).values()) <= TOLERANCE.float32(0)


# --- numbers


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999, 0.9999])
def test_bias_correction_is_precise_in_float32(beta):
    steps = np.arange(1, 10_001)
    exact = -np.expm1(steps * np.log(beta))
    errors = np.abs(np.asarray(bias_correction(beta, jnp.asarray(steps))) / exact - 1)
    assert errors.max() <= TOLERANCE.float32(0)


def test_naive_bias_correction_would_be_found():
    naive = 1 - np.float32(0.999) ** np.arange(1, 10_001, dtype=np.float32)
    exact = -np.expm1(np.arange(1, 10_001) * np.log(0.999))
    assert np.abs(naive / exact - 1).max() > TOLERANCE.float32(0)


def test_schedule_is_called_with_a_float_of_the_default_width():
    seen = []

    def lr(count):
        seen.append(str(count.dtype))
        return 0.1 / (1 + count)

    optimizer = fdl.optim.sgd(lr)
    for wide in (False, True):
        with jax.enable_x64(wide):
            params = {"w": jnp.ones(())}
            state = optimizer.init(params)
            rates = []
            for _ in range(3):
                updates, state = optimizer.update(params, state, params)
                rates.append(-updates["w"])
            np.testing.assert_array_equal(rates, 0.1 / np.arange(1, 4, dtype=rates[0].dtype))
    assert seen == ["float32"] * 3 + ["float64"] * 3


def test_optax_schedule_equals_torchs_in_float64():
    parameter = torch.zeros((), dtype=torch.float64, requires_grad=True)
    reference = torch.optim.SGD([parameter], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(reference, gamma=0.97)
    with jax.enable_x64(True):
        optimizer = fdl.optim.sgd(optax.exponential_decay(0.1, 1, 0.97))
        params = {"w": jnp.zeros(())}
        state, update = optimizer.init(params), jax.jit(optimizer.update)
        for _ in range(STEPS):
            parameter.grad = torch.ones_like(parameter)
            reference.step()
            scheduler.step()
            updates, state = update({"w": jnp.ones(())}, state)
            params = optax.apply_updates(params, updates)
            assert_equal(params, {"w": parameter.detach().numpy().copy()})


@pytest.mark.parametrize("name", TORCH)
def test_bfloat16_parameters_keep_their_dtype(name):
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    optimizer = getattr(fdl.optim, name)(optax.constant_schedule(0.1), weight_decay=0.1)
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert optax.apply_updates(params, updates)["w"].dtype == jnp.bfloat16
