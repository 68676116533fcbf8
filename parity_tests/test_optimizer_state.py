"""Optimizer states between torch and fdl: groups, skipped parameters, metrics, files, dtypes."""

import copy
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch
from continued_network import Network, check, fdl_steps, load, params_of, refuses, torch_steps
from nearness import assert_equal
from torch.optim import lr_scheduler

import fdl
from fdl import interop
from fdl.parity import TOLERANCE

pytestmark = pytest.mark.usefixtures("x64")


# --- compositions


def grouped(module):
    """A torch optimizer of two groups, a frozen parameter in the second, with its scheduler."""
    module.head.bias.requires_grad_(False)
    named = dict(module.named_parameters())
    names = {True: [n for n in named if "bias" in n], False: [n for n in named if "bias" not in n]}
    groups = [
        {"params": [(n, named[n]) for n in names[False]], "lr": 0.05},
        {"params": [(n, named[n]) for n in names[True]], "lr": 0.01, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    return optimizer, lr_scheduler.ExponentialLR(optimizer, 0.9)


def test_parameter_groups_go_on_after_clipping():
    ours = fdl.optim.param_groups(
        fdl.optim.adamw,
        {
            "*.bias": {"lr": fdl.optim.exponential_lr(0.01, 0.9), "weight_decay": 0.0},
            "head.bias": {"frozen": True},
        },
        lr=fdl.optim.exponential_lr(0.05, 0.9),
        weight_decay=0.1,
    )
    ours = optax.chain(optax.clip(1e6), ours)
    whole, part = Network(), Network()
    optimizer, scheduler = grouped(whole)
    torch_steps(whole, [optimizer], [scheduler], range(12))
    optimizer, scheduler = grouped(part)
    torch_steps(part, [optimizer], [scheduler], range(4))
    state = interop.optimizer_from_torch(optimizer, like=ours, params=params_of(part))
    params, state = fdl_steps(params_of(part), state, ours, range(4, 8))
    last = Network()
    optimizer, scheduler = grouped(last)
    load(last, params)
    optimizer.load_state_dict(
        interop.optimizer_to_torch(state, like=optimizer, scheduler=scheduler)
    )
    scheduler.load_state_dict(interop.scheduler_to_torch(8, like=scheduler))
    torch_steps(last, [optimizer], [scheduler], range(8, 12))
    check(last, whole)


def two(module):
    named = dict(module.named_parameters())
    matrices = [(n, p) for n, p in named.items() if p.ndim == 2]
    vectors = [(n, p) for n, p in named.items() if p.ndim == 1]
    muon, adamw = torch.optim.Muon(matrices, lr=0.02), torch.optim.AdamW(vectors, lr=0.01)
    return [muon, adamw], [lr_scheduler.StepLR(muon, 3), lr_scheduler.LinearLR(adamw)]


def test_muon_and_adamw_are_a_list_in_torch():
    ours = fdl.optim.param_groups(
        fdl.optim.muon,
        {"*.bias": {"optimizer": fdl.optim.adamw, "lr": fdl.optim.linear_lr(0.01)}},
        lr=fdl.optim.step_lr(0.02, 3),
    )
    whole, part, last = Network(), Network(), Network()
    torch_steps(whole, *two(whole), range(12))
    theirs, schedulers = two(part)
    torch_steps(part, theirs, schedulers, range(4))
    state = interop.optimizer_from_torch(theirs, like=ours, params=params_of(part), steps=4)
    params, state = fdl_steps(params_of(part), state, ours, range(4, 8))
    load(last, params)
    theirs, schedulers = two(last)
    saved = interop.optimizer_to_torch(state, like=theirs, scheduler=schedulers)
    for one, its, scheduler in zip(theirs, saved, schedulers, strict=True):
        one.load_state_dict(its)
        scheduler.load_state_dict(interop.scheduler_to_torch(8, like=scheduler))
    torch_steps(last, theirs, schedulers, range(8, 12))
    check(last, whole)


@pytest.mark.parametrize("name", ["Adam", "SGD", "Rprop"])
def test_skipped_parameters_keep_their_own_steps(name):
    """`spare` has a gradient at steps 2, 5 and 8; then for the first time at 5."""
    options: dict[str, Any] = {"momentum": 0.9, "dampening": 0.5} if name == "SGD" else {}
    schedule = fdl.optim.exponential_lr(0.05, 0.9)
    ours = fdl.optim.skip_absent(getattr(fdl.optim, name.lower()), lr=schedule, **options)

    def theirs(module):
        optimizer = getattr(torch.optim, name)(module.named_parameters(), lr=0.05, **options)
        return optimizer, lr_scheduler.ExponentialLR(optimizer, 0.9)

    for first in (2, 5):

        def spare(step, first=first):
            return step >= first and step % 3 == 2

        whole, part, last = Network(), Network(), Network()
        optimizer, scheduler = theirs(whole)
        torch_steps(whole, [optimizer], [scheduler], range(12), spare)
        expected = optimizer.state_dict()
        optimizer, scheduler = theirs(part)
        torch_steps(part, [optimizer], [scheduler], range(4), spare)
        params = params_of(part)
        state = interop.optimizer_from_torch(optimizer, like=ours, params=params, steps=4)
        assert bool(state.seen["spare.bias"]) == (first < 4)
        params, state = fdl_steps(params, state, ours, range(4, 8), spare)
        load(last, params)
        optimizer, scheduler = theirs(last)
        optimizer.load_state_dict(
            interop.optimizer_to_torch(state, like=optimizer, scheduler=scheduler)
        )
        scheduler.load_state_dict(interop.scheduler_to_torch(8, like=scheduler))
        torch_steps(last, [optimizer], [scheduler], range(8, 12), spare)
        check(last, whole)
        assert optimizer.state_dict()["state"].keys() == expected["state"].keys()
        for index, entry in expected["state"].items():
            got = optimizer.state_dict()["state"][index]
            assert_equal(*({k: np.float64(v) for k, v in e.items()} for e in (got, entry)))


def test_skipping_needs_steps_where_torch_does_not_tell_them():
    schedule = fdl.optim.step_lr(0.05, 3)
    for name, spare, ours in [
        ("SGD", True, fdl.optim.skip_absent(fdl.optim.sgd, lr=schedule)),
        ("Adam", False, fdl.optim.skip_absent(fdl.optim.adam, lr=schedule)),
    ]:
        module = Network()
        theirs = getattr(torch.optim, name)(module.named_parameters(), lr=0.05)
        torch_steps(module, [theirs], [], range(3), lambda step, spare=spare: spare or step == 1)
        params = params_of(module)
        refuses(theirs, ours, params, "steps: expected the number of updates")
        state = interop.optimizer_from_torch(theirs, like=ours, params=params, steps=3)
        assert state.step == 3


def test_a_plateau_goes_on_with_its_metric():
    options: dict[str, Any] = {"factor": 0.5, "patience": 1, "threshold": 0.1, "cooldown": 1}
    plateau = fdl.optim.reduce_lr_on_plateau(0.05, **options)
    ours = optax.inject_hyperparams(fdl.optim.sgd)(lr=0.05)

    def theirs(module):
        optimizer = torch.optim.SGD(module.named_parameters(), lr=0.05)
        return optimizer, lr_scheduler.ReduceLROnPlateau(optimizer, **options)

    whole, part, last = Network(), Network(), Network()
    optimizer, scheduler = theirs(whole)
    torch_steps(whole, [optimizer], [scheduler], range(24))
    expected = scheduler.state_dict()
    optimizer, scheduler = theirs(part)
    torch_steps(part, [optimizer], [scheduler], range(8))
    schedule = [interop.plateau_from_torch(scheduler)]

    def after(state, loss):
        schedule.append(plateau.step(schedule[-1], loss))
        return state._replace(hyperparams={**state.hyperparams, "lr": schedule[-1].lr})

    params = params_of(part)
    state = interop.optimizer_from_torch(optimizer, like=ours, params=params, steps=8)
    assert state.hyperparams["lr"] == optimizer.param_groups[0]["lr"] < 0.05
    params, state = fdl_steps(params, state, ours, range(8, 16), after=after)
    load(last, params)
    optimizer, scheduler = theirs(last)
    optimizer.load_state_dict(interop.optimizer_to_torch(state, like=optimizer))
    scheduler.load_state_dict(interop.plateau_to_torch(schedule[-1], like=scheduler))
    assert optimizer.param_groups[0]["lr"] == schedule[-1].lr
    torch_steps(last, [optimizer], [scheduler], range(16, 24))
    check(last, whole)
    now = scheduler.state_dict()
    assert [now.pop("best")] == pytest.approx([expected.pop("best")], rel=TOLERANCE.float64)
    assert now == expected
    assert expected["_last_lr"][0] < schedule[-1].lr, "the rate should fall in the last part too"


def test_wrappers_are_looked_into():
    module = Network()
    theirs = torch.optim.Adam(module.named_parameters(), lr=0.05)
    torch_steps(module, [theirs], [], range(3))
    params = params_of(module)
    ours = fdl.optim.adam(fdl.optim.step_lr(0.05, 3))
    plain = interop.optimizer_from_torch(theirs, like=ours, params=params)
    wrapped = [
        (optax.MultiSteps(ours, 2), "inner_opt_state"),
        (fdl.optim.accumulate(ours, 2), "inner"),
        (fdl.optim.grad_scaler(ours), "inner"),
        (fdl.optim.mixed_precision(ours), "inner"),
        (optax.apply_if_finite(ours, 3), "inner_state"),
    ]
    for like, field in wrapped:
        state = interop.optimizer_from_torch(theirs, like=like, params=params)
        got = getattr(state, field)
        assert jax.tree.structure(got) == jax.tree.structure(plain)
        assert all(map(np.array_equal, jax.tree.leaves(got), jax.tree.leaves(plain)))
        back = interop.optimizer_to_torch(state, like=theirs)
        assert back["state"][0]["step"] == 3
        assert torch.equal(back["state"][5]["exp_avg"], theirs.state_dict()["state"][5]["exp_avg"])


# --- files, dtypes, counts


def test_a_saved_file_is_enough(tmp_path):
    module = Network()
    theirs = torch.optim.Adam(module.parameters(), lr=0.05)
    scheduler = lr_scheduler.CosineAnnealingLR(theirs, 10)
    torch_steps(module, [theirs], [scheduler], range(3))
    saved = {"optimizer": theirs.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save(saved, tmp_path / "run.pt")
    saved = torch.load(tmp_path / "run.pt", weights_only=True)
    names = [name for name, _ in module.named_parameters()]
    ours = fdl.optim.adam(fdl.optim.cosine_annealing_lr(0.05, 10))
    steps = interop.scheduler_from_torch(saved["scheduler"])
    state = interop.optimizer_from_torch(
        saved["optimizer"], like=ours, params=params_of(module), names=names, steps=steps
    )
    fresh = torch.optim.Adam(module.parameters(), lr=0.05)
    anew = lr_scheduler.CosineAnnealingLR(fresh, 10)
    back = {
        "optimizer": interop.optimizer_to_torch(state, like=fresh, names=names, scheduler=anew),
        "scheduler": interop.scheduler_to_torch(steps, like=anew),
    }
    torch.save(back, tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert back["scheduler"] == saved["scheduler"]
    assert back["optimizer"]["param_groups"] == saved["optimizer"]["param_groups"]
    for index, entry in saved["optimizer"]["state"].items():
        for key, value in entry.items():
            got = back["optimizer"]["state"][index][key]
            assert got.dtype == value.dtype
            assert torch.equal(got, value)


def test_both_sides_stay_as_they_are():
    module = Network()
    theirs = torch.optim.SGD(module.named_parameters(), lr=0.05, momentum=0.9)
    members = [lr_scheduler.OneCycleLR(theirs, 0.1, total_steps=50), lr_scheduler.StepLR(theirs, 3)]
    scheduler = lr_scheduler.ChainedScheduler(members)
    torch_steps(module, [theirs], [scheduler], range(3))
    before = copy.deepcopy((theirs.state_dict(), scheduler.state_dict()))
    ours = fdl.optim.sgd(0.05, momentum=0.9)
    state = interop.optimizer_from_torch(theirs, like=ours, params=params_of(module), steps=3)
    saved = interop.optimizer_to_torch(state, like=theirs, scheduler=scheduler, steps=20)
    assert saved["param_groups"][0]["lr"] != theirs.param_groups[0]["lr"]
    assert saved["param_groups"][0]["momentum"] != theirs.param_groups[0]["momentum"]
    interop.scheduler_to_torch(20, like=scheduler)
    buffers = saved["state"][0]["momentum_buffer"]
    buffers += 1
    now = (theirs.state_dict(), scheduler.state_dict())
    assert str(now) == str(before)


def test_a_new_optimizer_gives_the_fresh_state():
    module = Network()
    params = params_of(module)
    for name in ("Adam", "ASGD", "Adagrad", "Adafactor", "Rprop", "LBFGS", "NAdam"):
        ours = getattr(fdl.optim, name.lower())(fdl.optim.step_lr(0.05, 3))
        theirs = getattr(torch.optim, name)(module.named_parameters(), lr=0.05)
        state = interop.optimizer_from_torch(theirs, like=ours, params=params, steps=0)
        fresh = ours.init(params)
        assert jax.tree.structure(state) == jax.tree.structure(fresh)
        assert all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(fresh)))
        back = interop.optimizer_to_torch(state, like=theirs)
        assert back["state"].keys() == theirs.state_dict()["state"].keys()
        theirs.load_state_dict(back)


def test_a_scheduler_may_step_less_or_more_often_than_the_optimizer():
    module = Network()
    theirs = torch.optim.Adam(module.named_parameters(), lr=0.05)
    scheduler = lr_scheduler.StepLR(theirs, 2)
    torch_steps(module, [theirs], [], range(3))
    ours = fdl.optim.adam(fdl.optim.step_lr(0.05, 2))
    state = interop.optimizer_from_torch(theirs, like=ours, params=params_of(module), steps=5)
    assert (state[2].step, state[4].count) == (3, 5)
    groups = interop.optimizer_to_torch(state, like=theirs, scheduler=scheduler)["param_groups"]
    assert groups[0]["lr"] == pytest.approx(0.05 * 0.01)
    groups = interop.optimizer_to_torch(state, like=theirs, scheduler=scheduler, steps=2)
    assert groups["param_groups"][0]["lr"] == pytest.approx(0.05 * 0.1)


def test_float32_and_bfloat16_keep_their_width():
    for dtype in (torch.float32, torch.bfloat16):
        module = torch.nn.Linear(4, 2).to(dtype)
        theirs = torch.optim.NAdam(module.named_parameters())
        module(torch.ones(1, 4, dtype=dtype)).sum().backward()
        theirs.step()
        with jax.enable_x64(False):
            params = params_of(module)
            ours = fdl.optim.nadam()
            state = interop.optimizer_from_torch(theirs, like=ours, params=params)
            assert {str(leaf.dtype) for leaf in jax.tree.leaves(state[2].exp_avg)} == {
                str(dtype).partition(".")[2]
            }
            back = interop.optimizer_to_torch(state, like=theirs)
        for index, entry in theirs.state_dict()["state"].items():
            assert {k: (v.dtype, v.tolist()) for k, v in entry.items()} == {
                k: (v.dtype, v.tolist()) for k, v in back["state"][index].items()
            }
