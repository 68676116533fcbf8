"""Parameters without gradient against torch, which skips them, over whole trajectories."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from gradient_paths import (
    STEPS,
    Arrays,
    assert_paths,
    drawn_gradients,
    fdl_path,
    leaves,
    pull,
    torch_path,
)
from nearness import assert_equal, assert_near

import fdl

FEW = 12
SHAPES = {"late": (2, 3), "never": (2, 3), "often": (3, 2), "seldom": (4, 2), "always": (2, 2)}
SHARES = {"late": 0.8, "never": 0.0, "often": 0.7, "seldom": 0.3, "always": 1.0}
CASES: dict[str, tuple[Any, float, dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, 0.05, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    "adam": (torch.optim.Adam, 0.02, {"amsgrad": True, "weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, 0.02, {"weight_decay": 0.3}),
    "adamax": (torch.optim.Adamax, 0.02, {"weight_decay": 0.1}),
    "nadam": (torch.optim.NAdam, 0.02, {"weight_decay": 0.1, "momentum_decay": 0.1}),
    "radam": (torch.optim.RAdam, 0.02, {"weight_decay": 0.1, "betas": (0.7, 0.9)}),
    "adagrad": (torch.optim.Adagrad, 0.1, {"lr_decay": 0.1, "weight_decay": 0.1}),
    "adadelta": (torch.optim.Adadelta, 1.0, {"weight_decay": 0.1, "eps": 1e-2}),
    "rmsprop": (torch.optim.RMSprop, 0.01, {"momentum": 0.9, "centered": True, "eps": 0.1}),
    "rprop": (torch.optim.Rprop, 0.01, {}),
    "asgd": (torch.optim.ASGD, 0.1, {"lambd": 0.05, "t0": 4.0, "weight_decay": 0.1}),
    "adafactor": (torch.optim.Adafactor, 0.1, {"weight_decay": 0.1}),
    "muon": (torch.optim.Muon, 0.02, {}),
    "sparse_adam": (torch.optim.SparseAdam, 0.02, {}),
}
"""Torch's class, a learning rate and options."""


def rising(step: Any) -> Any:
    return 0.5 + (step % 7) / 4


def problem() -> tuple[Arrays, Arrays, Arrays]:
    """Parameters, parts of every step's gradients, and at which steps there is a gradient."""
    params, drawn = drawn_gradients(SHAPES)
    generator = np.random.default_rng(1)
    present = {k: generator.random(STEPS) < share for k, share in SHARES.items()}
    present["late"][:9] = False
    return params, drawn, present


def torch_run(name: str) -> tuple[Arrays, dict[str, Arrays]]:
    """Every parameter after every step, and the final state of each."""
    optimizer, lr, options = CASES[name]
    start, drawn, present = problem()
    params = leaves(start)
    made = optimizer(params.values(), lr=lr, **options)
    schedule = torch.optim.lr_scheduler.LambdaLR(made, rising)

    def step(number):
        made.step()
        schedule.step()

    path = torch_path(params, drawn, step, present=present, sparse=name == "sparse_adam")
    states = {
        k: {f: v for f, v in made.state[p].items() if v is not None} for k, p in params.items()
    }
    return path, {k: {f: np.float64(v) for f, v in state.items()} for k, state in states.items()}


def ours(name: str, *, wide: bool = True) -> tuple[Any, dict[str, Any]]:
    """A factory and its options, the learning rate a schedule."""
    _, lr, options = CASES[name]
    own = {"ns_dtype": jnp.float64} if name == "muon" and wide else {}
    return getattr(fdl.optim, name), {**options, **own, "lr": lambda step: lr * rising(step)}


def assert_state(state, expected):
    """Asserts that fdl's state has torch's values; torch has none of what it never saw."""
    for name, wanted in expected.items():
        if not wanted:
            continue
        part = next(part for part in state.inner[name] if wanted.keys() <= set(dir(part)))
        fields = {k: getattr(part, k) for k in wanted}
        got = {k: np.float64(v[name] if isinstance(v, dict) else v) for k, v in fields.items()}
        assert_equal(got, wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("unrounded", "wide_default")
def test_every_step_and_the_state_equal_torch_where_gradients_come_and_go(name):
    """The learning rate's schedule goes on for all; one parameter has its first gradient late."""
    expected, states = torch_run(name)
    factory, options = ours(name)
    with jax.enable_x64(True):
        path, state = fdl_path(fdl.optim.skip_absent(factory, **options), *problem())
        assert_paths(path, expected)
        assert_state(state, states)
    *_, present = problem()
    assert {k: bool(seen) for k, seen in state.seen.items()} == {
        k: here.any() for k, here in present.items()
    }
    assert not state.seen["never"]
    assert int(state.step) == STEPS


def test_gradients_that_are_none_equal_torch():
    """Presence that is known when a step is compiled, as None or as a bool."""
    expected, states = torch_run("adamw")
    factory, options = ours("adamw")
    start, drawn, present = problem()
    with jax.enable_x64(True):
        optimizer = fdl.optim.skip_absent(factory, **options)
        params = {k: jnp.asarray(v) for k, v in start.items()}
        state = optimizer.init(params)
        for step in range(FEW):
            grads = {k: jnp.asarray(v[step]) + pull(params[k]) for k, v in drawn.items()}
            here = {k: present[k][step] for k in SHAPES}
            told = {k: here[k] for k in ("late", "often")}
            grads = {k: g if here[k] or k in told else None for k, g in grads.items()}
            updates, state = optimizer.update(grads, state, params, present=told)
            params = optax.apply_updates(params, updates)
            assert_equal(params, {k: v[step] for k, v in expected.items()})
    assert states["always"]["step"] == STEPS
    assert state.inner["often"][2].step == present["often"][:FEW].sum() < FEW


def test_a_cycled_momentum_goes_on_for_all():
    """A schedule inside an option, and torch's momentum set by hand."""
    params, drawn, present = problem()
    tensors = leaves(params)
    adam = torch.optim.Adam(tensors.values(), lr=0.02)

    def step(number):
        adam.param_groups[0]["betas"] = (0.95 - 0.1 * (number % 5) / 5, 0.99)
        adam.step()

    expected = torch_path(tensors, drawn, step, present=present)
    with jax.enable_x64(True):
        betas = (lambda step: 0.95 - 0.1 * (step % 5) / 5, 0.99)
        optimizer = fdl.optim.skip_absent(fdl.optim.adam, lr=0.02, betas=betas)
        path, _ = fdl_path(optimizer, params, drawn, present)
        assert_paths(path, expected)


def test_groups_of_parameters_that_may_be_absent_equal_torch():
    params, drawn, present = problem()
    tensors = leaves(params)
    tensors["seldom"].requires_grad_(False)
    groups = [
        {"params": [tensors[k] for k in ("never", "always", "seldom")]},
        {"params": [tensors[k] for k in ("late", "often")], "lr": 0.05, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, [rising, lambda _: 1.0])

    def step(number):
        adamw.step()
        schedule.step()

    expected = torch_path(tensors, drawn, step, present=present)
    with jax.enable_x64(True):
        optimizer = fdl.optim.param_groups(
            partial(fdl.optim.skip_absent, fdl.optim.adamw),
            {"[lo]*": {"lr": 0.05, "weight_decay": 0.0}, "seldom": {"frozen": True}},
            lr=lambda step: 0.02 * rising(step),
        )
        path, state = fdl_path(optimizer, params, drawn, present)
        assert_paths(path, expected)
        assert set(state.inner_states["[lo]*"].inner_state.inner) == {"late", "often"}


# --- what it does and does not touch

PARAMS = {"used": jnp.ones((3, 2)), "spare": jnp.ones((3, 2))}
optimizer = fdl.optim.skip_absent(fdl.optim.adamw, lr=0.1)


def test_where_all_are_present_it_is_the_optimizer():
    alone = fdl.optim.adamw(0.1)
    state, expected = optimizer.init(PARAMS), alone.init(PARAMS)
    for _ in range(3):
        updates, state = optimizer.update(PARAMS, state, PARAMS)
        wanted, expected = alone.update(PARAMS, expected, PARAMS)
    for name in PARAMS:
        np.testing.assert_array_equal(updates[name], wanted[name])


@pytest.mark.parametrize("absent", ["none", "bool", "traced"])
def test_an_absent_parameter_and_its_state_stay(absent):
    _, before = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    grads = PARAMS | ({"spare": None} if absent == "none" else {"spare": jnp.full((3, 2), jnp.nan)})
    present = {"bool": {"spare": False}, "traced": {"spare": jnp.asarray(False)}}.get(absent)
    updates, after = optimizer.update(grads, before, PARAMS, present=present)
    assert not updates["spare"].any()
    assert updates["used"].all()
    jax.tree.map(np.testing.assert_array_equal, after.inner["spare"], before.inner["spare"])
    assert int(after.inner["used"][2].step) == 2
    assert jax.eval_shape(lambda: after) == jax.eval_shape(lambda: before)


def test_one_compilation_serves_every_presence():
    update, state = jax.jit(optimizer.update), optimizer.init(PARAMS)
    for here in (True, False, True):
        _, state = update(PARAMS, state, PARAMS, present={"spare": here})
    assert update._cache_size() == 1
    assert [int(state.inner[name][2].step) for name in PARAMS] == [3, 2]


def test_works_under_vmap():
    def step(here):
        state = optimizer.init(PARAMS)
        updates, state = optimizer.update(PARAMS, state, PARAMS, present={"spare": here})
        return updates["spare"].any(), state.inner["spare"][2].step

    moved, steps = jax.vmap(step)(jnp.array([True, False]))
    assert (moved.tolist(), steps.tolist()) == ([True, False], [1, 0])


def test_bfloat16_parameters_keep_their_dtype():
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), PARAMS)
    schedule = optax.constant_schedule(0.1)
    skipping = fdl.optim.skip_absent(fdl.optim.rprop, lr=schedule)
    present = {"spare": jnp.asarray(False)}
    updates, _ = skipping.update(params, skipping.init(params), params, present=present)
    assert {u.dtype for u in updates.values()} == {jnp.dtype(jnp.bfloat16)}


def test_after_clipping_by_norm_the_absent_do_not_count():
    chain = optax.chain(fdl.optim.clip_grad_norm(1.0), fdl.optim.skip_absent(fdl.optim.sgd, lr=1.0))
    grads = {"used": jnp.array([[3.0, 4.0]]), "spare": None}
    params = {"used": jnp.zeros((1, 2)), "spare": jnp.zeros(2)}
    updates, _ = jax.jit(chain.update)(grads, chain.init(params), params)
    assert_near(updates["used"], np.array([[-0.6, -0.8]]))
    assert not updates["spare"].any()


def test_extra_arguments_are_passed_on():
    """Those by name parameter by parameter, others whole."""
    seen = []

    def factory():
        def update(updates, state, params=None, **extra):
            seen.append(extra)
            return updates, state

        return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)

    passing = fdl.optim.skip_absent(factory)
    rows = {"used": 1, "spare": 2}
    passing.update(PARAMS, passing.init(PARAMS), PARAMS, rows=rows, value=3.0, present={})
    assert seen == [{"rows": {"used": 1}, "value": 3.0}, {"rows": {"spare": 2}, "value": 3.0}]


def test_rows_reach_sparse_adam():
    sparse = fdl.optim.skip_absent(fdl.optim.sparse_adam, lr=0.1)
    rows = {name: jnp.array([True, False, True]) for name in PARAMS}
    grads = PARAMS | {"spare": None}
    updates, _ = sparse.update(grads, sparse.init(PARAMS), PARAMS, rows=rows)
    assert updates["used"].astype(bool).all(1).tolist() == [True, False, True]
    assert not updates["spare"].any()


# --- errors


def test_lbfgs_is_refused():
    with pytest.raises(ValueError, match=r"skip_absent: optimizer: .*lbfgs: torch takes a missing"):
        fdl.optim.skip_absent(fdl.optim.lbfgs)


def test_options_are_checked_at_once():
    with pytest.raises(ValueError, match="lr: expected 0 or more"):
        fdl.optim.skip_absent(fdl.optim.adamw, lr=-1.0)
    with pytest.raises(TypeError, match="'momentum'"):
        fdl.optim.skip_absent(fdl.optim.adamw, momentum=0.9)


@pytest.mark.parametrize("params", [{"head": {"weight": jnp.ones(2)}}, [jnp.ones(2)]], ids=type)
def test_parameters_are_a_flat_dict(params):
    with pytest.raises(TypeError, match=r"skip_absent: params: expected a flat dict .*got"):
        optimizer.init(params)


def test_presence_of_unknown_names_is_refused():
    with pytest.raises(ValueError, match=r"skip_absent: present: .*got \['spaer'\]"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS, present={"spaer": False})


def test_no_gradient_and_no_parameter_is_refused():
    skipping = fdl.optim.skip_absent(fdl.optim.sgd)
    with pytest.raises(ValueError, match=r"skip_absent: params: .*'spare' has no gradient"):
        skipping.update(PARAMS | {"spare": None}, skipping.init(PARAMS))
