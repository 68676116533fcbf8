"""fdl.parity itself: what it measures, what it refuses, what it reports."""

import io
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from rich.console import Console

import fdl
from fdl import nn
from fdl.parity import TOLERANCE, Report, Row
from fdl.parity.judge import distance, maximum, root_mean_square

EPSILON = float(np.finfo(np.float64).eps)


@pytest.mark.parametrize("norm", [maximum, root_mean_square])
@pytest.mark.parametrize(
    ("tensor", "oracle", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [1.0, math.nan], math.inf),
        ([1.0, math.nan], [1.0, math.nan], 0.0),
        ([1.0, math.inf], [1.0, -math.inf], math.inf),
        ([1.0, math.inf], [1.0, 2.0], math.inf),
        ([[1.0, 2.0]], [1.0, 2.0], math.inf),
        ([], [], 0.0),
        (1.0, 1.0, 0.0),
    ],
)
def test_distance_at_the_edges(tensor, oracle, expected, norm):
    assert distance(np.array(tensor), np.array(oracle), 1.0, norm) == expected


def test_distance_is_relative_and_a_missing_tensor_infinitely_far():
    tensor, oracle = np.array([1.0, 2.5]), np.array([1.0, 2.0])
    assert distance(tensor, oracle, 2.0, maximum) == 0.25
    assert distance(tensor, oracle, 0.0, maximum) == math.inf
    assert distance(None, oracle, 1.0, maximum) == math.inf


def test_a_transposed_matrix_of_equal_mean_is_far():
    matrix = np.random.default_rng(0).normal(size=(8, 8))
    scale = root_mean_square(matrix)
    assert distance(matrix.T, matrix, scale, root_mean_square) > TOLERANCE.float64


def test_float32_budget_follows_torch_with_a_floor():
    floor = TOLERANCE.float32("output", 0.0)
    assert floor == TOLERANCE.floor * np.finfo(np.float32).eps
    assert TOLERANCE.float32("output", 1.0) == TOLERANCE.factors["output"]


def linear_pair() -> tuple[torch.nn.Module, fdl.Model]:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3)), fdl.models.mlp([4, 3])


BATCH = (np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 1, 2, 0, 1]))


def test_reference_is_not_changed():
    twin, model = linear_pair()
    before = {name: t.clone() for name, t in twin.state_dict().items()}
    twin.eval()
    fdl.parity.compare(
        twin,
        model,
        [BATCH],
        loss="cross_entropy",
        optimizer=(torch.optim.SGD, fdl.optim.sgd()),
        steps=2,
    )
    assert all(torch.equal(before[name], t) for name, t in twin.state_dict().items())
    assert not twin.training
    assert all(p.grad is None for p in twin.parameters())
    assert torch.get_default_dtype() == torch.float32


def test_trees_of_inputs_and_outputs_are_compared_leaf_by_leaf():
    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 3)

        def forward(self, x, index):
            y = self.fc(x)
            return {"rows": y[index], "pair": (y.sum(), y)}

    class Port(nn.Module):
        def __init__(self, rngs):
            self.fc = nn.Linear(4, 3, rngs=rngs)

        def __call__(self, x, index):
            y = self.fc(x)
            return {"rows": y[index], "pair": (y.sum(), y)}

    def loss(output, _):
        return output["rows"].sum() + output["pair"][0]

    torch.manual_seed(0)
    batch = (BATCH[0], np.array([3, 1]), np.zeros(1))
    report = fdl.parity.compare(Twin(), fdl.as_model(Port), [batch], loss=(loss, loss))
    assert report.equal, report
    names = {row.name for row in report.rows if row.kind == "output"}
    assert names == {"rows", "pair.0", "pair.1"}
    inputs = {row.name for row in report.rows if row.kind == "input gradient"}
    assert inputs == {"0"}  # an index has no gradient


def test_an_output_that_is_missing_is_different():
    class Port(nn.Linear):
        def __call__(self, input):
            return {"y": super().__call__(input)}

    class Twin(torch.nn.Linear):
        def forward(self, input):
            y = super().forward(input)
            return {"y": y, "extra": y}

    def loss(output, _):
        return output["y"].sum()

    port = fdl.as_model(lambda rngs: Port(4, 3, rngs=rngs))
    report = fdl.parity.compare(Twin(4, 3), port, [BATCH], loss=(loss, loss))
    assert not report.equal
    assert report.first_divergence is not None
    assert report.first_divergence.name == "extra"
    assert report.first_divergence.note == "the candidate has none"


def test_nan_in_the_candidate_alone_is_different():
    class Port(nn.Linear):
        def __call__(self, input):
            return super().__call__(input) * jnp.nan

    report = fdl.parity.compare(
        torch.nn.Linear(4, 3),
        fdl.as_model(lambda rngs: Port(4, 3, rngs=rngs)),
        [BATCH],
        loss="cross_entropy",
        precisions=["float64"],
    )
    assert not report.equal
    json.loads(report.to_json())


def test_a_gradient_that_is_zero_but_for_rounding_is_equal():
    """A bias before batch norm: torch and JAX each get another 1e-17."""
    torch.manual_seed(0)
    twin = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3, bias=True), torch.nn.BatchNorm2d(3))
    port = fdl.as_model(
        lambda rngs: nn.Sequential(nn.Conv2d(2, 3, 3, rngs=rngs), nn.BatchNorm2d(3))
    )
    images = np.random.default_rng(0).normal(size=(4, 2, 6, 6))
    target = np.random.default_rng(1).normal(size=(4, 3, 4, 4))
    report = fdl.parity.compare(twin, port, [(images, target)], loss="mse_loss")
    assert report.equal, report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "crossentropy"}, r"compare: loss: .*got 'crossentropy'"),
        ({"steps": 0}, r"compare: steps: expected 1 or more"),
        ({"steps": 2}, r"and an optimizer for more than 1, got 2"),
        ({"precisions": ["bfloat16"]}, r"precisions: expected 'float64', 'float32'"),
    ],
)
def test_wrong_arguments_say_what_is_expected(change, message):
    twin, model = linear_pair()
    with pytest.raises(ValueError, match=message):
        fdl.parity.compare(twin, model, [BATCH], **{"loss": "cross_entropy", **change})


@pytest.mark.parametrize("batches", [[], [(BATCH[0],)]])
def test_batches_need_a_target(batches):
    with pytest.raises(ValueError, match=r"compare: batches: expected one or more"):
        fdl.parity.compare(*linear_pair(), batches, loss="cross_entropy")


def test_a_model_with_other_keys_cannot_be_compared():
    twin, _ = linear_pair()
    with pytest.raises(ValueError, match=r"state_dict do not fit this model.*missing '2.weight'"):
        fdl.parity.compare(twin, fdl.models.mlp([4, 5, 3]), [BATCH], loss="cross_entropy")


ROWS = [
    Row("float64", "eval", "output", 0, "", 1e-12, None, 1e-10),
    Row("float64", "train", "gradient", 1, "a.weight", 3e-10, None, 1e-10),
    Row("float64", "train", "gradient", 2, "a.weight", 9e-10, None, 1e-10, "a note"),
    Row("float32", "eval", "output", 0, "", math.inf, 1e-7, 2e-6, "shape (1,), expected (2,)"),
]


def test_report_finds_first_and_worst():
    report = Report(ROWS)
    assert not report.equal
    assert report.first_divergence == ROWS[1]
    assert report.worst() == [ROWS[0], ROWS[2], ROWS[3]]
    assert Report(ROWS[:1]).equal
    assert Report(ROWS[:1]).first_divergence is None


def test_report_as_json_is_complete():
    loaded = json.loads(Report(ROWS).to_json())
    assert loaded["equal"] is False
    assert [row["equal"] for row in loaded["rows"]] == [True, False, False, False]
    assert loaded["rows"][3]["error"] == "inf"
    assert set(loaded["rows"][0]) == {*Row._fields, "equal"}


@pytest.mark.parametrize("width", [80, 140])
def test_report_prints_at_any_width(width):
    file = io.StringIO()
    Console(width=width, file=file).print(Report(ROWS))
    text = file.getvalue()
    assert "DIFFERENT: 3 of 4 tensors are beyond budget" in text
    assert "1.0e-12" in text
    assert ("a.weight step 2" in text) == (width == 140)
    assert max(map(len, text.splitlines())) <= width


def test_nan_is_never_equal():
    assert not Row("float64", "eval", "output", 0, "", math.nan, None, math.inf).equal
