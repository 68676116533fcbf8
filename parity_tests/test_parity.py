"""fdl.parity itself: what it measures, what it refuses, what it reports."""

import io
import json
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from rich.console import Console

import fdl
from fdl import nn
from fdl.parity import TOLERANCE, Cause, Check, Divergence, Report, Row
from fdl.parity._record import Quantity
from fdl.parity.judge import Judge, distance, maximum, root_mean_square

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
    floor = TOLERANCE.float32(0.0)
    assert floor == TOLERANCE.floor * np.finfo(np.float32).eps
    assert TOLERANCE.float32(1.0) == TOLERANCE.multiple


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
    assert report.equal, str(report)
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
    assert [row.note for row in report.rows if not row.equal] == ["the candidate has none"]


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
    assert report.equal, str(report)


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
    report = fdl.parity.compare(twin, fdl.models.mlp([4, 5, 3]), [BATCH], loss="cross_entropy")
    assert report.verdict == "not compared"
    assert report.exit_code == 2
    assert not report.equal
    assert report.failure is not None
    assert "2.weight" in report.failure
    assert "NOT COMPARED" in str(report)


def row(precision: str, mode: str, kind: str, step: int, name: str, **measured: Any) -> Row:
    return Row(precision, mode, kind, step, name, **measured)


ROWS = [
    row("float64", "eval", "output", 0, "", error=1e-12, budget=1e-10),
    row("float64", "train", "gradient", 1, "a.weight", module="a", error=3e-10, budget=1e-10),
    row("float64", "train", "gradient", 2, "a.weight", error=9e-10, budget=1e-10, factor=10.0),
    row(
        *("float32", "eval", "output", 0, ""),
        error=math.inf,
        reference_error=1e-7,
        budget=2e-6,
        note="shape (1,), expected (2,)",
    ),
]
CAUSE = Cause("transposed weight", "a", "in and out are exchanged", 1e-16)
FIRST = Divergence(
    *("a", "backward", 1, "float64", "train", "gradient", "a.weight", 3e-10, 1e-10),
    cause=str(CAUSE),
    causes=(CAUSE,),
    scope="here",
)
REPORT = Report(ROWS, (Check("x64", "wrong", "float32"),), FIRST)


def test_report_finds_the_worst_of_each_kind():
    assert not REPORT.equal
    assert REPORT.verdict == "different"
    assert REPORT.exit_code == 1
    assert REPORT.worst() == [ROWS[0], ROWS[2], ROWS[3]]
    assert Report(ROWS[:1]).equal
    assert Report(ROWS[:1]).exit_code == 0


def test_rows_know_their_phase():
    assert [r.phase for r in ROWS] == ["forward", "backward", "backward", "forward"]
    assert row("float64", "train", "parameter", 1, "a").phase == "update"
    assert row("float64", "eval", "parameter", 0, "a").phase == "forward"


def test_report_as_json_is_complete():
    loaded = json.loads(REPORT.to_json())
    assert loaded["schema"] == "fdl.parity/1"
    assert loaded["verdict"] == "different"
    assert [r["equal"] for r in loaded["rows"]] == [True, False, False, False]
    assert loaded["rows"][3]["error"] == "inf"
    assert set(loaded["rows"][0]) == {*Row._fields, "equal", "phase"}
    assert set(loaded["first_divergence"]) == set(Divergence._fields)
    assert loaded["first_divergence"]["causes"] == [CAUSE._asdict()]
    assert loaded["preflight"] == [REPORT.preflight[0]._asdict()]


@pytest.mark.parametrize("width", [80, 140])
def test_report_prints_at_any_width(width):
    file = io.StringIO()
    Console(width=width, file=file).print(REPORT)
    text = file.getvalue()
    assert "DIFFERENT: 3 of 4 tensors are beyond budget" in text
    assert "backward of module 'a'" in text
    assert "cause: transposed weight" in text
    assert "wrong: x64" in text
    assert "multiplied by 10: 1 tensors" in text
    assert "1.0e-12" in text
    assert ("a.weight step 2" in text) == (width == 140)
    assert max(map(len, text.splitlines())) <= width


def test_report_is_saved_by_its_name(tmp_path):
    assert json.loads(REPORT.save(tmp_path / "r.json").read_text())["verdict"] == "different"
    assert "<html" in REPORT.save(tmp_path / "deep" / "r.html").read_text()
    with pytest.raises(ValueError, match=r"expected a name that ends in .json or .html"):
        REPORT.save(tmp_path / "r.txt")


def test_nan_is_never_equal():
    assert not row("float64", "eval", "output", 0, "", error=math.nan, budget=math.inf).equal


def test_a_factor_belongs_to_a_name_or_to_a_kind_and_a_name():
    tolerance = TOLERANCE._replace(factors={"gradient a.*": 3.0, "*.bias": 10.0})
    assert tolerance.factor(Quantity("train", "gradient", 1, "a.bias")) == 3.0
    assert tolerance.factor(Quantity("train", "parameter", 1, "a.bias")) == 10.0
    assert tolerance.factor(Quantity("train", "parameter", 1, "a.weight")) == 1.0


def test_factors_widen_the_budget_of_what_they_name_alone():
    """An error of 3e-10 passes where 10 times the budget is allowed."""
    oracle = {Quantity("train", "gradient", 1, name): np.ones(4) for name in ("a.bias", "b.bias")}
    candidate = {quantity: tensor + 3e-10 for quantity, tensor in oracle.items()}
    judge = Judge(TOLERANCE._replace(factors={"a.*": 10.0}))
    wide, narrow = judge.float64(oracle, candidate)
    assert wide.equal
    assert wide.factor == 10.0
    assert not narrow.equal
    assert narrow.beyond == 4


def test_what_torch_amplifies_is_forgiven_as_far_as_torch_needs():
    quantity = Quantity("train", "parameter", 1, "a.bias")
    oracle, candidate = {quantity: np.ones(4)}, {quantity: np.ones(4) + 3e-10}
    (strict,) = Judge(TOLERANCE).float64(oracle, candidate, lambda: {quantity: 1e-12})
    (lenient,) = Judge(TOLERANCE).float64(oracle, candidate, lambda: {quantity: 1e-10})
    assert not strict.equal
    assert lenient.equal
    assert lenient.reference_error == 1e-10


def test_elements_are_looked_at_one_by_one():
    quantity = Quantity("eval", "output", 0, "")
    expected = np.arange(1.0, 7.0).reshape(2, 3)
    got = expected.copy()
    got[1, 0] += 1e-3
    (found,) = Judge(TOLERANCE).float64({quantity: expected}, {quantity: got})
    assert found.worst_index == (1, 0)
    assert found.beyond == 1
    assert found.size == 6
    assert found.cosine == pytest.approx(1.0, abs=1e-6)
    (turned,) = Judge(TOLERANCE).float64({quantity: expected}, {quantity: -expected})
    assert turned.cosine == pytest.approx(-1.0)
