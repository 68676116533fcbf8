"""The momentum that sequences, chains and epochs of schedules leave, against torch's."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from schedule_cases import (
    LR,
    MILESTONE,
    NAMED,
    STEPS,
    Case,
    chain,
    compare_all,
    joined,
    sequence,
    torch_optimizer,
    torch_values,
)
from torch.optim import lr_scheduler

import fdl

ONE = Case("one_cycle_lr", {"max_lr": 1.0, "total_steps": 400})
THREE = Case(
    "one_cycle_lr",
    {
        "max_lr": 2.0,
        "total_steps": 333,
        "three_phase": True,
        "pct_start": 0.37,
        "anneal_strategy": "linear",
        "base_momentum": 0.5,
        "max_momentum": 0.99,
    },
)
LATE = Case("one_cycle_lr", {"max_lr": 1.0, "total_steps": 300, "pct_start": 0.0})
UP_AND_DOWN = Case(
    "cyclic_lr",
    {
        "base_lr": 0.01,
        "max_lr": 0.2,
        "step_size_up": 6,
        "step_size_down": 9,
        "base_momentum": 0.3,
        "max_momentum": 0.7,
        "mode": "exp_range",
        "gamma": 0.99,
    },
)
CYCLING = [ONE, THREE, LATE, UP_AND_DOWN]
STILL = [
    NAMED["exponential_lr"],
    NAMED["swa_lr"],
    Case("one_cycle_lr", {**ONE.options, "cycle_momentum": False}),
]
PAIRS = [
    (first, last)
    for first, last in product([*CYCLING, *STILL], repeat=2)
    if first in CYCLING or last in CYCLING
]
SHORT = [NAMED["exponential_lr"], UP_AND_DOWN, NAMED["step_lr"]]
TRIPLES = [
    SHORT,
    [ONE, NAMED["step_lr"], UP_AND_DOWN],
    [UP_AND_DOWN, ONE, NAMED["step_lr"]],
    [NAMED["step_lr"], NAMED["exponential_lr"], THREE],
]
KINDS: dict[str, dict[str, Any]] = {
    "momentum": {"kind": torch.optim.SGD, "momentum": 0.2},
    "beta1": {"kind": torch.optim.Adam, "betas": (0.2, 0.99)},
}
for_sgd_and_adam = pytest.mark.parametrize("key", KINDS)
Make = Callable[[torch.optim.Optimizer], Any]


def compare(schedules: list[Any], makers: list[Make], names: list[str], key: str) -> None:
    expected = [torch_values(make, STEPS, key, **KINDS[key]) for make in makers]
    compare_all([schedule.momentum for schedule in schedules], expected, names)


def named(cases: Any) -> str:
    return ", ".join(map(str, cases))


@for_sgd_and_adam
def test_momentum_in_a_sequence_of_two_equals_torchs(key):
    compare(
        [fdl.optim.sequential_lr([case.fdl() for case in pair], [MILESTONE]) for pair in PAIRS],
        [lambda o, pair=pair: sequence(o, *pair, milestones=[MILESTONE]) for pair in PAIRS],
        [named(pair) for pair in PAIRS],
        key,
    )


@for_sgd_and_adam
def test_momentum_in_a_chain_of_two_equals_torchs(key):
    compare(
        [fdl.optim.chained_scheduler([case.fdl() for case in pair]) for pair in PAIRS],
        [lambda o, pair=pair: chain(o, *pair) for pair in PAIRS],
        [named(pair) for pair in PAIRS],
        key,
    )


@pytest.mark.parametrize("milestones", [[0, 9], [9, 9], [5, 30], [1, 2], [0, 0]], ids=str)
def test_momentum_in_a_sequence_of_three_equals_torchs(milestones):
    compare(
        [fdl.optim.sequential_lr([case.fdl() for case in t], milestones) for t in TRIPLES],
        [lambda o, t=t: sequence(o, *t, milestones=milestones) for t in TRIPLES],
        [named(triple) for triple in TRIPLES],
        "momentum",
    )


MIXED = [ONE, UP_AND_DOWN, NAMED["exponential_lr"]]


@pytest.mark.parametrize("inner", TRIPLES, ids=named)
@pytest.mark.parametrize("order", ["first", "last"])
def test_momentum_in_a_chain_with_a_sequence_in_it_equals_torchs(inner, order):
    """Where the sequence writes none, the other member's stays."""

    def in_order(composed: Any, alone: Any) -> list[Any]:
        return [composed, alone] if order == "first" else [alone, composed]

    def in_torch(o: torch.optim.Optimizer, case: Case) -> Any:
        makers = in_order(lambda: sequence(o, *inner, milestones=[9, 21]), lambda: case.torch(o))
        return lr_scheduler.ChainedScheduler([make() for make in makers], o)

    ours = fdl.optim.sequential_lr([case.fdl() for case in inner], [9, 21])
    compare(
        [fdl.optim.chained_scheduler(in_order(ours, case.fdl())) for case in MIXED],
        [lambda o, case=case: in_torch(o, case) for case in MIXED],
        [str(case) for case in MIXED],
        "momentum",
    )


def test_momentum_in_a_chain_with_a_chain_in_it_equals_torchs():
    def in_torch(o: torch.optim.Optimizer, case: Case) -> Any:
        return lr_scheduler.ChainedScheduler([chain(o, UP_AND_DOWN, SHORT[0]), case.torch(o)])

    inner = fdl.optim.chained_scheduler([UP_AND_DOWN.fdl(), SHORT[0].fdl()])
    compare(
        [fdl.optim.chained_scheduler([inner, case.fdl()]) for case in MIXED],
        [lambda o, case=case: in_torch(o, case) for case in MIXED],
        [str(case) for case in MIXED],
        "momentum",
    )


def test_what_cycles_no_momentum_has_none():
    still = [case.fdl() for case in STILL]
    for schedule in (
        *still,
        fdl.optim.sequential_lr(still[:2], [3]),
        fdl.optim.chained_scheduler(still[:2]),
        fdl.optim.per_epoch(still[0], 3),
    ):
        assert not hasattr(schedule, "momentum")
        with pytest.raises(AttributeError, match="expected one_cycle_lr or cyclic_lr"):
            _ = schedule.momentum


# --- epochs

BATCHES = 7
EPOCHS = [*CYCLING, NAMED["cosine_annealing_lr"], NAMED["step_lr"], NAMED["linear_lr"]]


def torch_epochs(optimizer: Any, by_batch: list[Any], by_epoch: list[Any], key: str) -> np.ndarray:
    values = []
    for step in range(STEPS):
        values.append(optimizer.param_groups[0][key])
        optimizer.step()
        for scheduler in by_batch + by_epoch * ((step + 1) % BATCHES == 0):
            scheduler.step()
    return np.array(values, float)


@pytest.mark.parametrize("key", ["lr", "momentum"])
def test_a_step_an_epoch_equals_torchs(key):
    cases = EPOCHS if key == "lr" else CYCLING
    milestones = [0, 5]
    expected, schedules = [], []
    for case in cases:
        o = torch_optimizer(momentum=0.2)
        expected.append(torch_epochs(o, [], [case.torch(o)], key))
        schedules.append(case.fdl())
        o = torch_optimizer(momentum=0.2)
        members = [SHORT[0], case, NAMED["step_lr"]]
        composed = joined(o, [member.torch(o) for member in members], milestones)
        expected.append(torch_epochs(o, [], [composed], key))
        ours = [member.fdl() for member in members]
        schedules.append(fdl.optim.sequential_lr(ours, milestones))
    slow = [fdl.optim.per_epoch(schedule, BATCHES) for schedule in schedules]
    slow = [schedule if key == "lr" else schedule.momentum for schedule in slow]
    compare_all(slow, expected, [f"{case} {how}" for case in cases for how in ("alone", "joined")])


@pytest.mark.parametrize("key", ["lr", "momentum"])
def test_a_chain_steps_one_member_a_batch_and_one_an_epoch(key):
    schedules, expected = [], []
    pairs = [
        pair
        for pair in product([NAMED["linear_lr"], NAMED["exponential_lr"], UP_AND_DOWN], EPOCHS)
        if key == "lr" or pair[0] in CYCLING or pair[1] in CYCLING
    ]
    for batch, epoch in pairs:
        o = torch_optimizer(momentum=0.2)
        expected.append(torch_epochs(o, [batch.torch(o)], [epoch.torch(o)], key))
        members = [batch.fdl(), fdl.optim.per_epoch(epoch.fdl(), BATCHES)]
        schedules.append(fdl.optim.chained_scheduler(members))
    schedules = [schedule if key == "lr" else schedule.momentum for schedule in schedules]
    compare_all(schedules, expected, [named(pair) for pair in pairs])


def test_what_is_no_schedule_has_no_epochs():
    with pytest.raises(TypeError, match=r"per_epoch: schedule: expected a schedule of fdl"):
        fdl.optim.per_epoch(lambda step: LR, 3)
    with pytest.raises(ValueError, match="steps_per_epoch: expected an integer from 1"):
        fdl.optim.per_epoch(NAMED["step_lr"].fdl(), 0)
