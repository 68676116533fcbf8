"""Parameter groups by pattern against torch's param_groups, over whole trajectories."""

from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal, distances

import fdl

pytestmark = pytest.mark.usefixtures("quick_compilation")

STEPS = 40
DECAY = {"weight_decay": 0.1}
NONE = {"weight_decay": 0.0}
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, **DECAY}, {"nesterov": True, **NONE}),
    "adam": (torch.optim.Adam, DECAY, {"betas": (0.7, 0.9), **NONE}),
    "adamw": (torch.optim.AdamW, DECAY, {"amsgrad": True, **NONE}),
    "adamax": (torch.optim.Adamax, DECAY, NONE),
    "nadam": (torch.optim.NAdam, DECAY, {"momentum_decay": 0.01, **NONE}),
    "radam": (torch.optim.RAdam, DECAY, {"decoupled_weight_decay": True, "weight_decay": 0.3}),
    "adagrad": (torch.optim.Adagrad, DECAY, {"lr_decay": 0.1, **NONE}),
    "adadelta": (torch.optim.Adadelta, DECAY, {"rho": 0.5, **NONE}),
    "rmsprop": (torch.optim.RMSprop, DECAY, {"centered": True, "eps": 0.1, **NONE}),
    "rprop": (torch.optim.Rprop, {}, {"etas": (0.3, 1.7)}),
    "asgd": (torch.optim.ASGD, DECAY, {"lambd": 0.05, "t0": 9.0, **NONE}),
    "adafactor": (torch.optim.Adafactor, DECAY, {"d": 1.5, **NONE}),
    "muon": (torch.optim.Muon, DECAY, {"nesterov": False, **NONE}),
    "sparse_adam": (torch.optim.SparseAdam, {"eps": 1e-3}, {"betas": (0.5, 0.6)}),
}
"""Torch's class, the options of all and those of biases."""

each_optimizer = pytest.mark.parametrize("name", CASES)


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Every combination of patterns; Muon has matrices only."""
    bias = (1, 3) if name == "muon" else (3,)
    return {
        "stem.weight": (3, 2),
        "stem.bias": bias,
        "backbone.0.weight": (3, 4),
        "backbone.0.bias": bias,
        "backbone.1.weight": (2, 3),
        "head.weight": (3, 3),
        "head.bias": bias,
    }


def rising(step):
    return 0.5 + (step % 5) / 4


def falling(step):
    return 2.0 - step / STEPS


def problem(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Parameters and the part of every step's gradients that does not depend on them."""
    generator = np.random.default_rng(0)
    sizes = shapes(name)
    return (
        {k: generator.normal(size=s) for k, s in sizes.items()},
        {k: generator.normal(size=(STEPS, *s)) for k, s in sizes.items()},
    )


def pull(value: Any) -> Any:
    return value / (1 + value * value)


def torch_run(name: str, make) -> dict[str, np.ndarray]:
    """Every parameter after every step; `make` returns optimizers and schedulers."""
    start, drawn = problem(name)
    params = {k: torch.tensor(v).requires_grad_() for k, v in start.items()}
    optimizers, schedulers = make(params)
    path = {k: [] for k in params}
    for step in range(STEPS):
        for key, value in params.items():
            if value.requires_grad:
                grad = torch.tensor(drawn[key][step]) + pull(value.detach())
                value.grad = grad.to_sparse(1) if name == "sparse_adam" else grad
        for it in (*optimizers, *schedulers):
            it.step()
        for key, value in params.items():
            path[key].append(value.detach().numpy().copy())
    return {k: np.stack(v) for k, v in path.items()}


def fdl_run(name: str, optimizer) -> tuple[dict[str, jax.Array], Any]:
    """The same in one jitted scan, and the final state."""
    params, drawn = ({k: jnp.asarray(v) for k, v in arrays.items()} for arrays in problem(name))

    def step(carry, drawn):
        params, state = carry
        grads = jax.tree.map(lambda g, p: g + pull(p), drawn, params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    run = jax.jit(lambda params, state: jax.lax.scan(step, (params, state), drawn))
    (_, state), path = run(params, optimizer.init(params))
    return path, state


def assert_paths(path, expected):
    for step in range(STEPS):
        assert_equal(
            {k: v[step] for k, v in path.items()}, {k: v[step] for k, v in expected.items()}
        )


@pytest.fixture
def wide_default():
    """The dtype of the scalars in torch's state."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@each_optimizer
@pytest.mark.usefixtures("unrounded", "wide_default")
def test_every_step_equals_torch_with_groups_and_schedules(name):
    """A bias of the backbone has the options of both; the stem stays; groups have own schedules."""
    theirs, base, of_bias = CASES[name]

    def make(params):
        for key in ("stem.weight", "stem.bias"):
            params[key].requires_grad_(False)
        groups = [
            {"params": [params["head.weight"], params["stem.weight"]]},
            {"params": [params["head.bias"], params["stem.bias"]], **of_bias},
            {"params": [params[f"backbone.{i}.weight"] for i in (0, 1)], "lr": 0.002},
            {"params": [params["backbone.0.bias"]], "lr": 0.002, **of_bias},
        ]
        optimizer = theirs(groups, lr=0.02, **base)
        schedule = [rising, rising, falling, falling]
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)]

    with jax.enable_x64(True):
        own = {"ns_dtype": jnp.float64} if name == "muon" else {}
        optimizer = fdl.optim.param_groups(
            getattr(fdl.optim, name),
            {
                "*.bias": of_bias,
                "backbone.*": {"lr": lambda step: 0.002 * falling(step)},
                "stem.*": {"frozen": True},
            },
            lr=lambda step: 0.02 * rising(step),
            **base,
            **own,
        )
        path, state = fdl_run(name, optimizer)
        assert_paths(path, torch_run(name, make))
    assert not jax.tree.leaves(state.inner_states["*.bias + stem.*"])
    assert sorted(state.inner_states) == [
        "*",
        "*.bias",
        "*.bias + backbone.*",
        "*.bias + stem.*",
        "backbone.*",
    ]


@pytest.mark.usefixtures("unrounded")
def test_two_optimizers_equal_two_of_torch():
    """Another optimizer's group starts anew: only what comes after counts, and being frozen."""

    def make(params):
        params["stem.bias"].requires_grad_(False)
        biases = [params[f"{part}.bias"] for part in ("stem", "backbone.0", "head")]
        rest = [params[key] for key in params if not key.endswith("bias")]
        adamw = torch.optim.AdamW(
            [{"params": biases[:1] + biases[2:]}, {"params": biases[1:2]}], 0.03
        )
        adamw.param_groups[1]["betas"] = (0.5, 0.9)
        return [torch.optim.Muon(rest, 0.02, momentum=0.8), adamw], []

    with jax.enable_x64(True):
        optimizer = fdl.optim.param_groups(
            fdl.optim.muon,
            {
                "stem.bias": {"frozen": True},
                "head.bias": {"lr": 9.0, "momentum": 0.1},
                "*.bias": {"optimizer": fdl.optim.adamw, "lr": 0.03},
                "backbone.*.bias": {"betas": (0.5, 0.9)},
            },
            lr=0.02,
            momentum=0.8,
            ns_dtype=jnp.float64,
        )
        path, _ = fdl_run("muon", optimizer)
        assert_paths(path, torch_run("muon", make))


# --- how patterns combine

PARAMS = {name: jnp.ones(2) for name in ("stem.weight", "body.weight", "body.bias", "head.weight")}


def updated(optimizer, **extra):
    updates, state = jax.jit(optimizer.update)(PARAMS, optimizer.init(PARAMS), PARAMS, **extra)
    return {k: round(float(v[0]), 6) for k, v in updates.items()}, state


def test_later_patterns_win():
    optimizer = fdl.optim.param_groups(
        fdl.optim.sgd, {"body.*": {"lr": 0.1}, "*.bias": {"lr": 0.2}}, lr=0.3
    )
    moved, _ = updated(optimizer)
    assert moved == {
        "stem.weight": -0.3,
        "body.weight": -0.1,
        "body.bias": -0.2,
        "head.weight": -0.3,
    }


def test_a_frozen_part_can_be_taken_back():
    groups = {"*": {"frozen": True}, "head.*": {"frozen": False, "lr": 0.1}}
    moved, state = updated(fdl.optim.param_groups(fdl.optim.adam, groups))
    assert moved == dict.fromkeys(PARAMS, 0.0) | {"head.weight": -0.1}
    assert sorted(state.inner_states) == ["*", "* + head.*"]


def test_a_frozen_parameter_stays_whatever_its_gradient():
    optimizer = fdl.optim.param_groups(fdl.optim.adamw, {"stem.*": {"frozen": True}})
    grads = PARAMS | {"stem.weight": jnp.full(2, jnp.nan)}
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    assert not updates["stem.weight"].any()


def test_equal_options_share_a_group():
    """Also in another order, as the same number of another type, and frozen ones always."""
    groups = {
        "stem.*": {"lr": 0.1, "weight_decay": 0},
        "head.*": {"weight_decay": 0.0, "lr": 0.1},
        "body.*": {"frozen": True},
        "*.bias": {"lr": 0.7},
    }
    _, state = updated(fdl.optim.param_groups(fdl.optim.adamw, groups))
    assert list(state.inner_states) == ["body.* + *.bias", "head.*"]


def test_arrays_as_options_are_compared_by_identity():
    one, other = jnp.asarray(0.1), jnp.asarray(0.1)
    groups = {"stem.*": {"lr": one}, "head.*": {"lr": one}, "body.*": {"lr": other}}
    moved, state = updated(fdl.optim.param_groups(fdl.optim.sgd, groups))
    assert moved == dict.fromkeys(PARAMS, -0.1)
    assert sorted(state.inner_states) == ["body.*", "head.*"]


def test_groups_do_not_depend_on_the_order_of_the_parameters():
    """A jitted function receives a dict in the order of its keys."""
    groups = {"stem.*": {"lr": 0.1}, "body.*": {"lr": 0.1}}
    optimizer = fdl.optim.param_groups(fdl.optim.sgd, groups, momentum=0.9)
    inside = jax.jit(optimizer.init)(PARAMS)
    assert jax.tree.structure(inside) == jax.tree.structure(optimizer.init(PARAMS))
    for params in (PARAMS, dict(reversed(PARAMS.items()))):
        _, after = optimizer.update(params, optimizer.init(params), params)
        assert jax.tree.structure(after) == jax.tree.structure(inside)


def test_without_groups_it_is_the_optimizer():
    alone = fdl.optim.adam(0.1)
    expected, _ = alone.update(PARAMS, alone.init(PARAMS), PARAMS)
    optimizer = fdl.optim.param_groups(fdl.optim.adam, {}, lr=0.1)
    moved, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    for name, wanted in expected.items():
        np.testing.assert_array_equal(moved[name], wanted)


def test_names_of_a_nested_tree_are_joined_by_dots():
    params = {"head": {"weight": jnp.ones(2), "bias": jnp.ones(2)}}
    optimizer = fdl.optim.param_groups(fdl.optim.sgd, {"head.bias": {"lr": 0.1}}, lr=0.3)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    moved = {name: round(float(u[0]), 6) for name, u in updates["head"].items()}
    assert moved == {"weight": -0.3, "bias": -0.1}


# --- with the rest of Optax


def test_is_a_link_of_a_chain_under_one_jit():
    groups = {"*.bias": {"lr": 0.1}}
    chain = optax.chain(
        fdl.optim.clip_grad_norm(1.0), fdl.optim.param_groups(fdl.optim.sgd, groups, lr=1.0)
    )
    update, state = jax.jit(chain.update), chain.init(PARAMS)
    for _ in range(3):
        updates, state = update(PARAMS, state, PARAMS)
    norm = np.sqrt(sum(p.size for p in PARAMS.values()))
    expected = {k: np.full(2, -(0.1 if "bias" in k else 1.0) / norm) for k in PARAMS}
    assert max(distances(updates, expected).values()) <= fdl.parity.TOLERANCE.float32(0)
    assert update._cache_size() == 1


def test_hyperparameters_of_a_group_can_be_injected():
    @wraps(fdl.optim.adamw)
    def adamw(**options):
        return optax.inject_hyperparams(fdl.optim.adamw)(**options)

    optimizer = fdl.optim.param_groups(adamw, {"*.bias": {"lr": 0.1}}, lr=0.2, weight_decay=0.0)
    state = optimizer.init(PARAMS)
    state.inner_states["*.bias"].inner_state.hyperparams["lr"] = jnp.asarray(0.4)
    updates, _ = jax.jit(optimizer.update)(PARAMS, state, PARAMS)
    assert {k: round(float(u[0]), 6) for k, u in updates.items()} == {
        k: -0.4 if "bias" in k else -0.2 for k in PARAMS
    }


def test_extra_arguments_like_the_parameters_are_divided():
    rows = {k: jnp.array([True, False]) for k in PARAMS}
    groups = {"body.*": {"lr": 0.1}, "stem.*": {"optimizer": fdl.optim.sgd, "lr": 0.5}}
    optimizer = fdl.optim.param_groups(fdl.optim.sparse_adam, groups)
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS, rows=rows)
    assert {k: u.astype(bool).tolist() for k, u in updates.items()} == {
        k: [True, "stem" in k] for k in PARAMS
    }


def test_a_missing_gradient_does_not_change_the_groups():
    optimizer = fdl.optim.param_groups(fdl.optim.sgd, {"*.bias": {"lr": 0.1}}, momentum=0.9)
    state = optimizer.init(PARAMS)
    labels = jax.tree.structure(state)
    frozen = fdl.optim.param_groups(fdl.optim.sgd, {"*.bias": {"frozen": True}}, lr=0.5)
    updates, _ = frozen.update(PARAMS | {"body.bias": None}, frozen.init(PARAMS), PARAMS)
    assert updates["body.bias"] is None
    assert float(updates["body.weight"][0]) == -0.5
    assert jax.tree.structure(optimizer.update(PARAMS, state, PARAMS)[1]) == labels


def test_works_without_parameters_where_the_optimizer_does():
    optimizer = fdl.optim.param_groups(fdl.optim.sgd, {"*.bias": {"lr": 0.1}}, lr=0.5)
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS))
    assert float(updates["body.bias"][0]) == pytest.approx(-0.1)


# --- errors


def test_patterns_that_match_nothing_are_named():
    groups = {"body.*": {}, "heed.*": {"lr": 1.0}, "weight": {}, "7": {}}
    with pytest.raises(ValueError, match=r"groups: expected patterns that match") as raised:
        fdl.optim.param_groups(fdl.optim.adam, groups).init(PARAMS)
    text = str(raised.value)
    assert "'heed.*' (near it: 'head.weight'" in text
    assert "'weight' (near it: " in text
    assert "'7' (nothing is near it)" in text
    assert "'body.*'" not in text


@pytest.mark.parametrize(
    ("groups", "options", "expected"),
    [
        (
            {"*": {"weight_deacy": 0}},
            {},
            r"groups\['\*'\]: .*adamw.*'weight_deacy' \(near it: 'weig",
        ),
        ({}, {"momentum": 0.9}, r"options: expected options of adamw .*got 'momentum' \(nothing"),
        ({}, {"frozen": True}, r"options: .*'frozen'"),
        (
            {"*.bias": {"optimizer": fdl.optim.sgd, "betas": (0.9, 0.99)}},
            {},
            r"groups\['\*.bias'\]: expected options of sgd .*got 'betas'",
        ),
        (
            {"*.bias": {"optimizer": fdl.optim.sgd}, "body.*": {"alpha": 0.5}},
            {},
            r"groups\['body.\*'\]: expected options of adamw or sgd .*got 'alpha'",
        ),
    ],
    ids=["misspelt", "default", "own", "of another", "of none"],
)
def test_options_that_the_optimizer_does_not_have_are_refused_at_once(groups, options, expected):
    with pytest.raises(TypeError, match=expected):
        fdl.optim.param_groups(fdl.optim.adamw, groups, **options)


@pytest.mark.parametrize(
    ("group", "error", "text"),
    [
        ({"lr": -1.0}, ValueError, r"adam: lr: expected 0 or more, got -1.0"),
        ({"optimizer": fdl.optim.sgd}, TypeError, r"unexpected keyword argument 'eps'"),
    ],
    ids=["value", "option"],
)
def test_what_the_optimizer_refuses_says_for_which_group(group, error, text):
    optimizer = fdl.optim.param_groups(fdl.optim.adamw, {"*.bias": group, "*": {"eps": 0.1}})
    with pytest.raises(error, match=rf"{text}(.|\n)*the parameter group '\*.bias \+ \*'"):
        optimizer.init(PARAMS)


@pytest.mark.parametrize(
    "factory",
    [fdl.optim.lbfgs, partial(fdl.optim.lbfgs, max_iter=3)],
    ids=["plain", "partial"],
)
def test_lbfgs_has_one_group(factory):
    weights = [torch.zeros(1), torch.zeros(1)]
    with pytest.raises(ValueError, match="doesn't support per-parameter options"):
        torch.optim.LBFGS([{"params": weights[:1]}, {"params": weights[1:]}])
    with pytest.raises(ValueError, match=r"param_groups: optimizer: .*got lbfgs: .*one group only"):
        fdl.optim.param_groups(factory, {"*.bias": {"lr": 0.1}})
    with pytest.raises(ValueError, match=r"param_groups: optimizer: .*got lbfgs"):
        fdl.optim.param_groups(fdl.optim.adam, {"*.bias": {"optimizer": factory}})
