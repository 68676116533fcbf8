"""Layers, functions and optimizers take torch's arguments: names, order and defaults."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from optimizer_names import FACTORIES
from samples.catalogue import functions, layers

import fdl
import fdl.functional

LEFT_OUT = {
    *("inplace", "size_average", "reduce", "min_value", "max_value", "_stacklevel"),
    *("device", "out", "process_group", "sparse"),
    *("params", "foreach", "fused", "capturable", "differentiable"),
}
"""What torch deprecates, what is about memory or place, and what optimizers do with tensors."""
VARIABLE = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
OURS = {"dtype", "rngs"}
"""What fdl's constructors take beside torch's arguments."""


def arguments(function: Callable[..., Any]) -> dict[str, Any]:
    """Names and defaults in order, without what fdl leaves out or adds by keyword only."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if name not in LEFT_OUT | OURS | {"self"} and parameter.kind not in VARIABLE
    }


def equal(got: Any, expected: Any) -> bool:
    """Whether two defaults say the same; functions by their names."""
    named = getattr(expected, "__name__", None)
    return got == expected or (named is not None and getattr(got, "__name__", None) == named)


def check(got: Callable[..., Any], expected: Callable[..., Any]) -> None:
    ours, torchs = arguments(got), arguments(expected)
    added = [name for name in ours if name not in torchs]
    parameters = inspect.signature(got).parameters
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in added), added
    assert [name for name in ours if name in torchs] == list(torchs)
    differ = {n: (ours[n], torchs[n]) for n in torchs if not equal(ours[n], torchs[n])}
    assert not differ


def torch_function(name: str) -> Callable[..., Any] | None:
    """A function of torch with a signature; one that may return indices has it elsewhere."""
    function = getattr(torch.nn.functional, f"{name}_with_indices", None)
    return function or getattr(torch.nn.functional, name, None)


@pytest.mark.parametrize(
    "name", [n for n in layers() if hasattr(torch.nn, n) and n not in ("RNN", "GRU", "LSTM")]
)
def test_layer(name):
    check(getattr(fdl.nn, name).__init__, getattr(torch.nn, name).__init__)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_recurrent_layer(name):
    """Torch's own take anything and hand it on."""
    expected = list(arguments(torch.nn.RNNBase.__init__))[1:]
    if name == "RNN":
        expected.insert(expected.index("num_layers") + 1, "nonlinearity")
    if name != "LSTM":
        expected.remove("proj_size")
    assert list(arguments(getattr(fdl.nn, name).__init__)) == expected


@pytest.mark.parametrize("name", [n for n in functions() if inspect.isfunction(torch_function(n))])
def test_function(name):
    check(getattr(fdl.functional, name), torch_function(name))


@pytest.mark.parametrize("name", FACTORIES)
def test_optimizer(name):
    check(getattr(fdl.optim, FACTORIES[name]), getattr(torch.optim, name))


def test_every_optimizer_of_torch_is_here():
    kinds = {name: kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    assert FACTORIES.keys() == {
        name for name, kind in kinds.items() if issubclass(kind, torch.optim.Optimizer)
    } - {"Optimizer"}


def test_a_layer_with_other_arguments_is_found():
    class Linear(fdl.nn.Linear):
        def __init__(self, out_features, in_features, bias=True):
            super().__init__(in_features, out_features, bias)

    with pytest.raises(AssertionError):
        check(Linear.__init__, torch.nn.Linear.__init__)
