"""Many steps of a small problem under an optimizer, in torch and in fdl."""

import copy
import inspect
import operator
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from nearness import assert_equal, distances
from torch.optim import LBFGS, Muon, Optimizer, SparseAdam
from trajectory_problems import STEPS, Arrays, problem

import fdl
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

OUTER, EXACT = 6, 3
"""Steps of L-BFGS, each of up to 20 inner iterations, and those whose parameters are compared."""
ULPS = (1, -1, 2, -2)
"""How far torch's start is moved to see what rounding does to its own run."""


class Run(NamedTuple):
    """The parameters after every step, the loss before it, and the state after the exact ones."""

    path: Arrays
    losses: np.ndarray
    state: Any


class Option(NamedTuple):
    """One optimizer with options, by torch's names; written as a test's id."""

    optimizer: type[Optimizer]
    factory: Callable[..., optax.GradientTransformation]
    options: tuple[tuple[str, Any], ...]
    problem: str
    steps: int
    text: str

    @property
    def exact(self) -> int:
        """How many of the steps are compared parameter by parameter."""
        return EXACT if self.optimizer is LBFGS else self.steps

    def loss(self, *arguments: Any) -> Any:
        """The loss of the problem; negative where it is to be maximised, so that it has a limit."""
        value = problem(self.problem).loss(*arguments)
        return -value if dict(self.options).get("maximize") else value

    def kwargs(self) -> dict[str, Any]:
        """Options of one's own: torch changes a learning rate that is a tensor in place."""
        return copy.deepcopy(dict(self.options))


def option(name: str, factory: str, options: dict[str, Any], on: str | None = None) -> Option:
    """An option by the names of torch's class, fdl's factory and the problem.

    L-BFGS has one batch for all steps: from one batch to another its curvatures are noise, and
    rounding grows 1e5 times in a step of torch's own.
    """
    text = ",".join(f"{key}={value}" for key, value in options.items()).replace(" ", "")
    optimizer, found = getattr(torch.optim, name), getattr(fdl.optim, factory)
    special = {SparseAdam: "recommender", Muon: "matrices", LBFGS: "one batch"}
    usual = special.get(optimizer, "network")
    steps = OUTER if optimizer is LBFGS else STEPS
    text = f"{name}({text})" if on is None else f"{name}({text}) on {on}"
    return Option(optimizer, found, tuple(options.items()), on or usual, steps, text)


def factor(step: Any) -> Any:
    """What a changing learning rate is multiplied by: rises and falls, exact in float32."""
    return 0.5 + (step % 8) / 8


# --- runs


@cache
def torch_run(
    chosen: Option, dtype: str, *, changing: bool, ulps: int = 0, rounded: bool = False
) -> Run:
    """The run in torch.

    Args:
        chosen: the optimizer.
        dtype: of parameters and batches.
        changing: whether the learning rate changes.
        ulps: by how many units in the last place the start is moved.
        rounded: whether Muon iterates in bfloat16, as torch does, or in `dtype`.
    """
    default = torch.get_default_dtype()
    if dtype != "bfloat16":
        torch.set_default_dtype(getattr(torch, dtype))  # of the scalars in the state
    try:
        with nullcontext() if rounded else unrounded():
            return _torch_run(chosen, getattr(torch, dtype), changing=changing, ulps=ulps)
    finally:
        torch.set_default_dtype(default)


def unrounded() -> Any:
    """Torch's Newton-Schulz iteration in the dtype of the gradient, not in bfloat16."""
    muon, name = torch.optim._muon, "_zeropower_via_newtonschulz"
    source = inspect.getsource(getattr(muon, name))
    assert "grad.bfloat16()" in source
    names = dict(vars(muon))
    exec(source.replace("grad.bfloat16()", "grad.clone()"), names)
    return mock.patch.object(muon, name, names[name])


def _torch_run(chosen, dtype, *, changing, ulps):
    start, batches, _ = problem(chosen.problem)
    moved = 1 + ulps * torch.finfo(dtype).eps
    params = {
        k: (torch.tensor(v).double() * moved).to(dtype).requires_grad_() for k, v in start.items()
    }
    batches = [torch.tensor(b[: chosen.steps]) for b in batches]
    batches = [b.to(dtype) if b.is_floating_point() else b for b in batches]
    optimizer = chosen.optimizer(params.values(), **chosen.kwargs())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor if changing else lambda _: 1)
    path, losses, state = {k: [] for k in params}, [], {}

    for batch in zip(*batches, strict=True):

        def closure(batch=batch):
            optimizer.zero_grad()
            loss = chosen.loss(params, batch, torch.tanh, _torch_rows)
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
        for group in optimizer.param_groups:
            group["lr"] = copy.deepcopy(group["lr"])  # LBFGS holds the tensor as its last step
        schedule.step()
        for key, value in params.items():
            path[key].append(value.detach().double().numpy().copy())
        if len(losses) == chosen.exact:
            state = {k: copy.deepcopy(optimizer.state[value]) for k, value in params.items()}
    return Run({k: np.stack(v) for k, v in path.items()}, np.array(losses), state)


def _torch_rows(weight, rows):
    return torch.nn.functional.embedding(rows, weight, sparse=True)


def fdl_run(chosen: Option, dtype: str, **more: Any) -> Iterator[Run]:
    """The same in JAX: at a constant rate, then at a changing one.

    Both run one compiled scan: compiling is most of the time that these tests take.

    Args:
        chosen: the optimizer.
        dtype: of parameters and batches; float64 needs x64.
        more: options of fdl's own.
    """
    params, batches, _ = problem(chosen.problem)
    params = {k: jnp.asarray(v, dtype) for k, v in params.items()}
    batches = [jnp.asarray(b[: chosen.steps]) for b in batches]
    batches = [b.astype(dtype) if jnp.issubdtype(b.dtype, jnp.floating) else b for b in batches]
    kwargs = {k: v.item() if torch.is_tensor(v) else v for k, v in chosen.options} | more
    base = kwargs.get("lr", inspect.signature(chosen.factory).parameters["lr"].default)
    if chosen.optimizer is Muon:
        kwargs.setdefault("ns_dtype", dtype)

    def run(changing):
        kwargs["lr"] = lambda step: base * jnp.where(changing, factor(step), 1)
        optimizer = optax.with_extra_args_support(chosen.factory(**kwargs))

        def step(carry, batch):
            def loss(params):
                return chosen.loss(params, batch, jnp.tanh, operator.getitem)

            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(grads, state, params, value=value, value_fn=loss)
            params = optax.apply_updates(params, updates)
            return (params, state), Run(params, value, state)

        return jax.lax.scan(step, (params, optimizer.init(params)), batches)[1]

    compiled = jax.jit(run)
    for changing in (False, True):
        path, losses, states = jax.tree.map(np.asarray, compiled(jnp.asarray(changing)))
        path = {k: v.astype(np.float64) for k, v in path.items()}
        yield Run(path, losses, jax.tree.map(lambda x: x[chosen.exact - 1], states))


# --- checks


def check_meaning(chosen: Option) -> float:
    """Asserts that all steps and the last state equal torch's; returns the worst error."""
    if chosen.optimizer is LBFGS:
        worst = check_growth(chosen)
        assert worst <= TOLERANCE.float64
        return worst
    worst = 0.0
    with jax.enable_x64(True):
        for changing, run in enumerate(fdl_run(chosen, "float64")):
            oracle = torch_run(chosen, "float64", changing=bool(changing))
            for step in range(chosen.steps):
                got, wanted = ({k: v[step] for k, v in r.path.items()} for r in (run, oracle))
                assert_equal(got, wanted)
                worst = max(worst, *distances(got, wanted).values())
            for name, its in oracle.state.items():
                wanted = {k: np.float64(v) for k, v in its.items() if v is not None}
                if wanted:
                    assert_equal(state_of(run.state, name, wanted), wanted)
    return worst


def state_of(state: Any, name: str, wanted: Arrays) -> Arrays:
    """What fdl's state has under torch's names for one parameter; some are one for all."""
    found = {k: fields(state)[k] for k in wanted}
    return {k: np.float64(v[name] if isinstance(v, dict) else v) for k, v in found.items()}


def fields(state: Any) -> dict[str, Any]:
    """The fields of all parts of a state."""
    parts = jax.tree.leaves(state, is_leaf=lambda part: hasattr(part, "_fields"))
    return {k: v for part in parts for k, v in part._asdict().items()}


def check_growth(chosen: Option, **more: Any) -> float:
    """Asserts that L-BFGS goes as torch's does; returns the worst error of the exact steps.

    It is parameters and counts that are compared at the exact steps, and the loss at all. Rounding
    grows from each iteration to the next, in torch too: beyond the tolerance, an error is allowed
    that is the table's multiple of what units in the last place of the start do to torch's own run.
    """
    worst = 0.0
    with jax.enable_x64(True):
        for changing, run in enumerate(fdl_run(chosen, "float64", **more)):
            kind = {"changing": bool(changing)}
            oracle = torch_run(chosen, "float64", **kind)
            its = next(iter(oracle.state.values()))
            counts = {k: int(getattr(run.state, k)) for k in ("n_iter", "func_evals")}
            assert counts == {k: its[k] for k in counts}
            error = growth(run, oracle)
            worst = max(worst, float(error.path[: chosen.exact].max()))
            own = Growth(np.zeros(chosen.steps), np.zeros(chosen.steps))
            if max(error.path.max(), error.losses.max()) > TOLERANCE.float64:
                shifted = [torch_run(chosen, "float64", **kind, ulps=ulps) for ulps in ULPS]
                own = spread(shifted, oracle)
            for name, steps in (("path", chosen.exact), ("losses", chosen.steps)):
                found, its = (getattr(side, name)[:steps] for side in (error, own))
                allowed = np.maximum(TOLERANCE.float64, TOLERANCE.multiple * its)
                assert (found <= allowed).all(), (name, changing, found, its)
    return worst


class Growth(NamedTuple):
    """Relative errors at every step: of the worst parameter, and of the loss."""

    path: np.ndarray
    losses: np.ndarray


def growth(run: Run, oracle: Run) -> Growth:
    """How far a run is from the oracle."""
    return Growth(
        np.max([relative(run.path[k], wanted) for k, wanted in oracle.path.items()], axis=0),
        relative(run.losses, oracle.losses),
    )


def spread(runs: list[Run], oracle: Run) -> Growth:
    """How far torch's own runs are from each other, up to each step."""
    found = [growth(run, oracle) for run in runs]
    return Growth(
        *(np.maximum.accumulate(np.max(kind, axis=0)) for kind in zip(*found, strict=True))
    )


def relative(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The error of every step, relative to that step."""
    pairs = zip(got, wanted, strict=True)
    return np.array(
        [distance(one, other, maximum(np.atleast_1d(other)), maximum) for one, other in pairs]
    )


def check_precision(
    chosen: Option, dtype: str = "float32", *, rounded: bool = False, **more: Any
) -> float:
    """Asserts that every step is about as precise as torch's; returns the worst error.

    If an error is beyond its budget, torch's own is looked for in more runs, whose start is moved
    by units in the last place, as fdl's parity tool does. In bfloat16 that moves too far: there it
    is the largest errors of all parameters and steps that are compared.
    """
    worst = 0.0
    for changing, run in enumerate(fdl_run(chosen, dtype, **more)):
        kind = {"changing": bool(changing)}
        oracle = torch_run(chosen, "float64", **kind)
        kind["rounded"] = rounded
        found = drift([run], oracle, chosen)
        runs = [torch_run(chosen, dtype, **kind)]
        if dtype != "bfloat16" and not within(found, drift(runs, oracle, chosen)):
            runs += [torch_run(chosen, dtype, **kind, ulps=ulps) for ulps in ULPS]
        own = drift(runs, oracle, chosen)
        if dtype == "bfloat16":
            found, own = ({"all": np.max([*v.values()], keepdims=True)} for v in (found, own))
        assert within(found, own), (changing, found, own)
        worst = max(worst, *(float(v.max()) for v in found.values()))
    return worst


def drift(runs: list[Run], oracle: Run, chosen: Option) -> Arrays:
    """The largest error of each parameter up to each step."""
    found = {}
    for name, wanted in oracle.path.items():
        wanted = wanted[: chosen.exact]
        errors = [
            [
                distance(run.path[name][step], exact, maximum(wanted[: step + 1]), maximum)
                for step, exact in enumerate(wanted)
            ]
            for run in runs
        ]
        found[name] = np.maximum.accumulate(np.max(errors, axis=0))
    return found


def within(found: Arrays, own: Arrays) -> bool:
    """Whether all errors are in the budget that torch's own give."""
    return all(
        error <= TOLERANCE.float32(its)
        for name in found
        for error, its in zip(found[name], own[name], strict=True)
    )
