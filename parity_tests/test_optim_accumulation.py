"""Gradients added up before a step, against torch's loop of backward passes, at every call."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal, assert_near

import fdl

CALLS, EVERY = 24, 3
GENERATOR = np.random.default_rng(0)
PARAMS = {"w": GENERATOR.normal(size=(4, 3)), "b": GENERATOR.normal(size=4)}
X, Y = GENERATOR.normal(size=(CALLS, 5, 3)), GENERATOR.normal(size=(CALLS, 5, 4))
LR = 0.1

CASES = {
    "sgd mean": (torch.optim.SGD, fdl.optim.sgd, {"momentum": 0.9, "weight_decay": 0.1}, "mean"),
    "sgd sum": (torch.optim.SGD, fdl.optim.sgd, {"momentum": 0.9, "nesterov": True}, "sum"),
    "adamw mean": (torch.optim.AdamW, fdl.optim.adamw, {}, "mean"),
}


def loss(params, x, y, tanh):
    return ((tanh(x @ params["w"].T + params["b"]) - y) ** 2).mean()


def rate(count):
    """Halves every two applied updates."""
    return LR * 0.5 ** (count // 2)


def torch_run(optimizer, options, reduction):
    params = {k: torch.tensor(v).requires_grad_() for k, v in PARAMS.items()}
    reference = optimizer(params.values(), lr=LR, **options)
    schedule = torch.optim.lr_scheduler.StepLR(reference, 2, 0.5)
    parts = EVERY if reduction == "mean" else 1
    for call, (x, y) in enumerate(zip(X, Y, strict=True)):
        (loss(params, torch.tensor(x), torch.tensor(y), torch.tanh) / parts).backward()
        if (call + 1) % EVERY == 0:
            reference.step()
            reference.zero_grad()
            schedule.step()
        yield {k: v.detach().numpy().copy() for k, v in params.items()}


def scanned(optimizer, params):
    """Parameters, updates and states of all calls, from one program."""

    def call(carry, batch):
        params, state = carry
        grads = jax.grad(loss)(params, *batch, jnp.tanh)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, updates, state)

    run = jax.jit(lambda p: jax.lax.scan(call, (p, optimizer.init(p)), (X, Y))[1])
    return run(params)


@pytest.mark.parametrize("case", CASES)
def test_every_call_equals_torchs_loop(case):
    reference, factory, options, reduction = CASES[case]
    with jax.enable_x64(True):
        inner = optax.chain(factory(rate, **options))
        optimizer = fdl.optim.accumulate(inner, every=EVERY, reduction=reduction)
        path, updates, states = scanned(optimizer, jax.tree.map(jnp.asarray, PARAMS))
        for call, expected in enumerate(torch_run(reference, options, reduction)):
            assert_equal({k: v[call] for k, v in path.items()}, expected)
    between = np.arange(CALLS) % EVERY != EVERY - 1
    assert not any(np.any(u[between]) for u in updates.values())
    np.testing.assert_array_equal(states.micro_step, (np.arange(CALLS) + 1) % EVERY)
    assert not any(np.any(g[~between]) for g in states.grad.values())
    for leaf in jax.tree.leaves(states.inner):
        starts = leaf[EVERY - 1 :: EVERY][: CALLS // EVERY - 1]
        for later in (1, 2):  # the state of the last update, until the next
            kept = leaf[EVERY - 1 + later :: EVERY]
            np.testing.assert_array_equal(kept, starts)


def test_schedules_and_counts_see_applied_updates():
    optimizer = fdl.optim.accumulate(fdl.optim.adam(rate), every=EVERY)
    params = {"w": jnp.ones(2)}
    state = optimizer.init(params)
    for _ in range(2 * EVERY + 1):
        _, state = optimizer.update(params, state, params)
    counts = [leaf for leaf in jax.tree.leaves(state.inner) if leaf.ndim == 0]
    assert len(counts) == 2
    assert {int(count) for count in counts} == {2}


def test_every_one_is_the_optimizer_itself():
    params, inner = {"w": jnp.arange(3.0)}, fdl.optim.adam(0.1)
    optimizer = fdl.optim.accumulate(inner, every=1)
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    expected, _ = inner.update(params, inner.init(params), params)
    np.testing.assert_array_equal(updates["w"], expected["w"])


def test_extra_arguments_reach_the_optimizer_with_the_last_gradient():
    def update(updates, state, params=None, *, value, **extra_args):
        del params, extra_args
        return jax.tree.map(lambda u: value * jnp.ones_like(u), updates), state

    inner = optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)
    optimizer = optax.chain(optax.clip(1.0), fdl.optim.accumulate(inner, every=2))
    params = {"w": jnp.ones(2)}
    state, seen = optimizer.init(params), []
    for value in (5.0, 7.0):
        updates, state = optimizer.update(params, state, params, value=jnp.float32(value))
        seen.append(updates["w"].tolist())
    assert seen == [[0, 0], [7, 7]]


def test_runs_of_different_phase_go_side_by_side():
    optimizer = fdl.optim.accumulate(fdl.optim.sgd(1.0), every=2)
    params = {"w": jnp.zeros(2)}
    fresh = optimizer.init(params)
    _, half = optimizer.update({"w": jnp.full(2, 4.0)}, fresh, params)
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), fresh, half)
    grads = {"w": jnp.full((2, 2), 2.0)}
    updates, _ = jax.vmap(lambda g, s: optimizer.update(g, s, params))(grads, states)
    np.testing.assert_array_equal(updates["w"], [[0, 0], [-3, -3]])


def dtypes(tree):
    return jax.tree.map(lambda leaf: leaf.dtype, tree)


@pytest.mark.parametrize("wide", [False, True])
def test_dtypes_stay(wide):
    with jax.enable_x64(wide):
        params = {"w": jnp.ones(2, jnp.bfloat16), "b": jnp.ones((), jnp.float32)}
        optimizer = fdl.optim.accumulate(fdl.optim.adam(optax.constant_schedule(0.1)), every=2)
        state = optimizer.init(params)
        updates, after = jax.jit(optimizer.update)(params, state, params)
        assert dtypes(params) == dtypes(updates) == dtypes(after.grad)
        assert dtypes(state) == dtypes(after)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"every": 0}, "every: expected 1 or more, got 0"),
        ({"every": 2, "reduction": "max"}, "reduction: expected 'mean' or 'sum', got 'max'"),
    ],
)
def test_bad_arguments(wrong, message):
    with pytest.raises(ValueError, match=f"accumulate: {message}"):
        fdl.optim.accumulate(fdl.optim.sgd(), **wrong)


def test_a_gradient_that_is_none_is_refused():
    optimizer, params = fdl.optim.accumulate(fdl.optim.sgd(), every=2), {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"accumulate: grads: expected one .*got .*None"):
        optimizer.update({"w": None}, optimizer.init(params), params)


def test_what_is_absent_in_all_batches_is_skipped_as_in_torch():
    used, spare = (torch.ones(2, requires_grad=True) for _ in range(2))
    reference = torch.optim.AdamW([used, spare], lr=0.1)
    inner = fdl.optim.skip_absent(fdl.optim.adamw, lr=0.1)
    optimizer, params = fdl.optim.accumulate(inner, every=2), {k: jnp.ones(2) for k in "ab"}
    state = optimizer.init(params)
    for _ in range(2):
        (used.sum() / 2).backward()
        grads = {"a": jnp.ones(2), "b": jnp.zeros(2)}
        updates, state = optimizer.update(grads, state, params, present={"b": False})
        params = optax.apply_updates(params, updates)
    reference.step()
    expected = {"a": used.detach().numpy(), "b": spare.detach().numpy()}
    for name, wanted in expected.items():
        assert_near(params[name], wanted)
