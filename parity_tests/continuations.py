"""Runs of a small network that go from torch to fdl and back; each leg starts from saved state."""

import operator
from collections.abc import Callable
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import schedule_cases as schedules
import torch
from schedule_cases import Case

import fdl
from fdl import interop

LEG, LEGS = 20, 3
Arrays = dict[str, np.ndarray]

SHAPES = {
    "gain": (),
    "stem.weight": (2, 3, 1, 5),
    "stem.bias": (6,),
    "body.0.weight": (6, 6),
    "body.0.bias": (6,),
    "body.10.weight": (4, 6),
    "head.weight": (3, 4),
}
"""In the order of torch, which is not the sorted one of JAX."""

MATRICES = ["stem.weight", "body.0.weight", "body.10.weight", "head.weight"]


class Combined(NamedTuple):
    """Several schedulers as one."""

    members: tuple[Case, ...]
    milestones: tuple[int, ...] = ()

    def torch(self, optimizer: torch.optim.Optimizer) -> Any:
        if not self.milestones:
            return schedules.chain(optimizer, *self.members)
        return schedules.sequence(optimizer, *self.members, milestones=[*self.milestones])

    def fdl(self) -> Any:
        members = [member.fdl() for member in self.members]
        if not self.milestones:
            return fdl.optim.chained_scheduler(members)
        return fdl.optim.sequential_lr(members, [*self.milestones])

    def __str__(self) -> str:
        names = "+".join(member.name for member in self.members)
        return f"{'sequential' if self.milestones else 'chained'}({names})"


class Run(NamedTuple):
    """An optimizer with a scheduler, by torch's names."""

    name: str
    factory: str
    options: dict[str, Any]
    scheduler: Any

    def __str__(self) -> str:
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}({options})-{self.scheduler}".replace(" ", "")

    @property
    def leg(self) -> int:
        """Updates of a leg; L-BFGS makes many iterations in each, and rounding grows."""
        return 2 if self.name == "LBFGS" else LEG

    @property
    def sign(self) -> int:
        return -1 if self.options.get("maximize") else 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        if self.name == "SparseAdam":
            return {"users": (9, 4), "items": (7, 4)}
        if self.name == "Muon":
            return {name: (SHAPES[name][0], SHAPES[name][-1]) for name in MATRICES} | {
                "stem.weight": (6, 5)
            }
        return SHAPES

    def loss(self, params: dict[str, Any], batch: Any, tanh: Callable, look_up: Callable) -> Any:
        if self.name == "SparseAdam":
            users, items, y = batch
            product = tanh(look_up(params["users"], users)) * look_up(params["items"], items)
            return self.sign * ((product.sum(-1) - y) ** 2).mean()
        x, y = batch
        hidden = tanh(x @ params["stem.weight"].reshape(6, 5).T + params.get("stem.bias", 0.0))
        hidden = tanh(hidden @ params["body.0.weight"].T + params.get("body.0.bias", 0.0))
        hidden = tanh(hidden @ params["body.10.weight"].T) * params.get("gain", 1.0)
        return self.sign * ((hidden @ params["head.weight"].T - y) ** 2).mean()

    def start(self) -> Arrays:
        generator = np.random.default_rng(0)
        return {name: generator.normal(size=shape) / 2 for name, shape in self.shapes().items()}

    def batches(self) -> tuple[np.ndarray, ...]:
        generator, steps = np.random.default_rng(1), LEGS * LEG
        if self.name == "SparseAdam":
            rows = [generator.integers(0, high, (steps, 4)) for high in (9, 7)]
            return (*rows, generator.normal(size=(steps, 4)))
        return tuple(generator.normal(size=(steps, 8, width)) for width in (5, 3))

    def transform(self) -> optax.GradientTransformation:
        """The optimizer of fdl, with what its schedule cycles."""
        schedule, options = self.scheduler.fdl(), dict(self.options)
        if hasattr(schedule, "momentum"):
            if "betas" in options:
                options["betas"] = (schedule.momentum, options["betas"][1])
            else:
                options["momentum"] = schedule.momentum
        return getattr(fdl.optim, self.factory)(schedule, **options)


class Checkpoint(NamedTuple):
    """What torch saves: parameters, optimizer and scheduler."""

    params: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]


@contextmanager
def torch_in_float64():
    """For the scalars in torch's states."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


class TorchSide:
    """Torch's parameters, optimizer and scheduler, new or from a checkpoint."""

    def __init__(self, run: Run, saved: Checkpoint | None = None) -> None:
        self.run = run
        values = {k: torch.tensor(v) for k, v in run.start().items()}
        values = values if saved is None else saved.params
        self.params = {name: values[name].clone().requires_grad_() for name in run.shapes()}
        optimizer = getattr(torch.optim, run.name)
        self.optimizer = optimizer(list(self.params.items()), lr=schedules.LR, **run.options)
        self.scheduler = run.scheduler.torch(self.optimizer)
        if saved is not None:
            self.scheduler.load_state_dict(saved.scheduler)
            self.optimizer.load_state_dict(saved.optimizer)

    def train(self, first: int, count: int) -> Arrays:
        """Steps on, and returns every parameter after each step."""
        path: dict[str, list[np.ndarray]] = {name: [] for name in self.params}
        for step in range(first, first + count):
            batch = [torch.tensor(b[step]) for b in self.run.batches()]

            def closure(batch=batch):
                self.optimizer.zero_grad()
                loss = self.run.loss(self.params, batch, torch.tanh, _rows)
                loss.backward()
                return loss

            self.optimizer.step(closure)
            self.scheduler.step()
            for name, value in self.params.items():
                path[name].append(value.detach().numpy().copy())
        return {name: np.stack(values) for name, values in path.items()}

    def checkpoint(self) -> Checkpoint:
        params = {name: value.detach().clone() for name, value in self.params.items()}
        return Checkpoint(params, self.optimizer.state_dict(), self.scheduler.state_dict())


def _rows(weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.embedding(rows, weight, sparse=True)


class FdlSide:
    """Fdl's optimizer and its compiled leg."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.optimizer = run.transform()
        self.batches = tuple(jnp.asarray(b) for b in run.batches())

    @cached_property
    def compiled(self) -> Callable:
        def step(carry, batch):
            params, state = carry

            def loss(params):
                return self.run.loss(params, batch, jnp.tanh, operator.getitem)

            value, grads = jax.value_and_grad(loss)(params)
            extra = {"value": value, "value_fn": loss} if self.run.name == "LBFGS" else {}
            updates, state = self.optimizer.update(grads, state, params, **extra)
            params = optax.apply_updates(params, updates)
            return (params, state), params

        return jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches))

    def train(self, params: Any, state: Any, first: int, count: int) -> tuple[Any, Any, Arrays]:
        batches = tuple(b[first : first + count] for b in self.batches)
        (params, state), path = self.compiled((params, state), batches)
        return params, state, jax.tree.map(np.asarray, path)

    def start(self) -> tuple[Any, Any]:
        params = jax.tree.map(jnp.asarray, self.run.start())
        return params, self.optimizer.init(params)

    def resume(self, saved: Checkpoint) -> tuple[Any, Any]:
        """From torch's checkpoint alone."""
        params = {name: interop.to_jax(value) for name, value in saved.params.items()}
        steps = interop.scheduler_from_torch(saved.scheduler)
        state = interop.optimizer_from_torch(
            saved.optimizer, like=self.optimizer, params=params, steps=steps
        )
        return params, state


def handed_back(run: Run, params: Any, state: Any, steps: int) -> Checkpoint:
    """Fdl's run as torch would have saved it, with optimizer and scheduler that are new."""
    fresh = TorchSide(run)
    return Checkpoint(
        {name: interop.to_tensor(value) for name, value in params.items()},
        interop.optimizer_to_torch(state, like=fresh.optimizer, scheduler=fresh.scheduler),
        interop.scheduler_to_torch(steps, like=fresh.scheduler),
    )
