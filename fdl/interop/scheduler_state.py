"""The state of torch's schedulers from the number of steps, and back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from fdl._checks import require
from fdl.optim import PlateauState

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


class _StandIn:
    """What a scheduler sees of an optimizer: its options, without the tensors."""

    _opt_called = True

    def __init__(self, optimizer: Optimizer) -> None:
        self.defaults = optimizer.defaults
        self.param_groups = [
            copy.deepcopy({key: value for key, value in group.items() if key != "params"})
            for group in optimizer.param_groups
        ]

    def step(self) -> None:
        """Does nothing; schedulers ask whether it has been called."""

    vars(step)["_wrapped_by_lr_sched"] = True


def scheduler_from_torch(source: LRScheduler | Mapping[str, Any]) -> int:
    """The number of steps that a torch scheduler has taken: the count of fdl's schedules.

    Args:
        source: any scheduler of ``torch.optim.lr_scheduler``, or its ``state_dict()``.

    Returns:
        ``last_epoch``, also of a ``ChainedScheduler``, which has none of its own.

    Raises:
        ValueError: if it is the state of something else.

    Example:
        >>> import fdl, torch
        >>> theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(theirs, 30)
        >>> for _ in range(3):
        ...     theirs.step()
        ...     scheduler.step()
        >>> fdl.interop.scheduler_from_torch(scheduler)
        3

    Torch: ``scheduler.state_dict()["last_epoch"]``.
    """
    state = source if isinstance(source, Mapping) else source.state_dict()
    while "last_epoch" not in state and state.get("_schedulers"):
        state = state["_schedulers"][0]
    if "last_epoch" not in state:
        raise ValueError(
            "scheduler_from_torch: source: expected a scheduler's state with last_epoch, got "
            f"{sorted(state)}. Pass scheduler.state_dict()."
        )
    return int(state["last_epoch"])


def scheduler_to_torch(steps: int, *, like: LRScheduler) -> dict[str, Any]:
    """The state of a torch scheduler after a number of steps.

    Args:
        steps: how many it has taken by then.
        like: the scheduler, fresh or no further than that. It stays as it is, and so does its
            optimizer: what follows is stepped on a copy.

    Returns:
        What ``like.load_state_dict`` takes. The optimizer's learning rate is no part of it:
        :func:`optimizer_to_torch` with ``scheduler=`` gives that.

    Raises:
        ValueError: if `like` is further than `steps`; from torch, past the end of a ``OneCycleLR``.
        TypeError: for ``ReduceLROnPlateau``, whose state is not a function of the step.

    Example:
        >>> import fdl, torch
        >>> theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(theirs, 30)
        >>> scheduler.load_state_dict(fdl.interop.scheduler_to_torch(60, like=scheduler))
        >>> [round(lr, 4) for lr in scheduler.get_last_lr()]
        [0.001]

    Torch: ``scheduler.state_dict()``.
    """
    return replayed("scheduler_to_torch", like, steps).state_dict()


def replayed(caller: str, scheduler: LRScheduler, steps: int) -> Any:
    """A copy of a scheduler after a number of steps, whose optimizer has its options only.

    Raises:
        ValueError: if it is further than that.
        TypeError: if its steps take a metric.
    """
    torch = require("torch", extra="torch", purpose=caller)
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise TypeError(
            f"{caller}: scheduler: expected a function of the step, got ReduceLROnPlateau, which "
            "depends on metrics. Use plateau_to_torch, and set the groups' lr to the state's."
        )
    taken = scheduler_from_torch(scheduler)
    if taken > steps:
        raise ValueError(
            f"{caller}: scheduler: expected one that has taken at most {steps} steps, got one "
            f"after {taken}. Make a new one, for a new optimizer."
        )
    optimizer = scheduler.optimizer
    again = copy.deepcopy(scheduler, {id(optimizer): _StandIn(optimizer)})
    for _ in range(steps - taken):
        again.step()
    return again


def plateau_from_torch(source: ReduceLROnPlateau | Mapping[str, Any]) -> PlateauState:
    """Copies the state of torch's ``ReduceLROnPlateau``.

    Args:
        source: the scheduler or its ``state_dict()``.

    Returns:
        The state that :func:`fdl.optim.reduce_lr_on_plateau` with the same options goes on from.

    Raises:
        ValueError: if groups have different learning rates: there is one here.

    Torch: ``scheduler.state_dict()``.
    """
    state = source if isinstance(source, Mapping) else source.state_dict()
    rates = {float(lr) for lr in state["_last_lr"]}
    if len(rates) != 1:
        raise ValueError(
            "plateau_from_torch: source: expected one learning rate for all groups, got "
            f"{sorted(rates)}. Take a PlateauState for each group, and replace its lr."
        )
    width = jnp.result_type(float)
    counts = ("num_bad_epochs", "cooldown_counter", "last_epoch")
    return PlateauState(
        lr=jnp.asarray(rates.pop(), width),
        best=jnp.asarray(float(state["best"]), width),
        **{key: jnp.asarray(state[key], jnp.int32) for key in counts},
    )


def plateau_to_torch(state: PlateauState, *, like: ReduceLROnPlateau) -> dict[str, Any]:
    """Copies the state of :func:`fdl.optim.reduce_lr_on_plateau`.

    Args:
        state: as its ``init`` and ``step`` give it.
        like: the torch scheduler that goes on. Its options stay.

    Returns:
        What ``like.load_state_dict`` takes. As in torch, that leaves the optimizer's learning rate
        as it is, which :func:`optimizer_to_torch` brings where it is injected.

    Torch: ``scheduler.state_dict()``.
    """
    found = {key: value.item() for key, value in state._asdict().items()}
    rates = [found.pop("lr")] * len(like.optimizer.param_groups)
    return {**like.state_dict(), **found, "_last_lr": rates}
