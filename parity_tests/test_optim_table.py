"""fdl.optim against torch.optim in every configuration of torch's own table of optimizers."""

from collections.abc import Iterator

import pytest
import torch
from torch.testing._internal.common_optimizers import optim_db
from trajectories import Option, check_meaning, check_precision, option

import fdl

FACTORIES = {
    "ASGD": "asgd",
    "Adadelta": "adadelta",
    "Adafactor": "adafactor",
    "Adagrad": "adagrad",
    "Adam": "adam",
    "AdamW": "adamw",
    "Adamax": "adamax",
    "NAdam": "nadam",
    "RAdam": "radam",
    "RMSprop": "rmsprop",
    "Rprop": "rprop",
    "SGD": "sgd",
    "SparseAdam": "sparse_adam",
}
EXCLUDED = {
    "LBFGS": "a step of it runs the loss many times: tested in test_lbfgs.py",
    "Muon": "it rounds to bfloat16 whatever the dtype: tested in test_optim_special.py",
}
"""Optimizers of the table that are not tested here, and why."""
NOT_IN_JAX = {"foreach", "fused", "capturable", "differentiable"}


def configurations() -> Iterator[Option]:
    """Torch's configurations, each once, whatever its implementation or device."""
    seen = set()
    for info in optim_db:
        name = info.optim_cls.__name__
        for given in info.optim_inputs_func(device="cpu"):
            options = {k: v for k, v in given.kwargs.items() if k not in NOT_IN_JAX}
            if name in EXCLUDED or (name, str(options)) in seen:
                continue
            seen.add((name, str(options)))
            if torch.is_tensor(options.get("lr")):
                options["lr"] = options["lr"].double()  # a schedule of it rounds to its dtype
            yield option(name, FACTORIES[name], options)


CONFIGURATIONS = list(configurations())
each_configuration = pytest.mark.parametrize(
    "chosen", CONFIGURATIONS, ids=[chosen.text for chosen in CONFIGURATIONS]
)
pytestmark = pytest.mark.usefixtures("quick_compilation")


@each_configuration
def test_every_step_equals_torch_in_float64(chosen, record_property):
    record_property("optimizer", (chosen.text, "float64", check_meaning(chosen)))


@each_configuration
def test_every_step_is_as_precise_as_torchs_in_float32(chosen, record_property):
    record_property("optimizer", (chosen.text, "float32", check_precision(chosen)))


def test_every_optimizer_of_the_table_is_tested_or_excluded():
    names = {info.optim_cls.__name__ for info in optim_db}
    assert names == FACTORIES.keys() | EXCLUDED.keys()
    assert not FACTORIES.keys() & EXCLUDED.keys()
    assert FACTORIES.keys() == {chosen.optimizer.__name__ for chosen in CONFIGURATIONS}
    assert all(hasattr(fdl.optim, factory) for factory in FACTORIES.values())
