"""The benchmark times nothing unequal, and says why a variant has no time."""

import re
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from bench_small import failing

import fdl
from fdl.bench import gate, roofline, suite, variants
from fdl.bench.gate import CHECKED_CALLS, Gate, UnequalError
from fdl.bench.variants import MANY, Built

pytestmark = pytest.mark.usefixtures("briefly")


@pytest.mark.parametrize("phase", fdl.bench.PHASES)
def test_every_variant_agrees_and_is_timed(small, phase):
    names = ["jax eager", "jax jit", MANY, "torch eager", "flax nnx", "flax linen"]
    with jax.numpy_dtype_promotion("standard"):  # Flax mixes dtypes
        found = suite.measure(small, phase, names, blocks=1)
    assert [row.variant for row in found.rows] == variants.variants_of(phase, names)
    assert (MANY in [row.variant for row in found.rows]) == (phase == "training")
    for row in found.rows:
        assert row.timing.first_call > 0
        assert row.verdict.error <= row.verdict.budget
        assert found.speedup(row.variant) > 0
    assert found.speedup("jax jit") == 1
    products = 2 * 5 * (6 * 4 + 4 * 3)  # and two more of each in training, but for the first input
    backward = 2 * products - 2 * 5 * 6 * 4
    assert found.operations == products + (backward if phase == "training" else 0)
    assert found.traffic > 0


def test_operations_of_grouped_convolutions_are_those_within_groups(small):
    def twin():
        grouped = torch.nn.Conv2d(4, 8, 3, groups=2)
        back = torch.nn.ConvTranspose2d(8, 4, 3, groups=4)
        return torch.nn.Sequential(grouped, back, torch.nn.Flatten(), torch.nn.Linear(100, 3))

    batch = np.ones((5, 4, 5, 5), np.float32), np.zeros(5, int)
    found = small._replace(twin=twin, batch=batch)
    first, back, last = (2 * 5 * n for n in (9 * 9 * 4 * 8 // 2, 9 * 9 * 8 * 4 // 4, 100 * 3))
    assert roofline.work(found, "inference").operations == first + back + last
    assert roofline.work(found, "training").operations == 2 * first + 3 * (back + last)


def test_optax_is_judged_by_its_own_rounding(small):
    exact = Gate(small, "training")
    found = [np.asarray(x) for x in exact._as_optax_rounds()]
    exact.budget = 1e-9
    exact.draws = 99
    with pytest.raises(UnequalError):
        exact.check("jax jit", found)
    assert exact.check("flax nnx", found).error == 0
    assert 1e-7 < abs(gate.optax_factor(1) - 1) < 1e-4


def test_torch_is_drawn_again_before_a_verdict(small):
    judge = Gate(small, "training")
    budget = judge.budget = 1e-12
    with pytest.raises(UnequalError):
        judge.check("jax jit", [x + 1 for x in judge.exact])
    assert judge.draws == gate.TOLERANCE.draws
    assert judge.budget > budget


def test_a_training_candidate_trains(small):
    losses = {
        name: [float(call()) for _ in range(20)]
        for name, call in fdl.bench.training(small, ["jax jit", "torch eager"]).items()
    }
    assert all(series[-1] < series[0] for series in losses.values())


def test_jit_and_eager_are_what_they_say(small):
    traced = []

    def apply(params, buffers, *inputs, train=False, key=None):
        traced.append(isinstance(inputs[0], jax.core.Tracer))
        return small.model.apply(params, buffers, *inputs, train=train, key=key)

    watched = small._replace(model=small.model._replace(apply=apply))
    for name in ("jax jit", "jax eager"):
        for make in (fdl.bench.training, fdl.bench.inference):
            call = make(watched, [name])[name]
            with jax.default_matmul_precision("highest"):  # as `measure`, to compile little anew
                call()
                call()
    assert traced == [True, True, False, False, False, False]


def test_another_learning_rate_is_not_timed(small, monkeypatch):
    monkeypatch.setattr(variants, "LEARNING_RATE", 1.01e-3)
    found = suite.measure(small, "training", ["torch eager", "jax jit"], blocks=1)
    assert found.rows[1].timing is None
    assert "mlp, training: jax jit: expected the loss" in found.rows[1].note
    report = fdl.bench.BenchReport([found], suite.environment())
    assert [problem.partition(":")[0] for problem in report.problems()] == [
        "mlp, training, jax jit"
    ]


@pytest.mark.parametrize(("unlucky", "timed"), [({0}, True), ({0, 2}, False)])
def test_most_of_three_draws_decide(small, monkeypatch, unlucky, timed):
    draws = []

    def by_luck(workload, phase, variant):
        draws.append(workload.draw)
        right = variants.build(workload, phase, variant)
        shift = 1e-3 if workload.draw in unlucky else 0.0
        return Built(lambda: right.call() + shift)

    monkeypatch.setattr(suite, "build", by_luck)
    (row,) = suite.measure(small, "training", ["jax jit"], blocks=1).rows
    assert draws == [0, 1, 2]
    assert (row.timing is not None) == timed


@pytest.mark.parametrize("fault", ["scaled", "nan", "late", "shape"])
def test_a_broken_output_is_not_timed(small, monkeypatch, fault):
    calls = []

    def broken(workload, phase, variant):
        right = variants.build(workload, phase, variant)

        def call():
            calls.append(fault)
            output = right.call()
            return {
                "scaled": output * (1 + 1e-4),
                "nan": output.at[0, 0].set(jnp.nan),
                "late": output + (1e-3 if len(calls) == CHECKED_CALLS else 0.0),
                "shape": output[:, :, None],
            }[fault]

        return Built(call)

    monkeypatch.setattr(suite, "build", broken)
    monkeypatch.setattr(suite, "interleaved", lambda *_, **__: pytest.fail("timed"))
    (row,) = suite.measure(small, "inference", ["jax jit"]).rows
    assert row.timing is None
    assert re.search(r"unequal: mlp, inference: jax jit: .* within \d.*error of", row.note)


def test_torch_compile_may_fail(small, monkeypatch):
    monkeypatch.setattr(suite, "build", failing("torch.compile"))
    found = suite.measure(small, "inference", ["jax jit", "torch.compile"], blocks=1)
    compiled = found.rows[1]
    assert compiled.timing is compiled.verdict is found.speedup("torch.compile") is None
    assert compiled.note == "failed: RuntimeError: no C++ compiler [found]"
    assert found.rows[0].timing is not None
    report = fdl.bench.BenchReport([found], suite.environment())
    assert "[found]" in str(report)
    assert report.problems() == []


def test_another_variant_that_fails_is_a_problem(small, monkeypatch):
    monkeypatch.setattr(suite, "build", failing("jax jit"))
    found = suite.measure(small, "inference", ["jax jit", "torch eager"], blocks=1)
    assert found.rows[1].timing is not None
    (problem,) = fdl.bench.BenchReport([found], suite.environment()).problems()
    assert problem.startswith("mlp, inference, jax jit: failed: RuntimeError: no C++")


def test_without_the_twins_package_the_rows_say_so(small, monkeypatch):
    def missing():
        raise ImportError("torch's side needs 'nonesuch', which is not installed.")

    alone = small._replace(twin=missing)
    found = suite.measure(alone, "inference", ["jax jit", "torch eager"], blocks=1)
    assert found.rows[0].timing is not None
    assert "not checked: torch's side needs 'nonesuch'" in found.rows[0].note
    assert found.rows[1].note.startswith("left out: torch's side needs 'nonesuch'")


def test_without_torch_the_report_says_what_is_left_out(small, monkeypatch):
    monkeypatch.setattr(suite, "has_torch", lambda: False)
    monkeypatch.setattr(variants, "has_torch", lambda: False)
    names = ["jax jit", "torch eager", "torch.compile"]
    found = suite.measure(small, "inference", names, blocks=1)
    assert found.rows[0].timing is not None
    assert "not checked" in found.rows[0].note
    assert [row.timing for row in found.rows[1:]] == [None, None]
    assert all("PyTorch is not installed" in row.note for row in found.rows[1:])


def test_a_busy_machine_is_asked_again(small, monkeypatch):
    shares = iter([0.5, 0.3, 0.4, 0.6, 0.01])
    monkeypatch.setattr(suite, "Witness", lambda: SimpleNamespace(others=lambda: next(shares)))
    found = [
        suite.measure(small, "inference", ["jax jit"], blocks=1, attempts=n).others for n in (3, 9)
    ]
    assert found == [0.3, 0.01]
    with pytest.raises(ValueError, match="attempts: expected 1 or more, got 0"):
        suite.measure(small, "inference", ["jax jit"], attempts=0)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("name", lambda: fdl.bench.workload("resnet")),
        ("names", lambda: fdl.bench.run(["mlp", "resnet"])),
        ("names", lambda: fdl.bench.run([])),
        ("phases", lambda: fdl.bench.run(["mlp"], phases=["serving"])),
        ("variants", lambda: fdl.bench.run(["mlp"], variants=["jax"])),
        ("variant", lambda: fdl.bench.training(fdl.bench.workload("mlp"), ["jax"])),
    ],
)
def test_unknown_names_are_named(argument, call):
    with pytest.raises(ValueError, match=rf"{argument}: expected some of \w+.*, got "):
        call()


def test_bfloat16_is_judged_by_torchs_own(small):
    found = suite.measure(
        small._replace(dtype="bfloat16"), "training", ["jax jit", "torch eager"], blocks=1
    )
    for row in found.rows:
        assert row.verdict is not None, row.note
        assert 1e-5 < row.verdict.error <= row.verdict.budget


def test_importing_needs_no_torch():
    code = "import sys, fdl.bench; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
