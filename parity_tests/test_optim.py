"""The interface of every optimizer: torch's errors, Optax's ways, one program."""

import inspect
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax.extend.core import jaxprs_in_params
from nearness import assert_equal, assert_near
from optimizer_names import FACTORIES

import fdl

TORCH = {factory: getattr(torch.optim, name) for name, factory in FACTORIES.items()}
each_optimizer = pytest.mark.parametrize("name", TORCH)
OF_GRADIENTS = [name for name in TORCH if name != "lbfgs"]
"""Those whose update needs no loss to evaluate; test_lbfgs.py has the same for the other one."""
each_of_gradients = pytest.mark.parametrize("name", OF_GRADIENTS)

# --- arguments; test_signatures.py has their names and defaults

BETAS = [{"betas": betas} for betas in ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9))]
LR = [{"lr": -0.1}, {"lr": math.nan}]
SHARED = [*LR, {"eps": -0.1}, {"weight_decay": -0.1}]
INVALID = {
    "adadelta": [*SHARED, {"rho": -0.1}, {"rho": 1.1}],
    "adafactor": [
        *LR,
        {"weight_decay": -1.0},
        {"beta2_decay": 0.8},
        {"eps": (-1e-30, 1e-3)},
        {"eps": (None, -1e-3)},
        {"d": 0.5},
    ],
    "adagrad": [*SHARED, {"lr_decay": -0.1}, {"initial_accumulator_value": -0.1}],
    "adam": [*SHARED, *BETAS],
    "adamax": [*SHARED, *BETAS],
    "adamw": [*SHARED, *BETAS],
    "asgd": [*LR, {"weight_decay": -0.1}],
    "lbfgs": LR,
    "muon": [*LR, {"weight_decay": -0.1}, {"momentum": -0.1}, {"adjust_lr_fn": "arbitrary"}],
    "nadam": [*SHARED, *BETAS, {"momentum_decay": -0.1}],
    "radam": [*SHARED, *BETAS],
    "rmsprop": [*SHARED, {"momentum": -0.1}, {"alpha": -0.1}],
    "rprop": [*LR, *[{"etas": etas} for etas in ((0.0, 1.2), (1.0, 1.2), (0.5, 1.0))]],
    "sgd": [
        {"lr": -0.1},
        {"weight_decay": -0.1},
        {"momentum": -0.1},
        {"nesterov": True},
        {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
    ],
    "sparse_adam": [*LR, {"lr": 0.0}, {"eps": 0.0}, {"eps": -0.1}, *BETAS],
}
LATER = {
    "lbfgs": [{"line_search_fn": "armijo"}, {"history_size": 0}],
    "muon": [{"ns_steps": 100}, {"ns_coefficients": (1.0, 2.0)}],
    "sgd": [{"lr": math.nan}],
}
"""What torch's constructor lets pass; it fails in the step, or gives NaN."""


def of_names(cases: dict[str, list[dict[str, Any]]]) -> Any:
    pairs = [(name, wrong) for name, those in cases.items() for wrong in those]
    return pytest.mark.parametrize(("name", "wrong"), pairs, ids=str)


@of_names(INVALID)
def test_what_torch_refuses_is_refused(name, wrong):
    with pytest.raises(ValueError, match=r"Invalid|should be|must be|not supported|requires"):
        TORCH[name]([torch.zeros(2, 2)], **wrong)
    assert_refused(name, wrong)


@of_names(LATER)
def test_what_torch_cannot_use_is_refused(name, wrong):
    TORCH[name]([torch.zeros(2, 2)], **wrong)
    assert_refused(name, wrong)


def assert_refused(name: str, wrong: dict[str, Any]) -> None:
    said = {"adamw": "adam"}.get(name, name)  # which it is, with a default of its own
    with pytest.raises(ValueError, match=f"{said}: {next(iter(wrong))}: expected .*got"):
        getattr(fdl.optim, name)(**wrong)


# --- with the rest of Optax

PARAMS = {"w": jnp.arange(6.0).reshape(3, 2), "b": jnp.ones((1, 2))}
GRADS = {"w": jnp.array([[3.0, -4.0], [12.0, 0.5], [-1.0, 2.0]]), "b": jnp.full((1, 2), 2.0)}


def moved(optimizer: Any, steps: int = 4, grads: Any = GRADS) -> Any:
    """The parameters after some steps in one direction."""
    params, state, update = PARAMS, optimizer.init(PARAMS), jax.jit(optimizer.update)
    for _ in range(steps):
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_same(got: Any, expected: Any) -> None:
    for name in expected:
        assert_near(got[name], expected[name])


@each_of_gradients
def test_a_number_is_a_constant_schedule(name):
    factory = getattr(fdl.optim, name)
    assert_same(moved(factory(0.1)), moved(factory(lambda step: 0.1 + 0 * step)))


@each_of_gradients
def test_is_a_link_of_a_chain(name):
    optimizer = getattr(fdl.optim, name)(0.1)
    clipped = jax.tree.map(lambda g: g / optax.tree.norm(GRADS), GRADS)
    chained = optax.chain(optax.clip_by_global_norm(1.0), optimizer)
    assert_same(moved(chained), moved(optimizer, grads=clipped))


@each_of_gradients
def test_hyperparameters_can_be_injected(name):
    factory = getattr(fdl.optim, name)
    numbers = {
        key: 0.1 if key in ("lr", "weight_decay") else parameter.default
        for key, parameter in inspect.signature(factory).parameters.items()
        if isinstance(parameter.default, (int, float)) and not isinstance(parameter.default, bool)
    }
    injected = optax.inject_hyperparams(factory)(**numbers)
    assert injected.init(PARAMS).hyperparams.keys() == numbers.keys()
    assert_same(moved(injected), moved(factory(**numbers)))


@each_of_gradients
def test_learning_rate_may_be_an_argument_of_a_jitted_function(name):
    def update(lr):
        optimizer = getattr(fdl.optim, name)(lr)
        return optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)[0]

    assert_same(jax.jit(update)(0.1), update(0.1))


@each_of_gradients
@pytest.mark.parametrize("wide", [False, True])
def test_state_and_updates_keep_the_dtype_of_the_parameters(name, wide):
    with jax.enable_x64(wide):
        optimizer = getattr(fdl.optim, name)(optax.constant_schedule(0.1))
        for dtype in (jnp.bfloat16, jnp.float32):
            params = {"w": jnp.ones((2, 3), dtype)}
            updates, state = jax.eval_shape(
                optimizer.update, params, optimizer.init(params), params
            )
            leaves = [updates, *(leaf for leaf in jax.tree.leaves(state) if leaf.shape)]
            assert {leaf.dtype for leaf in jax.tree.leaves(leaves)} == {jnp.dtype(dtype)}
            assert state == jax.eval_shape(optimizer.init, params)


# --- the learning rate


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
        for _ in range(100):
            parameter.grad = torch.ones_like(parameter)
            reference.step()
            scheduler.step()
            updates, state = update({"w": jnp.ones(())}, state)
            params = optax.apply_updates(params, updates)
            assert_equal(params, {"w": parameter.detach().numpy().copy()})


# --- one program


def training_step(name: str) -> tuple[Any, Any]:
    """An optimizer with a changing rate, and a step on a loss of the parameters and a target."""
    factory = getattr(fdl.optim, name)
    optimizer = optax.with_extra_args_support(factory(lambda step: 0.1 / (1 + step)))

    def step(params, state, target):
        def loss(params):
            return sum(((p - target) ** 2).sum() for p in params.values())

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value, value_fn=loss)
        return optax.apply_updates(params, updates), state

    return optimizer, step


@each_optimizer
def test_is_traced_once(name):
    optimizer, step = training_step(name)
    traces = []

    @jax.jit
    def counted(params, state, target):
        traces.append(name)
        return step(params, state, target)

    params, state = PARAMS, optimizer.init(PARAMS)
    for target in (0.5, -2.0, 7.0):
        params, state = counted(params, state, jnp.asarray(target))
    assert len(traces) == 1
    assert all(bool(jnp.isfinite(p).all()) for p in params.values())
    assert any((params[k] != PARAMS[k]).any() for k in PARAMS)


@each_optimizer
def test_never_calls_the_host(name):
    optimizer, step = training_step(name)
    traced = jax.make_jaxpr(step)(PARAMS, optimizer.init(PARAMS), 1.0)
    assert not traced.effects
    found = {equation.primitive.name for equation in equations(traced.jaxpr)}
    assert found
    assert not {primitive for primitive in found if "callback" in primitive}


def equations(jaxpr: Any) -> Any:
    """Every equation, those of inner programs too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def test_a_call_of_the_host_would_be_found():
    def inner(x):
        return jax.pure_callback(operator.abs, x, x)

    traced = jax.make_jaxpr(lambda x: jax.lax.while_loop(lambda x: x < 3, inner, x))(1.0)
    found = equations(traced.jaxpr)
    assert any("callback" in equation.primitive.name for equation in found)


@each_optimizer
def test_lowers_for_accelerators(name):
    optimizer, step = training_step(name)
    arguments = (PARAMS, optimizer.init(PARAMS), jnp.ones(()))
    exported = jax.export.export(jax.jit(step), platforms=["cuda", "tpu"])(*arguments)
    assert exported.platforms == ("cuda", "tpu")
    assert "callback" not in exported.mlir_module()
