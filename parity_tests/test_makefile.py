"""The Makefile's sweep forces every formulation, in words that pytest understands."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fdl.functional._formulations import FAMILIES

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_formulations_are_all_forced(tmp_path):
    python, calls = tmp_path / "python", tmp_path / "calls"
    python.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    python.chmod(0o755)
    command = ["make", "--old-file=.venv/.installed", "formulations", f"BIN={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    words = [call.split()[2:] for call in calls.read_text().splitlines()]  # after `-m pytest`
    # An option apart from its value is no option until conftest.py is read, and the value a path,
    # without which conftest.py would have been.
    assert all(word.startswith("--") and "=" in word for call in words for word in call)
    wanted = [word.partition("=") for call in words for word in call]
    forced = {value for option, _, value in wanted if option == "--formulation"}
    assert forced == {f"{family}={name}" for family, names in FAMILIES.items() for name in names}
