"""The benchmark itself: what it calls and in which order, and that it times nothing unequal."""

import gc
import json
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fdl
from fdl.bench import suite, timing, variants
from fdl.bench.gate import CHECKED_CALLS, Gate
from fdl.parity import twins

SIZES = [6, 4, 3]


@pytest.fixture
def small():
    """A network of a few weights."""
    generator = np.random.default_rng(0)
    batch = generator.standard_normal((5, 6), np.float32), generator.integers(0, 3, 5)
    model, twin = fdl.models.mlp(SIZES), partial(twins.mlp, SIZES)
    return fdl.bench.Workload("mlp", "tiny", model, twin, "cross_entropy", batch)


@pytest.fixture(autouse=True)
def briefly(monkeypatch):
    """Blocks of one call, wherever a real clock is read."""
    brief = partial(timing.interleaved, min_block_seconds=0.0)
    monkeypatch.setattr(suite, "interleaved", brief)


class Clock:
    """A clock that stands still until a candidate moves it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.log = []
        monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def candidate(self, name, seconds, first=0.0):
        def call():
            self.now += seconds + (first if name not in self.log else 0.0)
            self.log.append(name)

        return call


def test_blocks_alternate_forwards_and_backwards(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {name: clock.candidate(name, 1.0) for name in "abc"}
    fdl.bench.interleaved(calls, blocks=4, min_block_seconds=0.0, max_seconds=100.0)
    assert "".join(clock.log[-12:]) == "abccbaabccba"
    assert {name: clock.log.count(name) for name in calls} == dict.fromkeys(calls, 3 + 4)


def test_the_first_call_is_counted_apart(monkeypatch):
    clock = Clock(monkeypatch)
    found = fdl.bench.interleaved({"a": clock.candidate("a", 0.5, first=7.0)}, blocks=5)
    assert found["a"] == fdl.bench.Timing(7.5, 0.5, 0.5, 0.5, 5, 1)
    assert found["a"].compile == 7.0


def test_first_calls_made_before_are_not_made_again(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {"a": clock.candidate("a", 1.0), "b": clock.candidate("b", 1.0)}
    found = fdl.bench.interleaved(calls, blocks=3, first_calls={"b": 9.0})
    assert (found["a"].first_call, found["b"].first_call) == (1.0, 9.0)
    assert clock.log.count("a") == clock.log.count("b") + 1


def test_quick_candidates_fill_their_blocks(monkeypatch):
    clock = Clock(monkeypatch)
    quick, slow = clock.candidate("quick", 0.25), clock.candidate("slow", 3.0)
    found = fdl.bench.interleaved(
        {"quick": quick, "slow": slow}, blocks=2, min_block_seconds=2.0, max_seconds=100.0
    )
    assert found["quick"].calls_per_block == 8
    assert found["slow"].calls_per_block == 1
    untimed = 1
    assert clock.log[-(2 * (8 + untimed) + 1 + 1) :] == [
        *["quick"] * (8 + untimed),
        *["slow"] * 2,
        *["quick"] * (8 + untimed),
    ]


def test_quartiles_are_over_blocks(monkeypatch):
    clock = Clock(monkeypatch)
    costs = iter([0, 0, 0, 5.0, 1.0, 4.0, 2.0, 3.0])

    def call():
        clock.now += next(costs)

    found = fdl.bench.interleaved({"a": call}, blocks=5, min_block_seconds=0.0, max_seconds=99)
    assert found["a"][1:4] == (2.0, 3.0, 4.0)


def test_slow_candidates_get_fewer_blocks(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {name: clock.candidate(name, cost) for name, cost in (("a", 30.0), ("b", 0.5))}
    found = fdl.bench.interleaved(calls, blocks=9, max_seconds=50.0)
    assert (found["a"].blocks, found["b"].blocks) == (3, 9)


def test_every_result_is_waited_for():
    class Result:
        waited = 0

        def block_until_ready(self):
            self.waited += 1

    results = []

    def call():
        results.append(Result())
        return {"nested": [results[-1]]}

    fdl.bench.interleaved({"a": call}, blocks=3, min_block_seconds=0.0)
    assert [result.waited for result in results] == [1] * (3 + 3)


def test_garbage_waits_while_timing():
    states = []
    fdl.bench.interleaved({"a": lambda: states.append(gc.isenabled())}, blocks=3)
    assert states[0]  # the first call
    assert not any(states[1:])
    assert gc.isenabled()


@pytest.mark.parametrize(
    "bad", [{"blocks": 0}, {"min_block_seconds": -1.0}, {"max_seconds": -1.0}], ids=str
)
def test_interleaved_checks_its_arguments(bad):
    with pytest.raises(ValueError, match="interleaved: expected"):
        fdl.bench.interleaved({"a": int}, **bad)
    with pytest.raises(ValueError, match="0 candidates"):
        fdl.bench.interleaved({})


@pytest.mark.parametrize("name", fdl.bench.WORKLOADS)
def test_every_workload_computes_what_torch_computes(name):
    case = fdl.bench.workload(name)
    call = fdl.bench.inference(case, ["jax jit"])["jax jit"]
    verdict = Gate(case, "inference").check("jax jit", [call() for _ in range(CHECKED_CALLS)])
    assert 0 <= verdict.error <= verdict.budget


@pytest.mark.parametrize("phase", fdl.bench.PHASES)
def test_every_variant_agrees_and_is_timed(small, phase):
    names = ["jax eager", "jax jit", "torch eager"]
    found = suite.measure(small, phase, names, blocks=1)
    assert [row.variant for row in found.rows] == names
    for row in found.rows:
        assert row.timing.first_call > 0
        assert row.verdict.error <= row.verdict.budget
        assert found.speedup(row.variant) > 0
    assert found.speedup("jax jit") == 1


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
    with pytest.raises(ValueError, match=r"mlp, training: jax jit: expected the loss.*error of"):
        suite.measure(small, "training", ["torch eager", "jax jit"], blocks=1)


@pytest.mark.parametrize("fault", ["scaled", "nan", "late", "shape"])
def test_a_broken_output_is_not_timed(small, monkeypatch, fault):
    calls = []

    def broken(workload, phase, variant):
        right = variants.build(workload, phase, variant)

        def call():
            calls.append(fault)
            output = right()
            return {
                "scaled": output * (1 + 1e-4),
                "nan": output.at[0, 0].set(jnp.nan),
                "late": output + (1e-3 if len(calls) == CHECKED_CALLS else 0.0),
                "shape": output[:, :, None],
            }[fault]

        return call

    monkeypatch.setattr(suite, "build", broken)
    monkeypatch.setattr(suite, "interleaved", lambda *_, **__: pytest.fail("timed"))
    with pytest.raises(ValueError, match=r"mlp, inference: jax jit: .* within \d.*error of"):
        suite.measure(small, "inference", ["jax jit"])


def _failing(variant):
    def build(workload, phase, name):
        if name != variant:
            return variants.build(workload, phase, name)

        def call():
            raise RuntimeError("no C++ compiler [found]\nand more lines")

        return call

    return build


def test_torch_compile_may_fail(small, monkeypatch):
    monkeypatch.setattr(suite, "build", _failing("torch.compile"))
    found = suite.measure(small, "inference", ["jax jit", "torch.compile"], blocks=1)
    compiled = found.rows[1]
    assert compiled.timing is compiled.verdict is found.speedup("torch.compile") is None
    assert compiled.note == "failed: RuntimeError: no C++ compiler [found]"
    assert found.rows[0].timing is not None
    report = fdl.bench.BenchReport([found], suite.environment())
    assert "[found]" in str(report)


def test_other_variants_may_not_fail(small, monkeypatch):
    monkeypatch.setattr(suite, "build", _failing("jax jit"))
    with pytest.raises(RuntimeError, match="no C"):
        suite.measure(small, "inference", ["jax jit"], blocks=1)


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


def test_the_report_is_complete_json_and_pictures(small, monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "workload", lambda name: small._replace(name=name))
    monkeypatch.setattr(suite, "build", _failing("torch.compile"))
    names = ["jax jit", "torch eager", "torch.compile"]
    report = fdl.bench.run(["cnn"], blocks=1, variants=names, progress=False)
    files = report.save(tmp_path / "new")
    assert [file.name for file in files] == ["bench.json", "training.png", "inference.png"]
    assert all(file.stat().st_size for file in files)
    read = json.loads(files[0].read_text(), parse_constant=pytest.fail)
    assert read == json.loads(json.dumps(report.to_dict()))
    found = [(m["workload"], m["phase"]) for m in read["measurements"]]
    assert found == [("cnn", "training"), ("cnn", "inference")]
    for measurement in read["measurements"]:
        assert [row["variant"] for row in measurement["rows"]] == names
        first, _, last = measurement["rows"]
        assert first["speedup_of_jit"] == 1
        assert first["timing"].keys() == {*fdl.bench.Timing._fields, "compile"}
        assert first["verdict"].keys() == {"error", "budget"}
        assert last["timing"] is last["verdict"] is last["speedup_of_jit"] is None
        assert last["note"]
    assert read["environment"]["jax"] == jax.__version__
    assert {"fdl", "torch", "python", "cpu", "cores", "date"} <= read["environment"].keys()


def test_without_matplotlib_there_are_no_pictures(small, monkeypatch, tmp_path):
    found = suite.measure(small, "inference", ["jax jit"], blocks=1)
    monkeypatch.setattr("fdl.bench.report.find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="no pictures: matplotlib is not installed"):
        files = fdl.bench.BenchReport([found], suite.environment()).save(tmp_path)
    assert [file.name for file in files] == ["bench.json"]


def test_the_table_says_what_was_found(small):
    found = suite.measure(small, "inference", ["jax jit", "torch eager"], blocks=1)
    alone, crowded = found._replace(others=0.0), found._replace(others=0.4)
    text = str(fdl.bench.BenchReport([alone], suite.environment()))
    for part in ("inference: ms a batch", "jax jit", "torch eager", "mlp tiny"):
        assert part in text
    assert "busy" not in text
    text = str(fdl.bench.BenchReport([crowded], suite.environment()))
    assert "on a busy machine" in text
    assert "mlp: other programs took 40% of the cores' time" in text


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


def test_importing_needs_no_torch():
    code = "import sys, fdl.bench; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
