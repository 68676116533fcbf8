"""Runs workloads in all their variants: checked first, then timed together."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import jax
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fdl.bench.environment import Witness, disturbed, environment
from fdl.bench.gate import CHECKED_CALLS, Gate, Verdict
from fdl.bench.report import BenchReport, Measurement, Row
from fdl.bench.timing import Candidate, Timing, interleaved, timed
from fdl.bench.variants import PHASES, VARIANTS, build, has_torch
from fdl.bench.workloads import WORKLOADS, Workload, check_names, workload

MAY_FAIL = ("torch.compile",)  # it needs a C++ compiler, which torch does not bring


def run(
    names: Sequence[str] | None = None,
    *,
    blocks: int = 9,
    phases: Sequence[str] = PHASES,
    variants: Sequence[str] | None = None,
    attempts: int = 2,
    progress: bool = True,
) -> BenchReport:
    """Measures workloads in JAX and in PyTorch, after checking that both compute the same.

    Args:
        names: of workloads, as in :data:`fdl.bench.WORKLOADS`; all if None.
        blocks: blocks of each variant; see :func:`fdl.bench.interleaved`.
        phases: ``"training"``, ``"inference"`` or both.
        variants: names as in :data:`fdl.bench.VARIANTS`; all if None.
        attempts: as in :func:`measure`.
        progress: show what is being compiled or timed.

    Returns:
        A :class:`BenchReport`; print it for tables, or ``save`` it.

    Raises:
        ValueError: if a name is unknown, or a variant does not compute what torch computes.
    """
    names = WORKLOADS if names is None else names
    variants = VARIANTS if variants is None else variants
    check_names("run", "names", names, WORKLOADS)
    check_names("run", "phases", phases, PHASES)
    check_names("run", "variants", variants, VARIANTS)
    cases = [(workload(name), phase) for name in names for phase in phases]
    with _announcer(len(cases) * (len(variants) + 1), visible=progress) as announce:
        measurements = [
            measure(case, phase, variants, blocks=blocks, attempts=attempts, announce=announce)
            for case, phase in cases
        ]
    return BenchReport(measurements, environment())


def measure(
    workload: Workload,
    phase: str,
    variants: Sequence[str] = VARIANTS,
    *,
    blocks: int = 9,
    attempts: int = 2,
    announce: Callable[[str], None] = lambda doing: None,
) -> Measurement:
    """Measures one phase of one workload.

    Args:
        workload: from :func:`fdl.bench.workload`.
        phase: ``"training"`` or ``"inference"``.
        variants: names as in :data:`fdl.bench.VARIANTS`.
        blocks: as in :func:`fdl.bench.interleaved`.
        attempts: how often to time, at most, while other programs keep the machine busy; the least
            disturbed attempt counts.
        announce: told what is being done.

    Returns:
        A :class:`Measurement` with one row a variant. Where torch is missing or torch.compile
        fails, a row has the reason in place of times; without torch nothing is checked.

    Raises:
        ValueError: if a name is unknown, or a variant does not compute what torch computes.

    Example:
        >>> import fdl.bench
        >>> workload = fdl.bench.workload("mlp")
        >>> fdl.bench.measure(workload, "inference", ["jax jit"], blocks=3).rows[0].variant
        'jax jit'
    """
    check_names("measure", "phase", [phase], PHASES)
    check_names("measure", "variants", variants, VARIANTS)
    if attempts < 1:
        raise ValueError(f"measure: attempts: expected 1 or more, got {attempts}.")
    place = f"{workload.name} {phase}"
    started: dict[str, _Started | str] = {}
    with _settings():
        gate = Gate(workload, phase) if has_torch() else None
        for variant in variants:
            announce(f"{place}: compiling {variant}")
            started[variant] = _start(workload, phase, variant, gate)
        announce(f"{place}: timing")
        timings, others = _least_disturbed(started, blocks, attempts)
    rows = [_row(name, found, timings.get(name), blocks) for name, found in started.items()]
    return Measurement(workload.name, workload.sizes, phase, rows, others)


class _Started(NamedTuple):
    candidate: Candidate
    first_call: float
    verdict: Verdict | None


def _start(workload: Workload, phase: str, variant: str, gate: Gate | None) -> _Started | str:
    """Makes and checks a candidate, or says why there is none."""
    if variant.startswith("torch") and not has_torch():
        return "left out: PyTorch is not installed (pip install 'fdl[torch]')"
    try:
        candidate = build(workload, phase, variant)
        first_call, first = timed(candidate)
        results = [first, *(candidate() for _ in range(CHECKED_CALLS - 1))]
    except Exception as error:
        if variant not in MAY_FAIL:
            raise
        return f"failed: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"
    return _Started(candidate, first_call, gate.check(variant, results) if gate else None)


def _least_disturbed(
    started: dict[str, _Started | str], blocks: int, attempts: int
) -> tuple[dict[str, Timing], float | None]:
    """Times, and the share of the cores that other programs took meanwhile."""
    found = []
    for _ in range(attempts):
        witness = Witness()
        timings = _timings(started, blocks)
        found.append((timings, witness.others()))
        if not disturbed(found[-1][1]):
            break
    return min(found, key=lambda attempt: attempt[1] or 0.0)


def _timings(started: dict[str, _Started | str], blocks: int) -> dict[str, Timing]:
    running = {name: found for name, found in started.items() if isinstance(found, _Started)}
    if not running:
        return {}
    return interleaved(
        {name: found.candidate for name, found in running.items()},
        blocks=blocks,
        first_calls={name: found.first_call for name, found in running.items()},
    )


def _row(variant: str, found: _Started | str, timing: Timing | None, blocks: int) -> Row:
    if isinstance(found, str) or timing is None:
        return Row(variant, None, None, str(found))
    notes = []
    if timing.blocks < blocks:
        calls = f"{timing.calls_per_block} call{'s' * (timing.calls_per_block > 1)}"
        notes.append(f"slow: {timing.blocks} blocks of {calls}")
    if found.verdict is None:
        notes.append("not checked: PyTorch is not installed")
    return Row(variant, timing, found.verdict, "; ".join(notes))


@contextmanager
def _settings() -> Generator[None]:
    """The same precision and the same threads on both sides."""
    with ExitStack() as stack:
        stack.enter_context(jax.default_matmul_precision("highest"))
        if has_torch():
            from fdl.bench import _torch_variants  # needs torch

            stack.enter_context(_torch_variants.settings())
        yield


@contextmanager
def _announcer(total: int, *, visible: bool) -> Generator[Callable[[str], None]]:
    columns = BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, disable=not visible, transient=True) as bar:
        task = bar.add_task("starting", total=total + 1)

        def announce(doing: str) -> None:
            bar.update(task, description=doing, advance=1)

        yield announce
