"""Strict JAX for every test: no silent promotion; hypothesis without deadlines."""

import ctypes
import gc
import itertools
import resource
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import jax
import pytest
import torch
import torchvision_here  # noqa: F401, before any import of torchvision or transformers
from bench_small import make_brief, small_workload
from hypothesis import settings
from jax._src import compiler
from jax.experimental.compilation_cache import compilation_cache
from matplotlib.figure import Figure
from samples import summary
from threadpoolctl import threadpool_limits
from torch.testing._internal.common_optimizers import optim_db
from trajectories import unrounded as unrounded_muon
from zoo import page as networks

from fdl.functional._formulations import forced

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_traceback_in_locations_limit", 0)  # of each operation: nobody reads them
# The test workers share the cores; threads that wait for one another lose 8 ms when one is taken.
torch.set_num_threads(1)
threadpool_limits(1)  # of NumPy's and SciPy's BLAS, which are loaded by now
settings.register_profile("default", deadline=None, max_examples=30)
settings.load_profile("default")


MEMORY = Path("/proc/self/statm")
"""On Linux, how many pages of memory a process has: all, and those that are in use."""
GROWTH = 3 * 2**29
"""Bytes; each of some thousand tests leaves compiled programs behind, of megabytes."""


def in_use() -> int:
    """Bytes of memory that this process uses, or 0 where that is not known."""
    return int(MEMORY.read_text().split()[1]) * resource.getpagesize() if MEMORY.exists() else 0


kept = [in_use()]
"""Memory in use each time that compiled programs were forgotten."""


def pytest_collection_finish():
    """Takes what is imported by now out of the garbage collector's rounds."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown():
    """Forgets compiled programs before a test process holds too many of them.

    Their memory goes back to the system only when the C library is asked to give it back. Where
    memory is short, tests take several times as long; with too many stretches of it (65,530 are
    allowed, a program takes several), XLA's compiler falls over with a segmentation fault.
    """
    if in_use() > kept[-1] + GROWTH:
        jax.clear_caches()
        with suppress(AttributeError):  # not every C library has it
            ctypes.CDLL(None).malloc_trim(0)
        kept.append(in_use())


def pytest_configure(config):
    """Forces the formulations that were asked for, until the end."""
    pairs = [pair.partition("=") for pair in config.getoption("--formulation")]
    everywhere = ExitStack()
    everywhere.enter_context(forced({family: name for family, _, name in pairs}))
    config.add_cleanup(everywhere.close)


@pytest.fixture(autouse=True)
def quick_compilation(request, monkeypatch):
    """Compiles without XLA's optimisations, but for tests marked `optimised`.

    Most tests run tiny programs once: optimising them costs more than it saves, and what a program
    means does not depend on it. Kernels of XLA's older emitters compile in half the time.
    """
    if request.node.get_closest_marker("optimised"):
        yield
        return
    options = compiler.get_compile_options

    def quick(*args, **keywords):
        chosen = options(*args, **keywords)
        chosen.env_option_overrides += [("xla_cpu_use_fusion_emitters", False)]
        return chosen

    monkeypatch.setattr(compiler, "get_compile_options", quick)
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def x64():
    """Float64 in JAX."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def wide_default():
    """Float64 of what torch holds in its default dtype: the scalars in optimizers' states."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def small():
    """A workload of a few weights."""
    return small_workload()


@pytest.fixture
def briefly(monkeypatch):
    """The benchmark in blocks of one call, and small products for the machine's peak."""
    make_brief(monkeypatch)


@pytest.fixture
def kept_on_disk(tmp_path):
    """The folder of JAX's persistent compilation cache, which keeps every program."""
    folder = tmp_path / "compiled"
    wanted = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: jax.config.values[name] for name in wanted}
    for values in (wanted, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if values is wanted:
            yield folder


@pytest.fixture
def figures(monkeypatch):
    """Collects the figures that are saved, without the time that drawing them takes."""
    seen = []

    def savefig(figure, path):
        path.touch()
        seen.append(figure)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return seen


@pytest.fixture
def unrounded():
    """Torch's Muon iterates in the dtype of the gradient, not in bfloat16."""
    with unrounded_muon():
        yield


def pytest_addoption(parser):
    parser.addoption(
        "--formulation",
        action="append",
        default=[],
        metavar="FAMILY=NAME",
        help="compute a family of functions by one formulation, as convolution=patches, throughout",
    )
    parser.addoption("--write-layers", metavar="PATH", help="write the page of layers there")
    parser.addoption("--write-models", metavar="PATH", help="write the page of networks there")


def pytest_terminal_summary(terminalreporter, config):
    """Prints what the suites of samples and of planted faults counted."""
    tests = [
        report.user_properties
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
    ]
    sampled = summary.results(itertools.chain(*tests))
    if sampled:
        terminalreporter.section("samples")
        terminalreporter.write_line("\n".join(summary.lines(sampled)))
    if path := config.getoption("--write-layers"):
        Path(path).write_text(summary.page(sampled))
    properties = list(itertools.chain(*tests))
    if compared := networks.compared(properties):
        terminalreporter.section("networks")
        terminalreporter.write_line(networks.line(compared))
    if path := config.getoption("--write-models"):
        networks.write(Path(path), properties)
    optimizers(
        terminalreporter, [value for key, value in itertools.chain(*tests) if key == "optimizer"]
    )
    schedules(
        terminalreporter, [value for key, value in itertools.chain(*tests) if key == "schedule"]
    )
    planted(terminalreporter, [dict(properties) for properties in tests])


def optimizers(terminalreporter, results):
    """Prints how many configurations of torch's table of optimizers passed, and how near."""
    if not results:
        return
    terminalreporter.section("optimizers")
    table = [
        info.optim_cls.__name__ for info in optim_db for _ in info.optim_inputs_func(device="cpu")
    ]
    for precision in ("float64", "float32", "bfloat16"):
        found = [(name, worst) for name, at, worst in results if at == precision]
        if found:
            names = {name.partition("(")[0] for name, _ in found}
            every = [name for name in table if precision != "bfloat16" or name in names]
            terminalreporter.write_line(
                f"{precision}: {len(found)} of {len(every)} configurations of {len(names)} of "
                f"{len(set(every))} optimizers of torch's table passed, "
                f"worst error {max(worst for _, worst in found):.1e}"
            )


def schedules(terminalreporter, results):
    """Prints how many schedulers and pairs of them were compared with torch's, and how near."""
    if not results:
        return
    found = {(kind, name) for kind, name, _ in results}
    count = Counter(kind for kind, _ in found)
    terminalreporter.section("schedules")
    terminalreporter.write_line(
        f"300 steps of {count['alone']} schedulers; {count['SequentialLR']} pairs under "
        f"SequentialLR, {count['ChainedScheduler']} under ChainedScheduler; worst error "
        f"{max(worst for *_, worst in results):.1e}"
    )


def planted(terminalreporter, results):
    """Prints the figures of the planted-fault suite: how many were found, placed, explained."""
    faults = [result for result in results if "fault" in result]
    pairs = [result for result in results if "pair" in result]
    if not faults and not pairs:
        return
    terminalreporter.section("planted faults")
    for word in ("detected", "located", "explained"):
        count = sum(bool(fault.get(word)) for fault in faults)
        share = f"{count / len(faults):.1%}" if faults else "-"
        terminalreporter.write_line(f"{word:>9}: {count} of {len(faults)} ({share})")
    alarms = {pair["pair"] for pair in pairs if not pair.get("silent")}
    about = len({pair["pair"] for pair in pairs})
    terminalreporter.write_line(f"    false: {len(alarms)} alarms about {about} correct pairs")
