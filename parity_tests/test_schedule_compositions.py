"""Schedules in sequences, chains and tables against torch: every pair, at every step."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from schedule_cases import (
    LR,
    MILESTONE,
    NAMED,
    NEAR,
    ONE_EACH,
    STEPS,
    TORCH,
    Case,
    assert_near,
    chain,
    compare_all,
    jitted,
    joined,
    sequence,
    torch_optimizer,
    torch_values,
)
from torch.optim import lr_scheduler

import fdl

each_first = pytest.mark.parametrize("first", ONE_EACH, ids=lambda c: str(c).partition("(")[0])


@each_first
def test_every_sequence_of_two_equals_torchs(first, record_property):
    worst = compare_all(
        [fdl.optim.sequential_lr([first.fdl(), c.fdl()], [MILESTONE]) for c in ONE_EACH],
        [
            torch_values(lambda o, c=c: sequence(o, first, c, milestones=[MILESTONE]), STEPS)
            for c in ONE_EACH
        ],
        [f"{first}, {c}" for c in ONE_EACH],
    )
    for pair, error in worst.items():
        record_property("schedule", ("SequentialLR", pair, error))


@each_first
def test_every_chain_of_two_equals_torchs(first, record_property):
    worst = compare_all(
        [fdl.optim.chained_scheduler([first.fdl(), c.fdl()]) for c in ONE_EACH],
        [torch_values(lambda o, c=c: chain(o, first, c), STEPS) for c in ONE_EACH],
        [f"{first}, {c}" for c in ONE_EACH],
    )
    for pair, error in worst.items():
        record_property("schedule", ("ChainedScheduler", pair, error))


MILESTONES = [[0, 9], [9, 9], [5, 30], [1, 2], [0, 0]]
THREE = [NAMED[name] for name in ("linear_lr", "multiplicative_lr", "cosine_annealing_lr")]
LONGER = [
    THREE,
    [NAMED[name] for name in ("swa_lr", "one_cycle_lr", "exponential_lr")],
    [NAMED[name] for name in ("constant_lr", "step_lr", "polynomial_lr")],
    [NAMED[name] for name in ("exponential_lr", "cyclic_lr", "step_lr")],
    [Case("one_cycle_lr", {"max_lr": m, "total_steps": 333}) for m in (1.0, 3.0, 2.0)],
    [Case("swa_lr", {"swa_lr": m}) for m in (0.01, 0.03, 0.02)],
]


@pytest.mark.parametrize("milestones", MILESTONES, ids=str)
def test_a_sequence_of_three_equals_torchs(milestones):
    compare_all(
        [fdl.optim.sequential_lr([c.fdl() for c in cases], milestones) for cases in LONGER],
        [
            torch_values(lambda o, c=c: sequence(o, *c, milestones=milestones), STEPS)
            for c in LONGER
        ],
        [" ".join(map(str, cases)) for cases in LONGER],
    )


def test_a_chain_of_three_and_of_one_equals_torchs():
    chains = [*LONGER, *[[case] for case in ONE_EACH]]
    compare_all(
        [fdl.optim.chained_scheduler([c.fdl() for c in cases]) for cases in chains],
        [torch_values(lambda o, c=c: chain(o, *c), STEPS) for c in chains],
        [" ".join(map(str, cases)) for cases in chains],
    )


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_chain_with_a_sequence_in_it_equals_torchs(order):
    def in_order(inner: Any, alone: Any) -> list[Any]:
        return [inner, alone] if order == "first" else [alone, inner]

    def in_torch(o: torch.optim.Optimizer, case: Case) -> Any:
        makers = in_order(lambda: sequence(o, *THREE, milestones=[9, 21]), lambda: case.torch(o))
        return lr_scheduler.ChainedScheduler([make() for make in makers], o)

    inner = fdl.optim.sequential_lr([case.fdl() for case in THREE], [9, 21])
    compare_all(
        [fdl.optim.chained_scheduler(in_order(inner, case.fdl())) for case in ONE_EACH],
        [torch_values(lambda o, c=c: in_torch(o, c), STEPS) for c in ONE_EACH],
        [f"{order} {c}" for c in ONE_EACH],
    )


def test_the_order_of_a_chain_matters():
    """A replay that took chains for products would be found."""
    first, last = NAMED["exponential_lr"], NAMED["cosine_annealing_lr"]
    one = torch_values(lambda o: chain(o, first, last), STEPS)
    other = torch_values(lambda o: chain(o, last, first), STEPS)
    assert np.abs(one - other).max() > 1e8 * NEAR


def test_compositions_that_torch_refuses_are_refused():
    decay = fdl.optim.exponential_lr(LR, 0.9)
    sequence_of, chain_of = fdl.optim.sequential_lr, fdl.optim.chained_scheduler
    with pytest.raises(ValueError, match="expected one or more schedules"):
        sequence_of([], [])
    with pytest.raises(ValueError, match="expected one or more schedules"):
        chain_of([])
    with pytest.raises(ValueError, match="milestones: expected 1"):
        sequence_of([decay, decay], [3, 4])
    with pytest.raises(ValueError, match="expected ascending"):
        sequence_of([decay, decay, decay], [4, 3])
    with pytest.raises(ValueError, match="expected one base learning rate"):
        chain_of([decay, fdl.optim.exponential_lr(2 * LR, 0.9)])


def test_a_plateau_is_no_member_as_in_torch():
    o = torch_optimizer()
    theirs, ours = lr_scheduler.ReduceLROnPlateau(o), fdl.optim.reduce_lr_on_plateau(LR)
    refused = "does not support `ReduceLROnPlateau` scheduler"
    with pytest.raises(ValueError, match=refused):
        lr_scheduler.SequentialLR(o, [theirs], [])
    with pytest.raises(ValueError, match=refused):
        lr_scheduler.ChainedScheduler([theirs])
    with pytest.raises(TypeError, match="sequential_lr: schedulers: expected schedules of fdl"):
        fdl.optim.sequential_lr([ours], [])
    with pytest.raises(TypeError, match="chained_scheduler: schedulers: expected schedules of fdl"):
        fdl.optim.chained_scheduler([ours])


DECAY = NAMED["exponential_lr"]
COMPOSED = {
    "chain": (
        lambda o: chain(o, DECAY),
        lambda: fdl.optim.chained_scheduler([DECAY.fdl()]),
    ),
    "sequence": (
        lambda o: sequence(o, DECAY, DECAY, milestones=[99]),
        lambda: fdl.optim.sequential_lr([DECAY.fdl(), DECAY.fdl()], [99]),
    ),
}


@pytest.mark.parametrize(("theirs", "ours"), COMPOSED.values(), ids=COMPOSED)
def test_a_sequence_takes_no_composed_member_which_torch_cannot_switch_to(theirs, ours):
    """Torch raises at the switch; a first member is a step ahead."""
    with pytest.raises(NotImplementedError):
        torch_values(lambda o: joined(o, [DECAY.torch(o), theirs(o)], [7]), 9)
    first = torch_values(lambda o: joined(o, [theirs(o), DECAY.torch(o)], [7]), 5)
    np.testing.assert_array_equal(first, torch_values(theirs, 6)[1:])
    for members in ([DECAY.fdl(), ours()], [ours(), DECAY.fdl()]):
        with pytest.raises(TypeError, match="expected plain schedules"):
            fdl.optim.sequential_lr(members, [7])


def test_a_chain_with_a_chain_in_it_equals_torchs():
    inner = [NAMED[name] for name in ("cosine_annealing_lr", "exponential_lr")]

    def in_torch(o: torch.optim.Optimizer, case: Case) -> Any:
        return lr_scheduler.ChainedScheduler([chain(o, *inner), case.torch(o)])

    ours = fdl.optim.chained_scheduler([case.fdl() for case in inner])
    compare_all(
        [fdl.optim.chained_scheduler([ours, case.fdl()]) for case in ONE_EACH],
        [torch_values(lambda o, c=c: in_torch(o, c), STEPS) for c in ONE_EACH],
        [str(case) for case in ONE_EACH],
    )


# --- tables


def host(epoch: int) -> float:
    return min(1.0, math.sqrt(epoch + 1) / 5) if epoch < 50 else [0.5, 0.25][epoch % 2]


@pytest.mark.parametrize("name", ["lambda_lr", "multiplicative_lr"])
def test_a_python_function_is_refused_with_the_remedy_and_taken_as_a_table(name):
    factory = getattr(fdl.optim, name)
    with pytest.raises(TypeError, match=r"tabulate\(lr_lambda, steps\)"):
        factory(LR, host)
    expected = torch_values(lambda o: TORCH[name](o, host), STEPS)
    assert_near(jitted(factory(LR, fdl.optim.tabulate(host, STEPS)), STEPS), expected)


@pytest.mark.parametrize("case", ONE_EACH, ids=str)
def test_a_table_is_torchs_recursion_also_without_x64(case):
    chained = fdl.optim.chained_scheduler([NAMED["cosine_annealing_lr"].fdl(), case.fdl()])
    for schedule, make in (
        (case.fdl(), case.torch),
        (chained, lambda o: chain(o, NAMED["cosine_annealing_lr"], case)),
    ):
        expected = torch_values(make, STEPS)
        table = fdl.optim.tabulate(schedule, STEPS)
        assert_near(jitted(table, STEPS), expected)
        counts = jnp.arange(STEPS + 5)
        narrow = np.asarray(table(counts))
        assert narrow.dtype == np.float32
        np.testing.assert_array_equal(narrow[:STEPS], expected.astype(np.float32))
        assert (narrow[STEPS:] == narrow[STEPS - 1]).all()


def test_a_schedule_drives_an_optimizer():
    warmup = Case("linear_lr", {"start_factor": 0.1, "total_iters": 10})
    decay = Case("cosine_annealing_lr", {"T_max": 50})
    schedule = fdl.optim.sequential_lr([warmup.fdl(), decay.fdl()], [10])
    rates = torch_values(lambda o: sequence(o, warmup, decay, milestones=[10]), STEPS)
    with jax.enable_x64(True):
        optimizer = fdl.optim.sgd(schedule)

        def step(state, _):
            updates, state = optimizer.update(jnp.ones(()), state)
            return state, -updates

        _, used = jax.lax.scan(step, optimizer.init(jnp.ones(())), length=STEPS)
        assert_near(np.asarray(used), rates)
