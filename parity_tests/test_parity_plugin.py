"""The pytest plugin, in a pytest run of its own."""

import subprocess
import sys
from zlib import crc32

import pytest

import fdl

TESTS = """
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import fdl

BATCHES = [(np.random.default_rng(0).normal(size=(4, 3)), np.ones((4, 2)))]
PARAMS = {"weight": jnp.zeros((2, 3)), "bias": jnp.zeros(2)}
HOW = {"loss": "mse_loss", "params": PARAMS, "precisions": ["float64"]}


def correct(p, x):
    return x @ p["weight"].T + p["bias"]


def doubled_bias(p, x):
    return correct(p, x) + p["bias"]


def test_equal(assert_parity):
    assert assert_parity(torch.nn.Linear(3, 2), correct, BATCHES, **HOW).equal


def test_different(assert_parity):
    assert_parity(torch.nn.Linear(3, 2), doubled_bias, BATCHES, **HOW)


def test_caught(assert_parity):
    with pytest.raises(AssertionError):
        assert_parity(torch.nn.Linear(3, 2), doubled_bias, BATCHES, **HOW)


@pytest.mark.parametrize("name", ["a b"])
def test_not_compared(assert_parity, name):
    for _ in range(2):
        with pytest.raises(AssertionError):
            assert_parity(torch.nn.Linear(3, 2), lambda p, x: p["no"], BATCHES, **HOW)
    assert_parity(torch.nn.Linear(3, 2), lambda p, x: p["no"], BATCHES, **HOW)
"""

LIGHT = """
import sys


def test_light(request):
    assert request.config.pluginmanager.hasplugin("fdl")
    assert "fdl._pytest" in sys.modules
    assert not {"jax", "torch", "flax", "optax", "numpy"} & set(sys.modules)
"""

# Other plugins import what they like.
ALONE = ("-p", "no:jaxtyping", "-p", "no:hypothesispytest", "-p", "no:xdist")


def pytest_in(folder, *arguments):
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder and the output of one run."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "test_port.py").write_text(TESTS)
    return folder, pytest_in(folder, "-rA", "--parity-html", "pages").stdout


def failure(output, test):
    """What pytest prints of one failed test."""
    _, _, text = output.partition(f"_ {test} _")
    return text.partition("\n____")[0].partition("\n====")[0]


def test_the_fixture_passes_and_fails_tests(done):
    _, output = done
    assert "2 failed, 2 passed" in output
    assert "FAILED test_port.py::test_different" in output
    assert "FAILED test_port.py::test_not_compared[a b]" in output


def test_the_message_is_headline_divergence_and_cause(done):
    shown = [line for line in failure(done[1], "test_different").splitlines() if line[:1] == "E"]
    assert len(shown) == 3
    assert shown[0].startswith("E       AssertionError: DIFFERENT: ")
    assert shown[1].startswith("E       first: forward of ")
    assert shown[2].startswith("E       cause: doubled bias")


def test_the_traceback_ends_in_the_test(done):
    shown = failure(done[1], "test_different")
    assert ">       assert_parity(torch.nn.Linear(3, 2), doubled_bias" in shown
    assert "test_port.py:27: AssertionError" in shown
    assert "_pytest.py" not in shown
    assert "compare.py" not in shown


def test_the_report_is_a_section_of_the_failed_test_alone(done):
    _, output = done
    section = failure(output, "test_different").partition("- fdl parity -")[2]
    assert "dtype    mode   quantity" in section
    assert "wrote pages/test_port.py_test_different.html" in section
    assert output.count("- fdl parity -") == 4  # one of test_different, three of the last


def test_every_failed_comparison_has_a_page(done):
    folder, _ = done
    pages = sorted(path.name for path in (folder / "pages").iterdir())
    odd = f"test_port.py_test_not_compared_a_b_{crc32(b'test_port.py::test_not_compared[a b]'):08x}"
    assert pages == [
        "test_port.py_test_caught.html",
        "test_port.py_test_different.html",
        f"{odd}-2.html",
        f"{odd}-3.html",
        f"{odd}.html",
    ]


def test_loading_the_plugin_is_light(tmp_path):
    (tmp_path / "test_light.py").write_text(LIGHT)
    light = pytest_in(tmp_path, *ALONE)
    assert light.returncode == 0, light.stdout


def test_names_of_fdl_are_there_before_they_are_imported():
    code = "import fdl, sys; assert 'jax' not in sys.modules; print(*dir(fdl)); fdl.nn.Linear"
    command = [sys.executable, "-W", "error", "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert set(fdl.__all__) <= set(printed.split())
    assert fdl.as_model is fdl._model.as_model
    assert fdl.Model is fdl._types.Model
