"""A pytest plugin: the fixture ``assert_parity``, and its report where it fails.

Every pytest run of an environment that has fdl loads this file, so it imports nothing heavy.
"""

import re
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fdl.parity import Report

SECTION = "fdl parity"
LONGEST = 150  # characters of a page's name, well below what file systems take

_failed = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--parity-html DIR``."""
    parser.getgroup("fdl").addoption(
        "--parity-html",
        metavar="DIR",
        type=Path,
        help="folder for one page for each failed comparison of assert_parity",
    )


@pytest.fixture
def assert_parity(request: pytest.FixtureRequest) -> Callable[..., "Report"]:
    """Asserts that a JAX network equals a torch one: takes what ``fdl.parity.compare`` takes.

    Returns the report. Where the two differ, or cannot be compared, the test fails with the first
    divergence and its causes, and has the whole report as its section "fdl parity".

    Example:
        Of a test::

            def test_port(assert_parity):
                assert_parity(TorchNet(), jax_net, batches, loss="cross_entropy")
    """

    def check(*args: Any, **kwargs: Any) -> "Report":
        __tracebackhide__ = True
        from fdl import parity  # imports jax

        report = parity.compare(*args, **kwargs)
        if not report.equal:
            _keep(request.node, report)
            raise AssertionError(_message(report))
        return report

    return check


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attaches the reports of failed comparisons to the test that failed by them."""
    report = yield
    if report.failed:
        report.sections += [(SECTION, text) for text in item.stash.get(_failed, [])]
        item.stash[_failed] = []
    return report


def page_name(test: str, index: int) -> str:
    """The file for the index-th failed comparison of a test.

    Example:
        >>> page_name("tests/test_port.py::test_cnn", 1)
        'tests_test_port.py_test_cnn.html'
        >>> page_name("tests/test_port.py::test_cnn", 2)
        'tests_test_port.py_test_cnn-2.html'
    """
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", test).strip("_")
    if len(plain) > LONGEST or re.search(r"[^\w./:\[\]-]", test, re.ASCII):
        plain = f"{plain[:LONGEST]}_{zlib.crc32(test.encode()):08x}"  # other ids may read so too
    return f"{plain}{f'-{index}' if index > 1 else ''}.html"


def _keep(item: pytest.Item, report: "Report") -> None:
    """Keeps the report for the test's section, and writes its page if pages are asked for."""
    kept = item.stash.setdefault(_failed, [])
    text = str(report)
    if (folder := item.config.getoption("parity_html")) is not None:
        text += f"wrote {report.save(folder / page_name(item.nodeid, len(kept) + 1))}\n"
    kept.append(text)


def _message(report: "Report") -> str:
    """The report without its table: headline, first divergence, causes."""
    lines = [report.headline()]
    if (first := report.first_divergence) is not None:
        lines.append(f"first: {first}")
        lines += [f"cause: {cause}" for cause in first.causes]
    return "\n".join(lines)
