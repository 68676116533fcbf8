"""A hundred steps of a small network under an optimizer, in torch and in fdl."""

import copy
import inspect
import operator
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from nearness import assert_equal, distances

import fdl
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

STEPS = 100
ROWS = {"users": 9, "items": 7}
Path = dict[str, np.ndarray]


class Option(NamedTuple):
    """One optimizer with options, by torch's names; written as a test's id."""

    optimizer: type[torch.optim.Optimizer]
    factory: Callable[..., optax.GradientTransformation]
    options: tuple[tuple[str, Any], ...]
    text: str

    @property
    def sparse(self) -> bool:
        """Whether the gradients have few rows."""
        return self.optimizer is torch.optim.SparseAdam

    def loss(self, *arguments: Any) -> Any:
        """The loss of the problem; negative where it is to be maximised, so that it has a limit."""
        value = (recommender if self.sparse else network)(*arguments)
        return -value if dict(self.options).get("maximize") else value

    def kwargs(self) -> dict[str, Any]:
        """Options of one's own: torch changes a learning rate that is a tensor in place."""
        return copy.deepcopy(dict(self.options))


def option(name: str, factory: str, options: dict[str, Any]) -> Option:
    """An option by the names of torch's class and fdl's factory."""
    text = ",".join(f"{key}={value}" for key, value in options.items()).replace(" ", "")
    found = getattr(fdl.optim, factory)
    return Option(getattr(torch.optim, name), found, tuple(options.items()), f"{name}({text})")


def factor(step: Any) -> Any:
    """What a changing learning rate is multiplied by: rises and falls, exact in float32."""
    return 0.5 + (step % 8) / 8


def network(params, batch, tanh, look_up):
    """The loss of a network of two layers."""
    del look_up
    x, y = batch
    hidden = tanh(x @ params["weight1"].T + params["bias"])
    return ((hidden @ params["weight2"].T - y) ** 2).mean()


def recommender(params, batch, tanh, look_up):
    """The loss of a product of two embeddings, whose gradients have few rows."""
    users, items, y = batch
    product = tanh(look_up(params["users"], users)) * look_up(params["items"], items)
    return ((product.sum(-1) - y) ** 2).mean()


def problem(*, sparse: bool) -> tuple[Path, tuple[np.ndarray, ...]]:
    """Parameters, and a batch for every step; float32, for the oracle starts from it too."""
    generator = np.random.default_rng(0)
    shapes = {"weight1": (6, 5), "bias": (6,), "weight2": (3, 6)}
    sizes = {"x": (STEPS, 8, 5), "y": (STEPS, 8, 3)}
    if sparse:
        shapes, sizes = {name: (rows, 4) for name, rows in ROWS.items()}, {"y": (STEPS, 4)}
    params = {k: generator.normal(size=s).astype(np.float32) / 2 for k, s in shapes.items()}
    rows = [generator.integers(0, r, (STEPS, 4)) for r in ROWS.values()] if sparse else []
    batches = [generator.normal(size=s).astype(np.float32) for s in sizes.values()]
    return params, (*rows, *batches)


@cache
def torch_run(chosen: Option, dtype: str, *, changing: bool) -> tuple[Path, list[dict[str, Any]]]:
    """Every parameter after every step, and the final state of each."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))  # of the scalars in the state
    try:
        return _torch_run(chosen, dtype, changing=changing)
    finally:
        torch.set_default_dtype(default)


def _torch_run(chosen, dtype, *, changing):
    params, batches = problem(sparse=chosen.sparse)
    params = {k: torch.tensor(v.astype(dtype)).requires_grad_() for k, v in params.items()}
    batches = [torch.tensor(_of_dtype(b, dtype)) for b in batches]
    optimizer = chosen.optimizer(params.values(), **chosen.kwargs())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor if changing else lambda _: 1)
    path = {k: [] for k in params}
    for batch in zip(*batches, strict=True):
        optimizer.zero_grad()
        chosen.loss(params, batch, torch.tanh, _torch_rows).backward()
        optimizer.step()
        schedule.step()
        for key, value in params.items():
            path[key].append(value.detach().numpy().copy())
    state = [optimizer.state[value] for value in params.values()]
    return {k: np.stack(v) for k, v in path.items()}, state


def _torch_rows(weight, rows):
    return torch.nn.functional.embedding(rows, weight, sparse=True)


def fdl_run(chosen: Option, dtype: str) -> Iterator[tuple[Path, Any]]:
    """The same in JAX's current precision: at a constant rate, then at a changing one.

    Both run one compiled scan: compiling is most of the time that these tests take.
    """
    params, batches = problem(sparse=chosen.sparse)
    params = {k: jnp.asarray(v.astype(dtype)) for k, v in params.items()}
    batches = tuple(jnp.asarray(_of_dtype(b, dtype)) for b in batches)
    kwargs = {k: v.item() if torch.is_tensor(v) else v for k, v in chosen.options}
    base = kwargs.get("lr", inspect.signature(chosen.factory).parameters["lr"].default)

    def run(changing):
        kwargs["lr"] = lambda step: base * jnp.where(changing, factor(step), 1)
        optimizer = chosen.factory(**kwargs)

        def step(carry, batch):
            params, state = carry
            grads = jax.grad(chosen.loss)(params, batch, jnp.tanh, operator.getitem)
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        return jax.lax.scan(step, (params, optimizer.init(params)), batches)

    compiled = jax.jit(run)
    for changing in (False, True):
        (_, state), path = compiled(jnp.asarray(changing))
        yield jax.tree.map(np.asarray, (path, state))


def _of_dtype(batch: np.ndarray, dtype: str) -> np.ndarray:
    return batch.astype(dtype) if batch.dtype.kind == "f" else batch


def check_meaning(chosen: Option) -> float:
    """Asserts that all steps and the final state equal torch's; returns the worst error."""
    worst = 0.0
    with jax.enable_x64(True):
        for changing, (path, state) in enumerate(fdl_run(chosen, "float64")):
            expected, states = torch_run(chosen, "float64", changing=bool(changing))
            for step in range(STEPS):
                got, wanted = ({k: v[step] for k, v in p.items()} for p in (path, expected))
                assert_equal(got, wanted)
                worst = max(worst, *distances(got, wanted).values())
            for name, its in zip(expected, states, strict=True):
                wanted = {k: np.float64(v) for k, v in its.items() if v is not None}
                if wanted:
                    assert_equal(state_of(state, name, wanted), wanted)
    return worst


def check_precision(chosen: Option) -> float:
    """Asserts that every step is about as precise as torch's in float32; returns the worst."""
    worst = 0.0
    for changing, (path, _) in enumerate(fdl_run(chosen, "float32")):
        oracle, _ = torch_run(chosen, "float64", changing=bool(changing))
        reference, _ = torch_run(chosen, "float32", changing=bool(changing))
        for name, values in oracle.items():
            own = 0.0
            for step, exact in enumerate(values):
                size = maximum(values[: step + 1])
                error, own_now = (
                    distance(run[name][step], exact, size, maximum) for run in (path, reference)
                )
                own, worst = max(own, own_now), max(worst, error)
                assert error <= TOLERANCE.float32(own), (name, changing, step, error, own)
    return worst


def state_of(state: Any, name: str, wanted: dict[str, Any]) -> dict[str, np.ndarray]:
    """What fdl's state has under torch's names for one parameter; some are one for all."""
    fields = next(part for part in state if hasattr(part, "step"))._asdict()
    found = {k: fields[k] for k in wanted}
    return {k: np.float64(v[name] if isinstance(v, dict) else v) for k, v in found.items()}
