"""Optimizer states that do not fit: what is refused, and in which words."""

import re

import jax
import jax.numpy as jnp
import pytest
import torch
from continued_network import Network, params_of, refuses, torch_steps
from torch.optim import lr_scheduler

import fdl
from fdl import interop

pytestmark = pytest.mark.usefixtures("x64")


def trained(name="Adam", **options):
    module = Network()
    theirs = getattr(torch.optim, name)(module.named_parameters(), lr=0.05, **options)
    torch_steps(module, [theirs], [], range(2))
    return module, theirs


def test_from_torch_says_what_does_not_fit():
    module, theirs = trained()
    params, saved = params_of(module), theirs.state_dict()
    adam = fdl.optim.adam()
    unnamed = torch.optim.Adam(module.parameters())
    refuses(unnamed, adam, params, "names", "named_parameters")
    refuses(unnamed, adam, params, "names: expected 6", names=["a"])
    refuses(theirs, adam, {"x": jnp.ones(1)}, "'stem.weight'.*'head.bias'")
    refuses(theirs, fdl.optim.adam(amsgrad=True), params, "amsgrad: .*True, got False")
    refuses(theirs, fdl.optim.radam(), params, "RAdam", "got Adam", error=TypeError)
    with jax.enable_x64(False):
        refuses(
            theirs,
            adam,
            {k: p.astype("float32") for k, p in params.items()},
            "x64",
            error=TypeError,
        )
    saved["state"][0]["exp_avg"] = torch.ones(3)
    saved["state"][1]["other"] = torch.ones(2)
    del saved["state"][2]["exp_avg_sq"]
    refuses(
        saved,
        adam,
        params,
        "3 problems",
        r"'stem.weight exp_avg': expected shape \(5, 4\), got \(3,\)",
        r"unexpected 'stem.bias other'",
        r"missing 'spare.weight exp_avg_sq'",
    )


def test_from_torch_needs_counts_that_torch_does_not_keep():
    schedule = fdl.optim.step_lr(0.05, 3)
    for name, ours, options in [
        ("SGD", fdl.optim.sgd(schedule), {}),
        ("SGD", fdl.optim.sgd(0.05, momentum=0.9), {"momentum": 0.9}),
    ]:
        module, theirs = trained(name, **options)
        refuses(theirs, ours, params_of(module), "steps: .*last_epoch")
    module, theirs = trained("SGD", momentum=0.9)
    refuses(
        theirs, fdl.optim.sgd(0.05), params_of(module), "unexpected 'stem.bias momentum_buffer'"
    )


def test_from_torch_says_which_parameters_were_skipped():
    module = Network()
    theirs = torch.optim.Adam(module.named_parameters())
    torch_steps(module, [theirs], [], range(2), spare=lambda step: False)
    ours, params = fdl.optim.adam(), params_of(module)
    refuses(theirs, ours, params, "'spare.weight' has had no gradient", "skip_absent")
    torch_steps(module, [theirs], [], range(1))
    refuses(theirs, ours, params, "step: .*, got 1.0 for 'spare.bias', 3.0 for", "skip_absent")


def test_lbfgs_needs_as_many_pairs_on_both_sides():
    module = Network()
    params = params_of(module)
    theirs = torch.optim.LBFGS(module.named_parameters(), history_size=3)
    ours = fdl.optim.lbfgs(history_size=4)
    refuses(theirs, ours, params, "history_size: .* 4, got 3", steps=0)
    with pytest.raises(ValueError, match="history_size"):
        interop.optimizer_to_torch(ours.init(params), like=theirs)


def test_a_scheduler_is_told_from_an_optimizer():
    with pytest.raises(ValueError, match="expected a scheduler's state"):
        interop.scheduler_from_torch(trained()[1].state_dict())


def test_a_plateau_of_two_rates_is_refused():
    theirs = torch.optim.SGD([{"params": [torch.ones(1)], "lr": lr} for lr in (0.1, 0.2)])
    with pytest.raises(ValueError, match="one learning rate for all groups"):
        interop.plateau_from_torch(lr_scheduler.ReduceLROnPlateau(theirs))


def test_to_torch_says_what_does_not_fit():
    module, theirs = trained()
    params = params_of(module)
    state = fdl.optim.adam().init(params)

    def refused(*texts, state=state, error=ValueError, **options):
        with pytest.raises(error) as raised:
            interop.optimizer_to_torch(state, **options)
        for text in texts:
            assert re.search(text, str(raised.value)), str(raised.value)

    other = torch.optim.Adam([("stem.weight", torch.ones(2)), ("new", torch.ones(1))])
    other.param_groups[0]["params"][1].requires_grad_(True)
    refused("unexpected 'head.bias'", "missing 'new'", r"got \(5, 4\)", like=other)
    refused("got SGD", like=torch.optim.SGD(module.named_parameters()), error=TypeError)
    refused("amsgrad", like=torch.optim.Adam(module.named_parameters(), amsgrad=True))
    scheduler = lr_scheduler.StepLR(theirs, 3)
    theirs.step()
    scheduler.step()
    refused("at most 0 steps, got one after 1", like=theirs, scheduler=scheduler)
    plateau = lr_scheduler.ReduceLROnPlateau(theirs)
    refused("plateau_to_torch", like=theirs, scheduler=plateau, error=TypeError)
    stranger = lr_scheduler.StepLR(torch.optim.Adam(module.parameters()), 3)
    refused("of another", like=theirs, scheduler=stranger)
