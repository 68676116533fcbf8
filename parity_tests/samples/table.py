"""The sample inputs that PyTorch tests its own modules with."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.testing._internal.common_modules import ModuleInfo, ModuleInput, module_db

from samples.attention import LAYERS
from samples.sample import MODULES, Sample

MODULES.update(LAYERS)

INFOS: dict[str, ModuleInfo] = {info.name.removeprefix("nn."): info for info in module_db}

EXCLUDED = {
    name: "fdl's shapes are explicit: a layer's parameters exist once it is made"
    for name in INFOS
    if name.startswith("Lazy")
}
"""Modules of the table that fdl does not have, and why."""


def table_samples(name: str, *, train: bool) -> Iterator[Sample]:
    """Torch's samples of one module, in float64 and with gradients."""
    torch.manual_seed(0)
    for index, given in enumerate(_inputs(name, INFOS[name].module_inputs_func, train)):
        yield _sample(name, given, f"{index} {given.desc}".strip())


def error_samples(name: str) -> Iterator[tuple[Sample, Any]]:
    """Samples that torch refuses, and torch's own description of the error."""
    function = INFOS[name].module_error_inputs_func
    for error in _inputs(name, function, True) if function else []:
        yield _sample(name, error.module_error_input, error.error_regex), error


def _inputs(name: str, function: Any, train: bool) -> Any:
    how = {"device": "cpu", "dtype": torch.float64, "requires_grad": True, "training": train}
    return function(INFOS[name], **how)


def _sample(name: str, given: ModuleInput, label: str) -> Sample:
    made, called = given.constructor_input, given.forward_input
    inputs, named = (called.args, called.kwargs) if called else ((), {})
    options = {k: v for k, v in made.kwargs.items() if k != "device"}
    return Sample(name, made.args, options, inputs, named, label)
