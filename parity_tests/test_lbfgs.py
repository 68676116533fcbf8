"""L-BFGS against torch's: inner iterations, line search, stopping tests, and changes of each."""

import importlib
import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from nearness import assert_near
from trajectories import ULPS, check_growth, check_precision, fdl_run, option, torch_run
from trajectory_problems import rosenbrock

import fdl
from fdl.optim import LBFGSState
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

WOLFE = {"line_search_fn": "strong_wolfe"}


def case(on: str, **options: Any) -> Any:
    return option("LBFGS", "lbfgs", options, on)


CASES = [
    case("one batch", lr=0.1, history_size=3, max_iter=7),
    case("one batch", lr=0.3, max_eval=5),
    case("one batch", lr=0.3, tolerance_grad=1e-2),
    case("one batch", lr=0.3, tolerance_change=1e-3),
    case("one batch", lr=0.3, tolerance_change=1.0),  # the slope is too small at the end
    case("one batch", lr=1e-3, tolerance_change=1e-4),
    case("one batch", lr=2e-5),  # some curvatures are below 1e-10
    case("one batch", **WOLFE, tolerance_grad=1e-2),
    case("one batch", **WOLFE, tolerance_change=1e-3),
    case("one batch", **WOLFE, history_size=4, max_iter=9, max_eval=12),
    case("one batch", **WOLFE, max_iter=4, max_eval=30, lr=40.0),
    case("one batch", **WOLFE, max_iter=40, max_eval=5, lr=0.001),
    case("network", lr=0.01),  # a new batch for every step
    case("rosenbrock", lr=2e-3),
    case("rosenbrock", **WOLFE),
    case("rosenbrock", **WOLFE, history_size=4, max_iter=9, max_eval=12),
    case("rosenbrock", **WOLFE, max_iter=3, max_eval=30, lr=40.0),
    case("rosenbrock", **WOLFE, max_iter=40, max_eval=5, lr=0.001),
    case("rosenbrock", **WOLFE, max_iter=1),
]


@pytest.mark.parametrize("chosen", CASES, ids=[chosen.text for chosen in CASES])
def test_goes_as_torchs(chosen, record_property):
    record_property("worst", check_growth(chosen))


PLANTED = {
    "first step": (
        "lbfgs",
        "jnp.minimum(1, 1 / jnp.abs(grad).sum())",
        "1 / jnp.linalg.norm(grad)",
        case("one batch", lr=0.3, max_eval=5),
    ),
    "curvature": (
        "lbfgs",
        "SMALLEST_CURVATURE = 1e-10",
        "SMALLEST_CURVATURE = 1e-9",
        case("one batch", lr=2e-5),
    ),
    "no curvature": (
        "lbfgs",
        "SMALLEST_CURVATURE = 1e-10",
        "SMALLEST_CURVATURE = 1e-11",
        case("one batch", lr=2e-5),
    ),
    "iterations": (
        "lbfgs",
        "inner.iterations >= limits.max_iter",
        "inner.iterations > limits.max_iter",
        case("one batch", **WOLFE, max_iter=4, max_eval=30, lr=40.0),
    ),
    "evaluations": (
        "lbfgs",
        "inner.evaluations >= limits.max_eval",
        "inner.evaluations > limits.max_eval",
        case("one batch", lr=0.3, max_eval=5),
    ),
    "gradient at the start": (
        "lbfgs",
        "stop = (_largest(grad) <= limits.tolerance_grad)",
        "stop = (_largest(grad) <= 0)",
        case("one batch", lr=0.3, tolerance_grad=1e-2),
    ),
    "gradient": (
        "lbfgs",
        "(_largest(inner.grad) <= limits.tolerance_grad)",
        "(_largest(inner.grad) <= 0)",
        case("one batch", lr=0.3, tolerance_grad=1e-2),
    ),
    "step": (
        "lbfgs",
        "(_largest(d * inner.t) <= limits.tolerance_change)",
        "(_largest(d * inner.t) <= 0)",
        case("one batch", lr=1e-3, tolerance_change=1e-4),
    ),
    "change of the loss": (
        "lbfgs",
        "(jnp.abs(inner.loss - previous_loss) < limits.tolerance_change)",
        "(jnp.abs(inner.loss - previous_loss) < 0)",
        case("one batch", **WOLFE, tolerance_change=1e-3),
    ),
    "slope": (
        "lbfgs",
        "slope > -limits.tolerance_change",
        "slope > 0",
        case("one batch", **WOLFE, tolerance_change=1e-3),
    ),
    "slope of a fixed step": (
        "lbfgs",
        "jnp.where(descends, inner.x + inner.t * d, inner.x)",
        "inner.x + inner.t * d",
        case("one batch", lr=0.3, tolerance_change=1.0),
    ),
    "evaluation after no step": (
        "lbfgs",
        "again = descends & ",
        "again = ",
        case("one batch", lr=0.3, tolerance_change=1.0),
    ),
    "decrease": ("strong_wolfe", "DECREASE = 1e-4", "DECREASE = 0.3", case("rosenbrock", **WOLFE)),
    "flatness": ("strong_wolfe", "CURVATURE = 0.9", "CURVATURE = 0.5", case("rosenbrock", **WOLFE)),
    "smallest bracket": (
        "strong_wolfe",
        "SMALLEST = 1e-9",
        "SMALLEST = 1.0",
        case("rosenbrock", **WOLFE),
    ),
    "least extrapolation": (
        "strong_wolfe",
        "new.t + 0.01 *",
        "new.t + 0.5 *",
        case("rosenbrock", **WOLFE, max_iter=40, max_eval=5, lr=0.001),
    ),
    "largest extrapolation": (
        "strong_wolfe",
        "new.t * 10",
        "new.t * 5",
        case("rosenbrock", **WOLFE, max_iter=40, max_eval=5, lr=0.001),
    ),
    "margin": (
        "strong_wolfe",
        "margin = 0.1 *",
        "margin = 0.2 *",
        case("rosenbrock", **WOLFE, max_iter=3, max_eval=30, lr=40.0),
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_change_is_found(name, monkeypatch):
    module, right, wrong, chosen = PLANTED[name]
    assert chosen in CASES
    changed = changed_source(module, right, wrong)
    factory = changed.get("lbfgs", fdl.optim.lbfgs)
    monkeypatch.setattr(modules("lbfgs"), "strong_wolfe", changed["strong_wolfe"])
    with pytest.raises(AssertionError):
        check_growth(chosen._replace(factory=factory))


def modules(name: str) -> Any:
    return importlib.import_module(f"fdl.optim.{name}")


def changed_source(name: str, right: str, wrong: str) -> dict[str, Any]:
    """The names of a module whose source has one change."""
    module = modules(name)
    source = inspect.getsource(module)
    assert source.count(right) == 1
    names = {"__name__": module.__name__}
    exec(source.replace(right, wrong), names)
    return names


STATES = [
    case("one batch", lr=0.01, history_size=100),
    case("rosenbrock", lr=2e-3, history_size=4),
    case("rosenbrock", **WOLFE, max_iter=6, history_size=4),
]


@pytest.mark.parametrize("chosen", STATES, ids=[chosen.text for chosen in STATES])
def test_state_has_torchs_names_and_values(chosen):
    """Judged as its steps are: 1e-10, or a multiple of what rounding does to torch's own."""

    def torchs(**more):
        return next(iter(torch_run(chosen, "float64", changing=False, **more).state.values()))

    its, others = torchs(), [torchs(ulps=ulps) for ulps in ULPS]
    with jax.enable_x64(True):
        state = next(fdl_run(chosen, "float64")).state
    assert set(LBFGSState._fields) - {"step", "num_old"} == set(its) - {"al"}
    rows = np.arange(state.num_old - len(its["ro"]), state.num_old) % len(state.ro)
    for name in ("d", "t", "H_diag", "prev_flat_grad", "prev_loss", "old_dirs", "old_stps", "ro"):
        found = getattr(state, name)
        found = found[rows] if isinstance(its[name], list) else found
        expected, *moved = (
            np.array(jax.tree.map(np.float64, side[name])) for side in (its, *others)
        )
        error, *own = (
            distance(one, expected, maximum(np.atleast_1d(expected)), maximum)
            for one in (found, *moved)
        )
        assert error <= max(TOLERANCE.float64, TOLERANCE.multiple * max(own)), (name, error, own)


def test_first_step_is_no_longer_than_the_gradient():
    optimizer, params = fdl.optim.lbfgs(max_iter=1), {"x": jnp.ones(1)}

    def loss(params):
        return (0.05 * params["x"] ** 2).sum()

    updates, _ = optimizer.update(
        jax.grad(loss)(params), optimizer.init(params), params, value=loss(params), value_fn=loss
    )
    assert_near(updates["x"], np.array([-0.1]))  # 1 / |g| would take it to 0


# --- with the rest of Optax


valley = partial(rosenbrock, batch=None, tanh=jnp.tanh, look_up=None)


def stepping(optimizer):
    def step(params, state):
        value, grads = jax.value_and_grad(valley)(params)
        updates, state = optimizer.update(grads, state, params, value=value, value_fn=valley)
        return optax.apply_updates(params, updates), state

    return jax.jit(step)


def test_says_what_an_update_needs():
    optimizer, params = fdl.optim.lbfgs(), {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"lbfgs: update: expected .*value_fn, got"):
        optimizer.update(params, optimizer.init(params), params)


def test_optimum_is_left_alone():
    optimizer, params = fdl.optim.lbfgs(**WOLFE), {"x": jnp.ones(4)}
    found, state = stepping(optimizer)(params, optimizer.init(params))
    assert (found["x"] == 1).all()
    assert (state.n_iter, state.func_evals) == (0, 1)


def test_the_first_state_can_be_donated():
    """No two of its fields are one array."""
    optimizer, params = fdl.optim.lbfgs(), {"x": jnp.zeros(2)}

    @partial(jax.jit, donate_argnums=0)
    def update(state):
        value, grads = jax.value_and_grad(valley)(params)
        return optimizer.update(grads, state, params, value=value, value_fn=valley)

    _, state = update(optimizer.init(params))
    assert state.step == 1


def test_is_a_link_of_a_chain_and_vmaps():
    """Chained with a link behind it; minimises from many starts at once."""
    optimizer = optax.chain(fdl.optim.lbfgs(**WOLFE), optax.scale(1.0))
    step = stepping(optimizer)

    def run(x):
        params = {"x": x}
        state = optimizer.init(params)
        for _ in range(4):
            params, state = step(params, state)
        return valley(params)

    starts = jnp.array([[-1.2, 1.0], [0.5, 2.0], [2.0, -1.0]])
    assert (jax.jit(jax.vmap(run))(starts) < 1e-5).all()


@pytest.mark.parametrize("options", [{"lr": 0.3}, WOLFE], ids=str)
def test_is_as_precise_as_torchs_in_float32(options):
    check_precision(case("one batch", **options))
