"""The allocator's remedy: opt-in, in effect in the command line, and it does keep memory."""

import platform
import subprocess
import sys

import pytest

import fdl
from fdl import _memory, cli

FAULTS = """
import resource, sys
import fdl
if "keep" in sys.argv:
    assert fdl.keep_memory()
import jax, jax.numpy as jnp
x, add = jnp.ones(1 << 24), jax.jit(lambda x: x + 1)  # glibc maps what is above 32 MiB anew
def faults(steps):
    for _ in range(steps):
        jax.block_until_ready(add(x))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
settled = faults(50)  # until no small block lies in a hole that the next large one needs
print(faults(20) - settled)
"""


def faults(*arguments):
    """Pages that the system had to map while a program made large arrays again and again."""
    command = [sys.executable, "-c", FAULTS, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_freed_memory_is_used_again():
    if platform.libc_ver()[0] == "glibc":
        assert faults("keep") * 4 < faults()
    else:
        assert fdl.keep_memory() is False


def test_importing_changes_nothing():
    code = "import fdl, fdl.bench, fdl.train; from fdl import _memory; print(_memory.in_effect)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(_memory.ctypes, "CDLL", lambda name: pytest.fail("called"))
    assert fdl.keep_memory() is False


@pytest.fixture
def prepared(monkeypatch, tmp_path):
    """What the command line sets up, with nothing of it in effect here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in (cli.CACHE, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "FDL_KEEP_MEMORY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    kept = []
    monkeypatch.setattr(fdl, "keep_memory", lambda: kept.append(True), raising=False)
    return kept


def test_the_command_line_keeps_memory_and_programs(prepared, tmp_path):
    cli.prepare()
    assert prepared == [True]
    assert cli.os.environ[cli.CACHE] == str(tmp_path / "fdl" / "jax")


def test_the_command_line_can_be_told_otherwise(prepared, monkeypatch):
    monkeypatch.setenv("FDL_KEEP_MEMORY", "0")
    monkeypatch.setenv(cli.CACHE, "")
    cli.prepare()
    assert prepared == []
    assert not cli.os.environ[cli.CACHE]


def test_a_second_process_finds_the_programs(tmp_path):
    code = (
        "import os; from fdl import cli; cli.prepare(); import jax, jax.numpy as jnp\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()"
    )
    environment = {k: v for k, v in cli.os.environ.items() if k != cli.CACHE}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert [*(tmp_path / "fdl" / "jax").iterdir()]
