"""What a benchmark leaves behind: JSON, tables, pictures, and results that are merged."""

import json

import jax
import pytest
from bench_small import failing

import fdl
from fdl.bench import ratios, suite
from fdl.bench.variants import MANY

pytestmark = pytest.mark.usefixtures("briefly")


def test_the_report_is_complete_json_and_pictures(small, monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "workload", lambda name, **_: small._replace(name=name))
    monkeypatch.setattr(suite, "build", failing("torch.compile"))
    names = ["jax jit", "torch eager", "torch.compile"]
    report = fdl.bench.run(["cnn"], blocks=1, variants=names, progress=False)
    files = report.save(tmp_path / "new")
    pictures = ["training.png", "inference.png", "ratios.png", "roofline.png"]
    assert [file.name for file in files] == ["bench.json", *pictures]
    assert all(file.stat().st_size for file in files)
    read = json.loads(files[0].read_text(), parse_constant=pytest.fail)
    assert read == json.loads(json.dumps(report.to_dict()))
    assert fdl.bench.BenchReport.from_dict(read).to_dict() == report.to_dict()
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
    for part in ("inference: ms a batch", "jax jit", "torch eager", "mlp: tiny"):
        assert part in text
    assert "busy" not in text
    text = str(fdl.bench.BenchReport([crowded], suite.environment()))
    assert "on a busy machine" in text
    assert "mlp: other programs took 40% of the cores' time" in text


def _timing(median):
    return fdl.bench.Timing(1.0, median, median, median, 3, 1)


def test_ratios_take_the_better_torch_and_the_geometric_mean():
    times = {"jax jit": 2.0, MANY: 1.0, "torch eager": 8.0, "torch.compile": 4.0, "flax nnx": 5.0}
    rows = [fdl.bench.Row(name, _timing(median), None) for name, median in times.items()]
    memory = {"jax jit": 3, "torch eager": 2}
    found = fdl.bench.Measurement(
        "mlp", "tiny", "training", rows, 0.0, operations=12, memory=memory
    )
    assert ratios.ratios(found) == ratios.Ratios(0.5, "torch.compile", 0.4, None, 0.25, 1.5)
    assert ratios.ratios(found).best == 0.25
    assert ratios.ratios(found)._replace(many=None).best == 0.5
    assert ratios.geometric_mean([4.0, None, 1.0]) == pytest.approx(2.0)
    assert ratios.geometric_mean([None]) is None
    assert found.rate("jax jit") == 6
    environment = suite.environment() | {"peak": {"jax": 5e9, "torch": 1e10, "bandwidth": 1e9}}
    text = str(fdl.bench.BenchReport([found], environment))
    for part in ("fdl's jit over the others", "geometric mean", "10 GFLOP/s in torch", "0.50"):
        assert part in text
