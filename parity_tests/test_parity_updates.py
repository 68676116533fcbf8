"""The hypotheses about updates: their rules equal torch's, and every one of them runs."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from faults.schedules import cycled, groups, ours_cycled
from faults.updates import torch_update
from nearness import assert_equal
from torch.testing._internal.common_optimizers import optim_db

import fdl
from fdl.parity._torch_side import attributes, told
from fdl.parity.causes._updates import _of_rules
from fdl.parity.causes._updates.changes import OWN, changes
from fdl.parity.causes._updates.history import History
from fdl.parity.causes._updates.kinds import KINDS
from fdl.parity.causes._updates.rule import trajectory
from fdl.parity.causes._updates.schedules import fitted, schedules

pytestmark = pytest.mark.usefixtures("wide_default")

STEPS = 12
NOT_IN_NUMPY = {"foreach", "fused", "capturable", "differentiable"}
GENERATOR = np.random.default_rng(0)
START = GENERATOR.normal(size=(5, 4))
GRADIENTS = GENERATOR.normal(size=(STEPS, 5, 4))
GRADIENTS[::2, 1] = 0.0  # a row that is not in the batch

schedulers = torch.optim.lr_scheduler
SCHEDULERS = {
    "constant": None,
    "exponential": lambda optimizer: schedulers.ExponentialLR(optimizer, 0.8),
    "cosine": lambda optimizer: schedulers.CosineAnnealingLR(optimizer, 5, 1e-3),
    "restarts": lambda optimizer: schedulers.CosineAnnealingWarmRestarts(optimizer, 2, 2),
    "one cycle": lambda optimizer: schedulers.OneCycleLR(optimizer, 0.1, STEPS),
    "cycles": lambda optimizer: schedulers.CyclicLR(optimizer, 0.1, 0.2, 2, mode="triangular2"),
}


def configurations() -> dict[str, tuple[type, dict]]:
    """Torch's own table of optimizers and their options, each once."""
    found = {}
    for info in optim_db:
        name = info.optim_cls.__name__
        for given in info.optim_inputs_func(device="cpu") if name in KINDS else []:
            options = {
                key: float(value) if torch.is_tensor(value) else value
                for key, value in given.kwargs.items()
                if key not in NOT_IN_NUMPY
            }
            found[f"{name}({options})".replace(" ", "")] = info.optim_cls, options
    return found


CONFIGURATIONS = configurations()


def history(kind: type, options: dict, schedule=None) -> tuple[History, dict]:
    """What torch itself does with one parameter, and what is known of its scheduler."""
    parameter = torch.nn.Parameter(torch.tensor(START))
    optimizer = kind([parameter], **options)
    scheduler = schedule(optimizer) if schedule else None
    groups, got = [], []
    for gradient in torch.tensor(GRADIENTS):
        parameter.grad = gradient.to_sparse(1) if kind is torch.optim.SparseAdam else gradient
        groups.append(told(optimizer)[0])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        got.append(parameter.detach().numpy().copy())
    groups = json.loads(json.dumps([*groups, told(optimizer)[0]]))  # as a recording keeps them
    rates, ones = [group["lr"] for group in groups], [1.0] * STEPS
    way = History(
        *(START, list(GRADIENTS), got, groups[:-1], rates, rates[:-1], ones, np.inf, ones),
        *(1, False, False, False),
    )
    return way, {} if scheduler is None else attributes(scheduler)


def test_every_kind_has_hypotheses():
    assert OWN.keys() == KINDS.keys()
    assert {type_.__name__ for type_, _ in CONFIGURATIONS.values()} == KINDS.keys()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_rules_equal_torch(name):
    kind, options = CONFIGURATIONS[name]
    way, _ = history(kind, options)
    rule = KINDS[kind.__name__]
    path = trajectory(rule, way.start, way.updates(), way.rates, way.given)
    names = list(map(str, range(STEPS)))
    assert_equal(dict(zip(names, path, strict=True)), dict(zip(names, way.got, strict=True)))


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_rules_equal_torch_under_a_scheduler(kind, name):
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    way, _ = history(kind, {"lr": 0.1, **options}, SCHEDULERS[name])
    assert way.error(KINDS[kind.__name__], 1e-10) <= 1e-10


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_change_runs(name):
    kind, options = CONFIGURATIONS[name]
    way, _ = history(kind, options)
    found = list(_of_rules(kind.__name__, way))
    assert len(found) > 5
    for tweak in found:
        told = tweak.rule.options(way.given[0])
        plain = KINDS[kind.__name__].options(way.given[0])
        assert told != plain or tweak.rule.step is not KINDS[kind.__name__].step, tweak.words
        assert way.error(tweak.rule) >= 0, tweak.words


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_schedule_runs(name):
    way, scheduler = history(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, SCHEDULERS[name])
    found = list(schedules(scheduler, 0, way))
    assert bool(found) == (name != "constant")
    for rates in found:
        assert len(rates.rates) == STEPS
        assert np.isfinite(rates.rates).all(), rates


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "RMSprop", "NAdam", "Adagrad", "Muon"])
def test_rates_are_found_from_the_steps(kind):
    way, _ = history(getattr(torch.optim, kind), {"lr": 0.1}, SCHEDULERS["exponential"])
    constant = way._replace(rates=[0.1] * STEPS)
    found = fitted(KINDS[kind], constant)
    assert_equal({"rates": np.array(found.rates)}, {"rates": np.array(way.rates)})
    assert (found.name, found.words.partition(" on ")[0]) == ("learning rate", "from step 2")


def test_steps_of_another_rule_leave_something():
    way, _ = history(torch.optim.RMSprop, {"lr": 0.1})
    found = fitted(KINDS["SGD"], way)
    assert way._replace(rates=found.rates).error(KINDS["SGD"]) > 1e-3


def test_the_page_lists_every_name():
    page = (Path(__file__).parents[1] / "docs" / "parity.md").read_text()
    names = {"accumulation", "parameter group", "frozen parameter", "clip epsilon"}
    for kind, options in CONFIGURATIONS.values():
        way, _ = history(kind, options)
        given = [KINDS[kind.__name__].options(told) for told in way.given]
        names |= {change.name for change in changes(kind.__name__, given)}
    for schedule in SCHEDULERS.values():
        way, scheduler = history(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}, schedule)
        names |= {rates.name for rates in schedules(scheduler, 0, way)}
        names |= {change.name for change in changes("SGD", way.given)}
    rows = [line for line in page.splitlines() if line.startswith("| update")]
    assert [name for name in sorted(names) if not any(name in row for row in rows)] == []


# --- as a whole

BATCHES = [(GRADIENTS[step, :, :3], np.array([0, 1, 2, 0, 1])) for step in range(2)]


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 3))


def test_lbfgs_is_refused():
    optimizer = (torch.optim.LBFGS, fdl.optim.lbfgs())
    report = fdl.parity.compare(
        small(), fdl.models.mlp([3, 3]), BATCHES, loss="cross_entropy", optimizer=optimizer
    )
    assert report.failure.startswith("optimizer: expected an optimizer whose step takes")


def test_a_recording_knows_groups_and_schedules(tmp_path):
    optimizer = torch_update(
        groups(torch.optim.SGD, {"weight_decay": 0.1}, lr=0.1, momentum=0.9), schedule=cycled
    )
    how = {"loss": "cross_entropy", "steps": 4}
    path = fdl.parity.record(small(), tmp_path / "net.fdl", BATCHES, optimizer=optimizer, **how)

    def causes(**options):
        report = fdl.parity.compare(
            path,
            fdl.models.mlp([3, 3]),
            loss="cross_entropy",
            optimizer=fdl.optim.sgd(ours_cycled, **options),
            precisions=["float64"],
        )
        return report.first_divergence.name, report.first_divergence.causes[0].name

    assert causes(momentum=ours_cycled.momentum) == ("0.bias", "parameter group")
    two = "missing momentum cycle and weight decay"
    assert causes(momentum=0.9, weight_decay=0.1) == ("0.weight", two)


@pytest.mark.parametrize(
    ("wrong", "cause"), [(jnp.nan, "not a number"), (jnp.inf, "infinite")], ids=str
)
def test_no_option_explains_what_is_not_finite(wrong, cause):
    lost = optax.stateless(lambda updates, _: jax.tree.map(lambda u: u.at[0].set(wrong), updates))
    report = fdl.parity.compare(
        small(),
        fdl.models.mlp([3, 3]),
        BATCHES,
        loss="cross_entropy",
        optimizer=(torch.optim.SGD, optax.chain(fdl.optim.sgd(), lost)),
        precisions=["float64"],
    )
    first = report.first_divergence
    assert (first.phase, first.step) == ("update", 1)
    assert [found.name for found in first.causes] == [cause]
