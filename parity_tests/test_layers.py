"""Every layer of fdl.nn against its torch namesake, made with the same arguments."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import pytest
import torch
from equality import compare_layer
from flax import nnx

import fdl

DRAWS = ("Linear", "Conv2d", "Dropout", "LSTM")
IMAGE = (2, 4, 6, 7)


class Case(NamedTuple):
    reference: Callable[[], torch.nn.Module]
    build: Callable[[nnx.Rngs], nnx.Module]
    shapes: Sequence[Sequence[int]]


def layer(name: str, *args: Any, rngs: nnx.Rngs, **kwargs: Any) -> nnx.Module:
    drawn = {"rngs": rngs} if name in DRAWS else {}
    return getattr(fdl.nn, name)(*args, **kwargs, **drawn)


def same(shape: Sequence[int], name: str, *args: Any, **kwargs: Any) -> Any:
    """One layer, made with the same arguments in both."""
    written = [*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())]
    label = f"{name}({', '.join(written)})-{'x'.join(map(str, shape))}".replace(" ", "")
    reference = partial(getattr(torch.nn, name), *args, **kwargs)
    build = lambda rngs: layer(name, *args, rngs=rngs, **kwargs)  # noqa: E731
    return pytest.param(Case(reference, build, [shape]), id=label)


def nested_torch() -> torch.nn.Module:
    features = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Dropout(0.5))
    return torch.nn.Sequential(features, torch.nn.ReLU(), torch.nn.Linear(5, 2))


def nested_fdl(rngs: nnx.Rngs) -> nnx.Module:
    linear, dropout = partial(fdl.nn.Linear, rngs=rngs), fdl.nn.Dropout(0.5, rngs=rngs)
    features = fdl.nn.Sequential(linear(3, 5), fdl.nn.Tanh(), dropout)
    return fdl.nn.Sequential(features, fdl.nn.ReLU(), linear(5, 2))


class TorchIndices(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.pool = torch.nn.MaxPool2d(**options, return_indices=True)

    def forward(self, input):
        output, indices = self.pool(input)
        return output, indices.to(input.dtype)


class FdlIndices(fdl.nn.Module):
    def __init__(self, **options):
        self.pool = fdl.nn.MaxPool2d(**options, return_indices=True)

    def __call__(self, input):
        output, indices = self.pool(input)
        return output, indices.astype(input.dtype)


class TorchStates(torch.nn.Module):
    def __init__(self, *sizes, **options):
        super().__init__()
        self.lstm = torch.nn.LSTM(*sizes, **options)

    def forward(self, input, h_0, c_0):
        return self.lstm(input, (h_0, c_0))


class FdlStates(fdl.nn.Module):
    def __init__(self, *sizes, rngs, **options):
        self.lstm = fdl.nn.LSTM(*sizes, **options, rngs=rngs)

    def __call__(self, input, h_0, c_0):
        return self.lstm(input, (h_0, c_0))


def with_indices(name: str, **options: Any) -> Any:
    """A pooling layer that also returns where its maxima are, as floats for the loss."""
    case = Case(partial(TorchIndices, **options), lambda rngs: FdlIndices(**options), [IMAGE])
    return pytest.param(case, id=f"MaxPool2d-indices-{name}")


def with_states(name: str, shapes: Sequence[Sequence[int]], **options: Any) -> Any:
    """An LSTM(3, 4) that is given its initial states."""
    build = lambda rngs: FdlStates(3, 4, **options, rngs=rngs)  # noqa: E731
    return pytest.param(
        Case(partial(TorchStates, 3, 4, **options), build, shapes), id=f"LSTM-states-{name}"
    )


CASES = [
    same((4, 3), "Linear", 3, 2),
    same((4, 3), "Linear", 3, 2, bias=False),
    same((2, 5, 4, 3), "Linear", 3, 2),
    same((3,), "Linear", 3, 1),
    same(IMAGE, "Conv2d", 4, 3, 3),
    same(IMAGE, "Conv2d", 4, 3, (3, 2), stride=(2, 3), padding=(2, 1)),
    same(IMAGE, "Conv2d", 4, 3, 3, padding="same", dilation=2),
    same(IMAGE, "Conv2d", 4, 3, (4, 2), padding="same", bias=False),
    same(IMAGE, "Conv2d", 4, 3, 2, stride=2, padding="valid", dilation=(2, 1)),
    same(IMAGE, "Conv2d", 4, 6, 3, groups=2, stride=2, padding=1),
    same(IMAGE, "Conv2d", 4, 8, 3, groups=4, padding=1),
    same(IMAGE, "Conv2d", 4, 3, 3, padding=2, padding_mode="reflect"),
    same(IMAGE, "Conv2d", 4, 3, 3, stride=2, padding=(1, 2), padding_mode="replicate"),
    same(IMAGE, "Conv2d", 4, 3, (2, 4), padding="same", padding_mode="circular"),
    same((4, 6, 7), "Conv2d", 4, 3, 3, padding=1, padding_mode="reflect"),
    same((4, 6, 7), "Conv2d", 4, 3, 3, padding=1),
    same(IMAGE, "MaxPool2d", 2),
    same(IMAGE, "MaxPool2d", (3, 2), stride=(1, 2), padding=(1, 0)),
    same(IMAGE, "MaxPool2d", 3, stride=2, padding=1, ceil_mode=True),
    same((2, 3, 9, 8), "MaxPool2d", 2, stride=1, dilation=(3, 2)),
    same((3, 5, 5), "MaxPool2d", 2, ceil_mode=True),
    with_indices("overlapping", kernel_size=3, stride=1, padding=1),
    with_indices("dilated", kernel_size=2, dilation=2, ceil_mode=True),
    same(IMAGE, "ReLU"),
    same(IMAGE, "Sigmoid"),
    same(IMAGE, "Tanh"),
    same(IMAGE, "Flatten"),
    same(IMAGE, "Flatten", 0),
    same(IMAGE, "Flatten", start_dim=1, end_dim=2),
    same(IMAGE, "Flatten", -3, -2),
    same(IMAGE, "Dropout", 0.0),
    same(IMAGE, "Dropout", 0.3),
    same(IMAGE, "Dropout", 1.0),
    same(IMAGE, "BatchNorm2d", 4),
    same(IMAGE, "BatchNorm2d", 4, affine=False, momentum=0.3),
    same(IMAGE, "BatchNorm2d", 4, track_running_stats=False),
    same(IMAGE, "BatchNorm2d", 4, momentum=None),
    same(IMAGE, "BatchNorm2d", 4, eps=0.1, momentum=1.0),
    same(IMAGE, "BatchNorm2d", 4, momentum=0.0),
    pytest.param(Case(nested_torch, nested_fdl, [(4, 3)]), id="Sequential-nested"),
    same((5, 2, 3), "LSTM", 3, 4),
    same((2, 5, 3), "LSTM", 3, 4, 3, batch_first=True),
    same((5, 2, 3), "LSTM", 3, 4, bias=False, bidirectional=True),
    same((5, 2, 3), "LSTM", 3, 4, 2, proj_size=2),
    same((5, 2, 3), "LSTM", 3, 4, 2, dropout=0.4),
    same((5, 3), "LSTM", 3, 4, batch_first=True),
    with_states("stacked", [(5, 2, 3), (4, 2, 4), (4, 2, 4)], num_layers=2, bidirectional=True),
    with_states("batch_first", [(2, 5, 3), (1, 2, 4), (1, 2, 4)], batch_first=True),
    with_states("unbatched", [(5, 3), (1, 2), (1, 4)], proj_size=2),
]


@pytest.mark.parametrize(
    "precision", ["float64", pytest.param("float32", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("case", CASES)
def test_layer_equals_torch(case, precision):
    torch.manual_seed(0)
    report = compare_layer(case.reference(), case.build, *case.shapes, precision=precision)
    assert report.equal, str(report)


FAULTS = {
    "eps": (("BatchNorm2d", 4), {"eps": 1e-5}, {"eps": 1e-6}),
    "momentum": (("BatchNorm2d", 4), {"momentum": 0.1}, {"momentum": 0.9}),
    "dropout": (("Dropout",), {"p": 0.3}, {"p": 0.31}),
    "forgotten dropout": (("Dropout",), {"p": 0.3}, {"p": 0.0}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_other_arguments_are_found(fault):
    (name, *args), given, mistaken = FAULTS[fault]
    torch.manual_seed(0)
    reference = getattr(torch.nn, name)(*args, **given)
    build = lambda rngs: layer(name, *args, rngs=rngs, **mistaken)  # noqa: E731
    assert not compare_layer(reference, build, IMAGE).equal


def test_parameters_have_torchs_names_at_any_depth():
    params, buffers = fdl.as_model(nested_fdl).init(jax.random.key(0))
    assert set(params) == set(nested_torch().state_dict())
    assert buffers == {}


def test_sequential_is_indexed_as_torchs():
    net = nested_fdl(nnx.Rngs(0))
    assert isinstance(net, fdl.nn.Sequential)
    assert len(net) == len(nested_torch())
    assert net[-1] is net[2]
    with pytest.raises(IndexError):
        net[3]
