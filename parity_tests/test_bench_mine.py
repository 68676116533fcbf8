"""``fdl bench --mine``: a function of the user's own, jitted against eager."""

import numpy as np
import pytest
from typer.testing import CliRunner

from fdl import bench, cli
from fdl.bench import mine

FUNCTIONS = """
import itertools
import jax.numpy as jnp

calls = itertools.count()

def energy(x):
    return {"energy": jnp.tanh(x @ x.T).sum(), "finite": jnp.isfinite(x), "none": x[:0]}

def case():
    return energy, jnp.full((4, 3), 0.5)

def not_a_number(x):
    return x * jnp.nan

def stateful(x):
    return x + next(calls)

def odd():
    return 3
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    """A module of the user's, in the current directory."""
    (tmp_path / "own_functions.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_functions:"


@pytest.mark.parametrize(
    ("name", "inputs"),
    [("energy", ["f32[4,3]"]), ("case", []), ("not_a_number", ["f32[4,3]"])],
)
def test_both_ways_are_timed(functions, name, inputs):
    found = mine.mine(functions + name, inputs, blocks=3)
    assert [*found] == ["jax eager", "jax jit"]
    for timing in found.values():
        assert isinstance(timing, bench.Timing)
        assert timing.median > 0
        assert timing.blocks == 3


def test_the_command_prints_a_table(functions):
    arguments = ["bench", "--mine", f"{functions}energy", "--input", "f32[4,3]", "--blocks", "3"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    for part in ("own_functions:energy", "jax eager", "jax jit", "jit gain", "1.00x"):
        assert part in result.output


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("stateful", ["f32[4]"], "expected the same from the jitted and the eager function"),
        ("odd", [], r"expected \(function, \*arguments\) from it, got int"),
        ("energy", [], "expected a function without arguments"),
        ("nonsense", [], "nonsense"),
    ],
)
def test_what_cannot_be_timed_is_explained(functions, name, inputs, message):
    with pytest.raises(ValueError, match=message):
        mine.mine(functions + name, inputs)


def test_inputs_are_the_same_at_each_run():
    drawn = [mine._case(np.sin, "m:f", ["f32[2,3]"])[1][0] for _ in range(2)]
    assert np.array_equal(*drawn)
