"""What torch's own table of optimizers does not try: more options, numbers, errors and the rest."""

import inspect
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_near
from trajectories import check_meaning, check_precision, option

import fdl
from fdl.optim.radam import length_of_average
from fdl.parity import TOLERANCE

TORCH = {
    "adadelta": "Adadelta",
    "adagrad": "Adagrad",
    "adamax": "Adamax",
    "asgd": "ASGD",
    "nadam": "NAdam",
    "radam": "RAdam",
    "rmsprop": "RMSprop",
    "rprop": "Rprop",
    "sparse_adam": "SparseAdam",
}
each_optimizer = pytest.mark.parametrize("name", TORCH)

OPTIONS = [
    option(TORCH[name], name, options)
    for name, options in (
        ("adadelta", {"rho": 1.0, "eps": 1e-2}),
        ("adagrad", {"eps": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
        ("adamax", {"betas": (0.0, 0.5), "eps": 0.1, "lr": 0.05}),
        ("asgd", {"t0": 20.0, "lambd": 0.05, "alpha": 0.5, "lr": 0.1}),
        ("asgd", {"t0": 0.0, "lambd": 0.0, "lr": 0.1, "maximize": True}),
        ("nadam", {"betas": (0.7, 0.9), "eps": 0.1, "lr": 0.05}),
        (
            "nadam",
            {
                "momentum_decay": 0.0,
                "decoupled_weight_decay": True,
                "weight_decay": 0.3,
                "maximize": True,
            },
        ),
        ("radam", {"betas": (0.7, 0.9), "eps": 0.1, "lr": 0.05}),
        ("radam", {"betas": (0.0, 0.6), "lr": 0.05}),
        ("radam", {"betas": (0.9, 0.0)}),
        ("radam", {"betas": (0.9, 0.9999), "decoupled_weight_decay": True, "weight_decay": 0.3}),
        ("rmsprop", {"alpha": 0.5, "eps": 0.1, "momentum": 0.9}),
        ("rmsprop", {"centered": True, "lr": 0.001}),
        ("rprop", {"step_sizes": (0.005, 0.02), "etas": (0.3, 1.7)}),
        ("rprop", {"lr": 0.001, "maximize": True}),
        ("sparse_adam", {"betas": (0.0, 0.5), "eps": 0.1, "lr": 0.05}),
    )
]
NOISY = option("Adadelta", "adadelta", {"rho": 0.0})
"""Without any averaging an update is one gradient over its own size, and rounding shows at once."""


def each(options):
    return pytest.mark.parametrize("chosen", options, ids=[chosen.text for chosen in options])


@each([*OPTIONS, NOISY])
def test_every_step_equals_torch_in_float64(chosen):
    check_meaning(chosen)


@each(OPTIONS)
def test_every_step_is_as_precise_as_torchs_in_float32(chosen):
    check_precision(chosen)


NOT_IN_JAX = {"params", "foreach", "capturable", "differentiable", "fused"}


@each_optimizer
def test_arguments_and_defaults_are_torchs(name):
    def defaults(function):
        parameters = inspect.signature(function).parameters.items()
        return [(k, p.default) for k, p in parameters if k not in NOT_IN_JAX]

    assert defaults(getattr(fdl.optim, name)) == defaults(getattr(torch.optim, TORCH[name]))


BETAS = [{"betas": betas} for betas in ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9))]
LR = [{"lr": -0.1}, {"lr": math.nan}]
SHARED = [*LR, {"eps": -0.1}, {"weight_decay": -0.1}]
INVALID = {
    "adadelta": [*SHARED, {"rho": -0.1}, {"rho": 1.1}],
    "adagrad": [*SHARED, {"lr_decay": -0.1}, {"initial_accumulator_value": -0.1}],
    "adamax": [*SHARED, *BETAS],
    "asgd": [*LR, {"weight_decay": -0.1}],
    "nadam": [*SHARED, *BETAS, {"momentum_decay": -0.1}],
    "radam": [*SHARED, *BETAS],
    "rmsprop": [*SHARED, {"momentum": -0.1}, {"alpha": -0.1}],
    "rprop": [*LR, *[{"etas": etas} for etas in ((0.0, 1.2), (1.0, 1.2), (0.5, 1.0))]],
    "sparse_adam": [*LR, {"lr": 0.0}, {"eps": 0.0}, {"eps": -0.1}, *BETAS],
}


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, wrong) for name, cases in INVALID.items() for wrong in cases]
)
def test_what_torch_refuses_is_refused(name, wrong):
    with pytest.raises(ValueError):  # noqa: PT011  torch's own words
        getattr(torch.optim, TORCH[name])([torch.zeros(1)], **wrong)
    with pytest.raises(ValueError, match=f"{name}: {next(iter(wrong))}: expected .*got"):
        getattr(fdl.optim, name)(**wrong)


# --- with the rest of Optax

PARAMS = {"w": jnp.arange(3.0), "b": jnp.ones(())}
GRADS = {"w": jnp.array([3.0, -4.0, 12.0]), "b": jnp.float32(2.0)}


def moved(optimizer: Any, steps: int = 4, params: Any = PARAMS, grads: Any = GRADS) -> Any:
    """The parameters after some steps in one direction."""
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for _ in range(steps):
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    assert update._cache_size() == 1
    return params


def assert_same(got: Any, expected: Any) -> None:
    for name in expected:
        assert_near(got[name], expected[name])


@each_optimizer
def test_a_number_is_a_constant_schedule(name):
    factory = getattr(fdl.optim, name)
    assert_same(moved(factory(0.1)), moved(factory(lambda step: 0.1 + 0 * step)))


@each_optimizer
def test_is_a_link_of_a_chain_under_one_jit(name):
    optimizer = getattr(fdl.optim, name)(0.1)
    clipped = jax.tree.map(lambda g: g / optax.tree.norm(GRADS), GRADS)
    chained = optax.chain(optax.clip_by_global_norm(1.0), optimizer)
    assert_same(moved(chained), moved(optimizer, grads=clipped))


@each_optimizer
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


@each_optimizer
def test_learning_rate_may_be_an_argument_of_a_jitted_function(name):
    def update(lr):
        optimizer = getattr(fdl.optim, name)(lr)
        return optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)[0]

    assert_same(jax.jit(update)(0.1), update(0.1))


@each_optimizer
@pytest.mark.parametrize("wide", [False, True])
def test_state_and_updates_keep_the_dtype_of_the_parameters(name, wide):
    with jax.enable_x64(wide):
        optimizer = getattr(fdl.optim, name)(optax.constant_schedule(0.1))
        for dtype in (jnp.bfloat16, jnp.float32):
            params = {"w": jnp.ones(3, dtype)}
            updates, state = jax.jit(optimizer.update)(params, optimizer.init(params), params)
            leaves = [updates, *(leaf for leaf in jax.tree.leaves(state) if leaf.shape)]
            assert {leaf.dtype for leaf in jax.tree.leaves(leaves)} == {jnp.dtype(dtype)}
            one_step = jax.eval_shape(optimizer.init, params)
            assert jax.tree.map(jnp.shape, one_step) == jax.tree.map(jnp.shape, state)
            assert [x.dtype for x in jax.tree.leaves(one_step)] == [
                x.dtype for x in jax.tree.leaves(state)
            ]


# --- of one optimizer each


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99, 0.999, 0.9999])
def test_length_of_average_is_precise_in_float32(beta):
    steps = np.unique(np.geomspace(1, 1e7, 400).astype(int))
    with jax.enable_x64(True):
        exact = np.asarray(length_of_average(beta, jnp.asarray(steps)))
    plain = 2 / (1 - beta) - 1 - 2 * steps * beta**steps / -np.expm1(steps * np.log(beta))
    assert np.abs(exact / plain - 1).max() <= TOLERANCE.float64
    errors = np.abs(np.asarray(length_of_average(beta, jnp.asarray(steps))) / exact - 1)
    assert errors.max() <= TOLERANCE.float32(0)


def test_asgd_averages_after_t0_and_its_rate_changes_a_step_late():
    params, grads = {"w": jnp.zeros(())}, {"w": jnp.ones(())}
    optimizer = fdl.optim.asgd(lambda step: jnp.where(step < 2, 1.0, 10.0), lambd=0.0, t0=1)
    state, path, averages = optimizer.init(params), [], []
    for _ in range(4):
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        path.append(float(params["w"]))
        averages.append(float(optax.tree.get(state, "ax")["w"]))
    assert path == [-1, -2, -3, -13]  # the rate of step 2 is that of step 3
    assert averages == [-1, -2, -3, -8]  # mu is 1, 1, 1, 1/2


def test_asgd_needs_the_parameters():
    optimizer = fdl.optim.asgd()
    with pytest.raises(ValueError, match="asgd: params: expected"):
        optimizer.update(GRADS, optimizer.init(PARAMS))


def test_variance_that_rounding_makes_negative_is_not_nan():
    optimizer = fdl.optim.rmsprop(lr=0.0, alpha=0.5, centered=True)
    grads = {"w": jnp.linspace(0.1, 7.0, 50)}
    assert np.isfinite(moved(optimizer, 40, {"w": jnp.zeros(50)}, grads)["w"]).all()


TABLE = {"w": jnp.ones((4, 2))}
SOME_ROWS = {"w": jnp.zeros((4, 2)).at[1].set(1.0).at[2, 0].set(-1.0)}


def test_absent_rows_keep_their_state_and_their_parameters():
    optimizer = fdl.optim.sparse_adam(0.1)
    everywhere = jax.tree.map(jnp.ones_like, TABLE)
    _, before = optimizer.update(everywhere, optimizer.init(TABLE), TABLE)
    updates, after = optimizer.update(SOME_ROWS, before, TABLE)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        if old.ndim:
            np.testing.assert_array_equal(new[jnp.array([0, 3])], old[jnp.array([0, 3])])
            assert (new[jnp.array([1, 2])] != old[jnp.array([1, 2])]).any(1).all()
    np.testing.assert_array_equal((updates["w"] != 0).any(1), [False, True, True, False])


def test_rows_in_the_batch_may_have_no_gradient():
    """As torch's sparse gradients may: such a row decays its means."""
    weight = torch.ones(4, 2, requires_grad=True)
    reference = torch.optim.SparseAdam([weight], lr=0.1)
    optimizer, params = fdl.optim.sparse_adam(0.1), TABLE
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    values = np.asarray(SOME_ROWS["w"])
    for rows in ([1, 2], [0, 1, 2], [0, 3]):
        sparse = torch.sparse_coo_tensor(
            [rows], torch.tensor(values[rows]), (4, 2), check_invariants=True
        )
        weight.grad = sparse
        reference.step()
        present = jnp.zeros(4, bool).at[jnp.array(rows)].set(True)
        grads = {"w": jnp.where(present[:, None], SOME_ROWS["w"], 0)}
        updates, state = update(grads, state, params, rows={"w": present})
        params = optax.apply_updates(params, updates)
        assert_near(params["w"], weight.detach().numpy())
    assert_near(optax.tree.get(state, "exp_avg")["w"], reference.state[weight]["exp_avg"].numpy())


@pytest.mark.parametrize("mask", [jnp.ones(3, bool), jnp.ones((4, 2), bool), jnp.ones(4)])
def test_mask_of_rows_must_fit(mask):
    optimizer = fdl.optim.sparse_adam(0.1)
    with pytest.raises(ValueError, match=r"sparse_adam: rows: expected .*got"):
        optimizer.update(SOME_ROWS, optimizer.init(TABLE), TABLE, rows={"w": mask})
