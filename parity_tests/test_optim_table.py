"""fdl.optim against torch.optim in every configuration of torch's own table of optimizers."""

from collections.abc import Iterator

import pytest
import torch
from optimizer_names import FACTORIES
from torch.testing._internal.common_optimizers import optim_db
from trajectories import Option, check_meaning, check_precision, option

import fdl

IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}
"""Arguments that say how torch computes, not what."""


def configurations() -> Iterator[Option]:
    """Torch's configurations for the CPU, none of which says how it computes."""
    for info in optim_db:
        name = info.optim_cls.__name__
        for given in info.optim_inputs_func(device="cpu"):
            options = dict(given.kwargs)
            if torch.is_tensor(options.get("lr")):
                options["lr"] = options["lr"].double()  # a schedule of it rounds to its dtype
            yield option(name, FACTORIES[name], options)


CONFIGURATIONS = list(configurations())
each_configuration = pytest.mark.parametrize(
    "chosen", CONFIGURATIONS, ids=[chosen.text for chosen in CONFIGURATIONS]
)


@each_configuration
def test_every_step_equals_torch_in_float64(chosen, record_property):
    """Muon: torch's with its bfloat16 iteration made float64. L-BFGS: see `check_growth`."""
    record_property("optimizer", (chosen.text, "float64", check_meaning(chosen)))


@each_configuration
def test_every_step_is_as_precise_as_torchs_in_float32(chosen, record_property):
    record_property("optimizer", (chosen.text, "float32", check_precision(chosen)))


MUON = [chosen for chosen in CONFIGURATIONS if chosen.optimizer is torch.optim.Muon]


@pytest.mark.parametrize("chosen", MUON, ids=[chosen.text for chosen in MUON])
def test_muon_is_as_near_its_float64_iteration_as_torchs_own(chosen, record_property):
    """Torch iterates in bfloat16 whatever the parameters are, and so does fdl by default.

    Both round after every sum, but take the sums in another order, so that some fall on the other
    side of the middle of two bfloat16 numbers. Neither is the right one: both are judged by how far
    they are from the iteration in float64, as float32 is everywhere.
    """
    worst = check_precision(chosen, rounded=True, ns_dtype="bfloat16")
    record_property("optimizer", (chosen.text, "bfloat16", worst))


def test_the_whole_table_is_tested():
    """What torch adds for a GPU says how it computes; without that it is the same mathematics."""
    assert {info.optim_cls.__name__ for info in optim_db} == FACTORIES.keys()
    assert len({chosen.text for chosen in CONFIGURATIONS}) == len(CONFIGURATIONS)
    assert all(hasattr(fdl.optim, factory) for factory in FACTORIES.values())
    for info in optim_db:
        here, there = (
            [i.kwargs for i in info.optim_inputs_func(device=d)] for d in ("cpu", "cuda")
        )
        assert not any(IMPLEMENTATION & options.keys() for options in here)
        assert all(IMPLEMENTATION & options.keys() for options in there[len(here) :])
