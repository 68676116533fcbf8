"""Parameter groups: how patterns combine, with the rest of Optax, and what is refused."""

from functools import partial, wraps

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import distances

import fdl

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
