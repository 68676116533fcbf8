"""``python -m benchmarks``: results that survive, that are merged, and the pages made of them."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench_small import failing

import fdl
from fdl.bench import memory, suite, workloads
from fdl.bench._merging import merged

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks import command, overhead, pages, scaling  # noqa: E402

pytestmark = pytest.mark.usefixtures("briefly")
BRIEF = ["--blocks", "1", "--no-memory", "--variants", "jax jit", "torch eager"]
PAGE = f"# Page\n\n{pages.BEGIN}\nold\n{pages.END}\n\n## Rest\n"


@pytest.fixture
def published(small, monkeypatch, tmp_path):
    """Pages and results in a folder of their own, small workloads, nothing measured beside."""
    monkeypatch.setattr(suite, "workload", lambda name, **_: small._replace(name=name))
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    monkeypatch.setattr(pages, "RESULTS", tmp_path / "benchmarks" / "results.json")
    monkeypatch.setattr(pages, "ELSEWHERE", tmp_path / "benchmarks" / "elsewhere")
    monkeypatch.setattr(pages, "IMAGES", tmp_path / "docs")
    swept = scaling.Scaling("mlp: batch", [1, 2], {"jax jit": [1.0, 2.0]}, {"jax jit": 1.0})
    monkeypatch.setattr(scaling, "measure", lambda: [swept])
    imports = dict.fromkeys(overhead.IMPORTS, 2.0)
    found = overhead.Overhead(4e-5, 3e-5, imports, 2.0, 0.5)
    monkeypatch.setattr(overhead, "measure", lambda: found)
    (tmp_path / "benchmarks").mkdir()
    for page in (tmp_path / "README.md", tmp_path / "benchmarks" / "README.md"):
        page.write_text(PAGE)
    return tmp_path


def test_results_are_saved_as_they_come(small, monkeypatch, tmp_path):
    monkeypatch.setattr(suite, "workload", lambda name, **_: small._replace(name=name))
    real = suite.measure

    def measure(case, phase, *args, **kwargs):
        if case.name == "cnn":
            raise MemoryError("too large")
        return real(case, phase, *args, **kwargs)

    monkeypatch.setattr(suite, "measure", measure)
    seen = []

    def each(report):
        report.write(tmp_path)
        read = json.loads((tmp_path / "bench.json").read_text())
        seen.append([(m["workload"], m["phase"]) for m in read["measurements"]])

    names = ["mlp", "cnn", "gru"]
    report = fdl.bench.run(
        names, phases=["inference"], variants=["jax jit"], blocks=1, progress=False, each=each
    )
    assert [len(found) for found in seen] == [1, 2, 3]
    assert [m.rows[0].timing is None for m in report.measurements] == [False, True, False]
    assert report.problems() == ["cnn, inference, jax jit: failed: MemoryError: too large"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", report.measurements[0].date)


@pytest.mark.parametrize("bad", [{"blocks": 0}, {"attempts": 0}, {"seconds": -1.0}], ids=str)
def test_bad_options_are_not_taken_for_a_failed_workload(bad):
    with pytest.raises(ValueError, match=f"run: {next(iter(bad))}: expected"):
        fdl.bench.run(["mlp"], progress=False, **bad)


def _report(*names, median=1.0, **environment):
    timing = fdl.bench.Timing(1.0, median, median, median, 3, 1)
    rows = [fdl.bench.Row("jax jit", timing, None)]
    found = [fdl.bench.Measurement(name, "tiny", "training", rows, 0.0) for name in names]
    return fdl.bench.BenchReport(found, {"cpu": "one", "date": "2020", **environment})


def test_newer_measurements_take_the_place_of_older_ones():
    older, newer = _report("mlp", "lstm"), _report("lstm", "cnn", median=2.0, date="2021")
    found = merged(older, newer)
    expected = [("mlp", 1.0), ("cnn", 2.0), ("lstm", 2.0)]
    assert [(m.workload, m.timing("jax jit").median) for m in found.measurements] == expected
    assert found.environment["date"] == "2021"
    assert [*workloads.WORKLOADS].index("cnn") < [*workloads.WORKLOADS].index("lstm")


def test_results_of_two_machines_are_not_merged():
    with pytest.raises(ValueError, match="got cpu: one and two"):
        merged(_report("mlp"), _report("cnn", cpu="two"))
    empty = fdl.bench.BenchReport([], {})
    assert merged(empty, _report("cnn")).measurements


def test_a_subset_is_run_and_merged(published, capsys):
    out = ["--out", str(published / "runs")]
    command.main([*BRIEF, *out, "--only", "lstm"])
    command.main([*BRIEF, *out, "--only", "mlp", "--merge", "--phases", "training"])
    read = json.loads((published / "runs" / "bench.json").read_text())
    found = [(m["workload"], m["phase"]) for m in read["measurements"]]
    assert found == [("mlp", "training"), ("lstm", "training"), ("lstm", "inference")]
    assert not (published / "benchmarks" / "results.json").exists()
    assert "geometric mean" in capsys.readouterr().out


def test_pages_and_pictures_come_from_the_results(published):
    command.main([*BRIEF, "--out", str(published / "runs"), "--only", "mlp", "--publish"])
    readme, details = (
        (published / name).read_text() for name in ("README.md", "benchmarks/README.md")
    )
    for page in (readme, details):
        assert "old" not in page
        assert page.endswith("## Rest\n")
        assert re.search(r"Measured \d{4}-\d\d-\d\d: .* \d+ cores, .*jax \d", page)
        assert "| mlp: tiny |" in page
    assert "**geometric mean**" in readme
    assert "| mlp: batch | 1, 2 | 1,000 2,000 | 1.00 |" in details
    assert "40 us under jit" in details
    assert "all of fdl 1.00" in details
    pictures = {path.name for path in (published / "docs").iterdir()}
    assert pictures == {"training.png", "inference.png", "ratios.png", "roofline.png"}

    (published / "README.md").write_text(PAGE)
    command.main(["--redraw"])
    assert (published / "README.md").read_text() == readme
    command.main(
        [*BRIEF, "--out", str(published / "runs"), "--only", "mlp", "--publish", "--no-beside"]
    )
    assert "mlp: batch" in (published / "benchmarks" / "README.md").read_text()


def test_another_machines_results_are_kept_beside(published, monkeypatch):
    options = [*BRIEF, "--out", str(published / "runs"), "--only", "mlp"]
    command.main([*options, "--publish", "--no-beside"])
    results = (published / "benchmarks" / "results.json").read_text()
    before = [(published / name).read_text() for name in ("README.md", "benchmarks/README.md")]
    elsewhere = {**suite.environment(), "cpu": "Other(R) CPU @ 2 GHz"}
    monkeypatch.setattr(suite, "environment", lambda: elsewhere)
    command.main([*options, "--elsewhere"])
    assert (published / "benchmarks" / "results.json").read_text() == results
    (kept,) = (published / "benchmarks" / "elsewhere").iterdir()
    assert kept.name == "other-r-cpu-2-ghz.json"
    after = [(published / name).read_text() for name in ("README.md", "benchmarks/README.md")]
    told = r"\n\nOn another machine, Other\(R\) CPU.*training \*\*\d.*inference \*\*\d.*"
    assert re.sub(told, "", after[0]) == before[0] != after[0]
    shown, _, others = after[1].partition("\n\n### On other machines")
    assert before[1].startswith(shown)
    means = re.findall(r"\| \*\*geometric mean\*\* \|  \|  \| (\*\*[\d.]+\*\*) ", others)
    assert means == re.findall(r"(?:training|inference) (\*\*[\d.]+\*\*)", after[0])
    assert len(means) == 2
    assert "Other(R) CPU @ 2 GHz, " in others


def test_a_machine_is_shown_or_elsewhere(published, capsys):
    with pytest.raises(SystemExit):
        command.main(["--publish", "--elsewhere"])
    assert "not allowed with argument --publish" in capsys.readouterr().err


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match=r"in the page\. Put them back"):
        pages.with_section("# Page", "new")


def test_the_committed_pages_are_those_of_the_committed_results():
    found = pages.pages() if pages.RESULTS.is_file() else {}
    for path, section in found.items():
        text = path.read_text(encoding="utf-8")
        assert pages.with_section(text, section) == text
    for path in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        assert pages.BEGIN in path.read_text(encoding="utf-8")


def test_exponents_are_slopes():
    assert scaling.exponent([1, 2, 4, 8], [3.0, 12.0, 48.0, 192.0]) == pytest.approx(2.0)


def test_a_sweep_is_measured_in_both(small, monkeypatch):
    sweep = scaling.Sweep("mlp: batch", (1, 2), lambda n: small)
    found = scaling._measured(sweep, 1, 0.1)
    assert [*found.seconds] == [*found.exponents] == [*scaling.SIDES]
    assert all(len(times) == 2 for times in found.seconds.values())
    monkeypatch.setattr(suite, "build", failing("jax jit"))
    with pytest.raises(ValueError, match="mlp: batch 1: jax jit: failed"):
        scaling._measured(sweep, 1, 0.1)


def test_a_step_that_computes_next_to_nothing_runs_both_ways():
    assert all(seconds > 0 for seconds in overhead.dispatch())


def test_a_process_that_measures_memory_may_fail(monkeypatch):
    monkeypatch.setattr(memory, "TIMEOUT", 1e-3)
    assert memory.peak(fdl.bench.workload("mlp_b32"), "jax jit") is None


def test_memory_is_measured_with_the_allocator_as_it_comes(monkeypatch):
    def run(command, *, env, **options):
        kept = [name for name in env if name.startswith(("MALLOC_", "GLIBC_"))]
        return SimpleNamespace(returncode=0, stdout="7" if not kept and "PATH" in env else "")

    monkeypatch.setenv("MALLOC_TOP_PAD_", "67108864")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    monkeypatch.setattr(memory.subprocess, "run", run)
    assert memory.peak(fdl.bench.workload("mlp_b32"), "jax jit") == 7


def test_a_merge_needs_earlier_results(tmp_path):
    with pytest.raises(SystemExit, match="found no file"):
        command.main(["--out", str(tmp_path), "--merge"])
