"""The command line and what an import brings along."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import fdl.demo
from fdl import cli


def test_import_brings_neither_torch_nor_matplotlib():
    code = (
        "import sys, fdl, fdl.train, fdl.data, fdl.parity, fdl.bench, fdl.plots\n"
        "print([m for m in ('torch', 'matplotlib', 'sklearn', 'seaborn') if m in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


def test_rooms_are_attributes():
    import fdl

    assert all(hasattr(fdl, name) for name in fdl.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = fdl.nonsense


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], ["demo", "bench"]),
        (["demo", "--help"], ["--epochs", "--data", "--out"]),
        (["bench", "--help"], ["--blocks", "mlp_b32", "--mine", "Exit codes"]),
        (["--version"], ["fdl 0."]),
    ],
)
def test_help_teaches(arguments, shown):
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0
    assert all(word in result.output for word in shown)


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["bench", "nonsense"], "nonsense"),
        (["demo", "--data", "no/such/folder"], "no such folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(monkeypatch, capsys, arguments, shown):
    monkeypatch.setattr(sys, "argv", ["fdl", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert shown in error
    assert "Traceback" not in error


def test_demo_writes_all_it_promises(monkeypatch, tmp_path, capsys, kept_on_disk):
    monkeypatch.setattr(fdl.demo, "PARITY_STEPS", 1)
    monkeypatch.setattr(fdl.demo, "PARITY_BATCH", 4)
    monkeypatch.setattr(fdl.demo, "TIMED", ("jax jit", "torch eager"))
    monkeypatch.setattr(fdl.data, "mnist", lambda path: fdl.data.digits())  # smaller, for speed
    out = tmp_path / "demo"
    results = fdl.demo.run(out, epochs=1)
    names = {"results.json", "model.safetensors", "curves.png", "confusion.png", "samples.png"}
    assert {path.name for path in out.iterdir()} == {*names, "times.png"}
    assert json.loads((out / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["parity"]["equal"]
    assert results["back_in_torch"]["same_predictions"] == 359
    assert results["training"]["test"]["accuracy"] > 0.3
    assert "EQUAL" in capsys.readouterr().out
    assert any(kept_on_disk.iterdir())  # with the cache on, and without a warning from it


def test_demo_without_torch_trains_and_says_what_it_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(fdl.demo, "TIMED", ("jax jit", "torch eager"))
    monkeypatch.setattr(fdl.demo, "find_spec", lambda name: None if name == "torch" else True)
    monkeypatch.setattr(fdl.data, "mnist", lambda path: fdl.data.digits())
    results = fdl.demo.run(tmp_path, epochs=1)
    assert set(results) == {"training", "timing"}
    printed = " ".join(capsys.readouterr().out.split())
    assert "torch is not installed: no parity table" in printed
    assert (tmp_path / "model.safetensors").is_file()
