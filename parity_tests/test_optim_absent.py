"""Parameters without gradient against torch, which skips them, over whole trajectories."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal

import fdl

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEPS = 40
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


def problem() -> tuple[dict[str, np.ndarray], ...]:
    """Parameters, parts of every step's gradients, and at which steps there is a gradient."""
    generator = np.random.default_rng(0)
    params = {k: generator.normal(size=s) for k, s in SHAPES.items()}
    drawn = {k: generator.normal(size=(STEPS, *s)) for k, s in SHAPES.items()}
    present = {k: generator.random(STEPS) < share for k, share in SHARES.items()}
    present["late"][:9] = False
    return params, drawn, present


def pull(value: Any) -> Any:
    return value / (1 + value * value)


def torch_run(name: str) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]]]:
    """Every parameter after every step, and the final state of each."""
    optimizer, lr, options = CASES[name]
    start, drawn, present = problem()
    params = {k: torch.tensor(v).requires_grad_() for k, v in start.items()}
    made = optimizer(params.values(), lr=lr, **options)
    schedule = torch.optim.lr_scheduler.LambdaLR(made, rising)
    path = {k: [] for k in params}
    for step in range(STEPS):
        for key, value in params.items():
            grad = torch.tensor(drawn[key][step]) + pull(value.detach())
            grad = grad.to_sparse(1) if name == "sparse_adam" else grad
            value.grad = grad if present[key][step] else None
        made.step()
        schedule.step()
        for key, value in params.items():
            path[key].append(value.detach().numpy().copy())
    states = {
        k: {f: v for f, v in made.state[p].items() if v is not None} for k, p in params.items()
    }
    return (
        {k: np.stack(v) for k, v in path.items()},
        {k: {f: np.float64(v) for f, v in state.items()} for k, state in states.items()},
    )


def fdl_run(optimizer) -> tuple[dict[str, jax.Array], Any]:
    """The same in one jitted scan, and the final state. An absent gradient is NaN."""
    start, drawn, present = (jax.tree.map(jnp.asarray, tree) for tree in problem())

    def step(carry, now):
        params, state = carry
        drawn, present = now
        grads = jax.tree.map(
            lambda g, p, here: jnp.where(here, g + pull(p), jnp.nan), drawn, params, present
        )
        updates, state = optimizer.update(grads, state, params, present=present)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    run = jax.jit(lambda params, state: jax.lax.scan(step, (params, state), (drawn, present)))
    (_, state), path = run(start, optimizer.init(start))
    return path, state


def ours(name: str, *, wide: bool = True) -> tuple[Any, dict[str, Any]]:
    """A factory and its options, the learning rate a schedule."""
    _, lr, options = CASES[name]
    own = {"ns_dtype": jnp.float64} if name == "muon" and wide else {}
    return getattr(fdl.optim, name), {**options, **own, "lr": lambda step: lr * rising(step)}


def assert_paths(path, expected):
    for step in range(STEPS):
        assert_equal(
            {k: v[step] for k, v in path.items()}, {k: v[step] for k, v in expected.items()}
        )


def assert_state(state, expected):
    """Asserts that fdl's state has torch's values; torch has none of what it never saw."""
    for name, wanted in expected.items():
        if not wanted:
            continue
        part = next(part for part in state.inner[name] if wanted.keys() <= set(dir(part)))
        fields = {k: getattr(part, k) for k in wanted}
        got = {k: np.float64(v[name] if isinstance(v, dict) else v) for k, v in fields.items()}
        assert_equal(got, wanted)


@pytest.fixture
def wide_default():
    """The dtype of the scalars in torch's state."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("unrounded", "wide_default")
def test_every_step_and_the_state_equal_torch_where_gradients_come_and_go(name):
    """The learning rate's schedule goes on for all; one parameter has its first gradient late."""
    expected, states = torch_run(name)
    factory, options = ours(name)
    with jax.enable_x64(True):
        path, state = fdl_run(fdl.optim.skip_absent(factory, **options))
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
    """A schedule inside an option, and torch's rate and momentum set by hand."""
    params, drawn, present = problem()
    tensors = {k: torch.tensor(v).requires_grad_() for k, v in params.items()}
    adam = torch.optim.Adam(tensors.values(), lr=0.02)
    for step in range(STEPS):
        adam.param_groups[0]["betas"] = (0.95 - 0.1 * (step % 5) / 5, 0.99)
        for key, value in tensors.items():
            value.grad = torch.tensor(drawn[key][step]) + pull(value.detach())
            value.grad = value.grad if present[key][step] else None
        adam.step()
    with jax.enable_x64(True):
        betas = (lambda step: 0.95 - 0.1 * (step % 5) / 5, 0.99)
        path, _ = fdl_run(fdl.optim.skip_absent(fdl.optim.adam, lr=0.02, betas=betas))
        last = {k: v[-1] for k, v in path.items()}
        assert_equal(last, {k: v.detach().numpy() for k, v in tensors.items()})


def test_groups_of_parameters_that_may_be_absent_equal_torch():
    params, drawn, present = problem()
    tensors = {k: torch.tensor(v).requires_grad_() for k, v in params.items()}
    tensors["seldom"].requires_grad_(False)
    groups = [
        {"params": [tensors[k] for k in ("never", "always", "seldom")]},
        {"params": [tensors[k] for k in ("late", "often")], "lr": 0.05, "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, [rising, lambda _: 1.0])
    for step in range(STEPS):
        for key, value in tensors.items():
            grad = torch.tensor(drawn[key][step]) + pull(value.detach())
            value.grad = grad if present[key][step] and value.requires_grad else None
        adamw.step()
        schedule.step()
    with jax.enable_x64(True):
        optimizer = fdl.optim.param_groups(
            partial(fdl.optim.skip_absent, fdl.optim.adamw),
            {"[lo]*": {"lr": 0.05, "weight_decay": 0.0}, "seldom": {"frozen": True}},
            lr=lambda step: 0.02 * rising(step),
        )
        path, state = fdl_run(optimizer)
        last = {k: v[-1] for k, v in path.items()}
        assert_equal(last, {k: v.detach().numpy() for k, v in tensors.items()})
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
    np.testing.assert_allclose(updates["used"], [[-0.6, -0.8]], rtol=1e-5)
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
