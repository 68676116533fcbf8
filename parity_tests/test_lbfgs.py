"""L-BFGS against torch.optim.LBFGS: the parameters of three steps, then the loss."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal

import fdl
from fdl.optim import LBFGSState
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

GENERATOR = np.random.default_rng(0)
X, Y = GENERATOR.normal(size=(30, 5)), GENERATOR.normal(size=(30, 3))
SHAPES = {"weight1": (7, 5), "bias1": (7,), "weight2": (3, 7), "bias2": (3,)}
PARAMS = {
    "network": {k: GENERATOR.normal(size=s) / 2 for k, s in SHAPES.items()},
    "rosenbrock": {"x": np.array([-1.2, 1.0, -0.7, 0.4])},
}


def network(params, like):
    x, y, tanh = (X, Y, jnp.tanh) if like is jnp else (*map(torch.tensor, (X, Y)), torch.tanh)
    hidden = tanh(x @ params["weight1"].T + params["bias1"])
    return ((hidden @ params["weight2"].T + params["bias2"] - y) ** 2).mean()


def rosenbrock(params, like):
    del like
    x = params["x"]
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


LOSSES = {"network": network, "rosenbrock": rosenbrock}
WOLFE = {"line_search_fn": "strong_wolfe"}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("network", {"lr": 0.3}),
    ("network", {"lr": 0.01}),
    ("network", {"lr": 0.1, "history_size": 3, "max_iter": 7}),
    ("network", {"lr": 0.3, "max_eval": 5}),
    ("network", {"lr": 0.3, "tolerance_grad": 1e-2}),
    ("network", {"lr": 0.3, "tolerance_change": 1e-3}),
    ("network", {**WOLFE}),
    ("network", {**WOLFE, "tolerance_grad": 1e-2}),
    ("network", {**WOLFE, "tolerance_change": 1e-3}),
    ("network", {**WOLFE, "history_size": 4, "max_iter": 9, "max_eval": 12}),
    ("network", {**WOLFE, "max_iter": 4, "max_eval": 30, "lr": 40.0}),
    ("network", {**WOLFE, "max_iter": 40, "max_eval": 5, "lr": 0.001}),
    ("network", {**WOLFE, "max_iter": 1}),
    ("rosenbrock", {"lr": 2e-3}),
    ("rosenbrock", {"lr": 2e-3, "history_size": 2}),
    ("rosenbrock", {**WOLFE, "max_iter": 6}),
    ("rosenbrock", {**WOLFE, "history_size": 4, "max_iter": 9, "max_eval": 12}),
    ("rosenbrock", {**WOLFE, "max_iter": 3, "max_eval": 30, "lr": 40.0}),
    ("rosenbrock", {**WOLFE, "max_iter": 40, "max_eval": 5, "lr": 0.001}),
    ("rosenbrock", {**WOLFE, "max_iter": 1}),
]
IDS = [f"{name}({','.join(f'{k}={v}' for k, v in kwargs.items())})" for name, kwargs in CASES]
each_case = pytest.mark.parametrize(("name", "kwargs"), CASES, ids=IDS)
TIGHT, STEPS = 3, 8
DRAWS = 4


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    return distance(got, expected, maximum(expected), maximum)


def rate(step):
    return 1 / (1 + step)


def torch_steps(name, kwargs, *, steps=STEPS, shift=0.0, changing=False):
    """After each step its first loss, the parameters and a copy of the state."""
    params = {k: torch.tensor(v * (1 + shift)).requires_grad_() for k, v in PARAMS[name].items()}
    optimizer = torch.optim.LBFGS(params.values(), **kwargs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate if changing else lambda _: 1)

    def closure():
        optimizer.zero_grad()
        loss = LOSSES[name](params, torch)
        loss.backward()
        return loss

    for _ in range(steps):
        loss = optimizer.step(closure).item()
        schedule.step()
        state = dict(optimizer.state[next(iter(params.values()))])
        yield loss, {k: v.detach().numpy().copy() for k, v in params.items()}, state


def jitted_step(optimizer, loss):
    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value, value_fn=loss)
        return optax.apply_updates(params, updates), state, value

    return step


def fdl_steps(name, kwargs, *, steps=STEPS, changing=False):
    """The same, each step in one call of one jitted function."""
    if changing:
        base = kwargs.get("lr", 1)
        kwargs = {**kwargs, "lr": lambda step: base * rate(step)}
    optimizer = fdl.optim.lbfgs(**kwargs)
    step = jitted_step(optimizer, lambda params: LOSSES[name](params, jnp))
    params = jax.tree.map(jnp.asarray, PARAMS[name])
    state = optimizer.init(params)
    for _ in range(steps):
        params, state, value = step(params, state)
        yield value, params, state
    assert step._cache_size() == 1


@each_case
@pytest.mark.parametrize("changing", [False, True], ids=["constant", "changing"])
def test_three_steps_equal_torchs(name, kwargs, changing, record_property):
    worst = 0.0
    with jax.enable_x64(True):
        ours = fdl_steps(name, kwargs, steps=TIGHT, changing=changing)
        theirs = torch_steps(name, kwargs, steps=TIGHT, changing=changing)
        for (value, params, state), (loss, wanted, its) in zip(ours, theirs, strict=True):
            assert_equal({"loss": value, **params}, {"loss": np.float64(loss), **wanted})
            assert (state.n_iter, state.func_evals) == (its["n_iter"], its["func_evals"])
            worst = max(worst, *(relative(np.asarray(params[k]), wanted[k]) for k in wanted))
    record_property("worst", worst)


@each_case
def test_loss_goes_as_torchs_does(name, kwargs, record_property):
    """Rounding grows tenfold or so a step: the bound is what a last bit does to torch's own."""
    losses = np.array([loss for loss, *_ in torch_steps(name, kwargs)])
    epsilon = np.finfo(np.float64).eps
    shifts = epsilon * np.arange(-DRAWS // 2, DRAWS // 2 + 1)
    runs = [[loss for loss, *_ in torch_steps(name, kwargs, shift=s)] for s in shifts]
    spread = np.maximum.accumulate(np.abs(np.array(runs) - losses).max(0))
    with jax.enable_x64(True):
        found = np.array([float(value) for value, *_ in fdl_steps(name, kwargs)])
    allowed = np.maximum(TOLERANCE.multiple * spread, TOLERANCE.float64 * losses[0])
    record_property("worst", np.abs(found - losses).max())
    assert (np.abs(found - losses) <= allowed).all(), (found - losses, allowed)


@pytest.mark.parametrize(
    "kwargs",
    [{"lr": 2e-3, "history_size": 4}, {**WOLFE, "max_iter": 6, "history_size": 4}],
    ids=str,
)
def test_state_has_torchs_names_and_values(kwargs):
    """On one parameter, whose elements are in the order of torch's flat vector."""
    with jax.enable_x64(True):
        *_, (_, params, state) = fdl_steps("rosenbrock", kwargs, steps=TIGHT)
        *_, (_, wanted, its) = torch_steps("rosenbrock", kwargs, steps=TIGHT)
        assert set(LBFGSState._fields) - {"step", "num_old"} == set(its) - {"al"}
        kept = len(its["ro"])
        rows = np.arange(state.num_old - kept, state.num_old) % kwargs["history_size"]
        for key in ("d", "t", "H_diag", "prev_flat_grad", "prev_loss"):
            assert relative(np.asarray(getattr(state, key)), np.float64(its[key])) <= 1e-8
        for key in ("old_dirs", "old_stps", "ro"):
            expected = np.array([np.float64(v) for v in its[key]])
            assert relative(np.asarray(getattr(state, key))[rows], expected) <= 1e-8
        assert_equal(params, wanted)


def test_optimum_is_left_alone():
    optimizer = fdl.optim.lbfgs(**WOLFE)
    params = {"x": jnp.ones(4)}
    found, state, _ = jitted_step(optimizer, lambda p: rosenbrock(p, jnp))(
        params, optimizer.init(params)
    )
    assert (found["x"] == 1).all()
    assert (state.n_iter, state.func_evals) == (0, 1)


def test_is_a_link_of_a_chain_and_vmaps():
    """Chained with a link behind it; minimises from many starts at once."""
    optimizer = optax.chain(fdl.optim.lbfgs(**WOLFE), optax.scale(1.0))
    step = jitted_step(optimizer, lambda p: rosenbrock(p, jnp))

    def run(x):
        params = {"x": x}
        state = optimizer.init(params)
        for _ in range(4):
            params, state, _ = step(params, state)
        return rosenbrock(params, jnp)

    starts = jnp.array([[-1.2, 1.0], [0.5, 2.0], [2.0, -1.0]])
    assert (jax.jit(jax.vmap(run))(starts) < 1e-5).all()


@pytest.mark.parametrize("kwargs", [{"lr": 0.3}, WOLFE], ids=str)
def test_minimises_in_float32(kwargs):
    params = {k: jnp.asarray(v, jnp.float32) for k, v in PARAMS["network"].items()}
    x, y = jnp.asarray(X, jnp.float32), jnp.asarray(Y, jnp.float32)

    def loss(params):
        hidden = jnp.tanh(x @ params["weight1"].T + params["bias1"])
        return ((hidden @ params["weight2"].T + params["bias2"] - y) ** 2).mean()

    optimizer = fdl.optim.lbfgs(**kwargs)
    step, state = jitted_step(optimizer, loss), optimizer.init(params)
    *_, (expected, _, _) = torch_steps("network", kwargs, steps=5)
    for _ in range(5):
        params, state, value = step(params, state)
    assert params["bias1"].dtype == jnp.float32
    assert float(value) <= 1.1 * expected
