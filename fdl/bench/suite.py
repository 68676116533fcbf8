"""Runs workloads in all their variants: checked first, then timed together."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fdl._compilation import uncached
from fdl.bench import memory
from fdl.bench._workload import PHASES, Workload, check_names
from fdl.bench.environment import Witness, disturbed, environment, now
from fdl.bench.gate import CHECKED_CALLS, Gate, UnequalError, Verdict
from fdl.bench.report import BenchReport, Measurement, Row
from fdl.bench.roofline import NO_WORK, Work, machine_peak, work
from fdl.bench.timing import Timing, interleaved, timed
from fdl.bench.variants import VARIANTS, Built, LeftOutError, build, has_torch, variants_of
from fdl.bench.workloads import WORKLOADS, workload

NO_TORCH = "PyTorch is not installed (pip install 'fdl[torch]')"
WEIGHED = ("jax jit", "torch eager")
"""Variants whose memory is measured."""

Announce = Callable[[str], None]


class Options(NamedTuple):
    """How a run is made.

    Attributes:
        blocks: blocks of each variant; see :func:`fdl.bench.interleaved`.
        seconds: after so long a variant sits out the remaining blocks, though not before its third.
        attempts: how often to time, at most, while other programs keep the machine busy; the least
            disturbed attempt counts.
        memory: whether to measure the peak memory of training steps too, each in a process of its
            own.
    """

    blocks: int = 9
    seconds: float = 5.0
    attempts: int = 2
    memory: bool = False


def run(
    names: Sequence[str] | None = None,
    *,
    phases: Sequence[str] = PHASES,
    variants: Sequence[str] | None = None,
    batches: Sequence[int] = (),
    dtype: str = "float32",
    progress: bool = True,
    each: Callable[[BenchReport], object] | None = None,
    **options: Any,
) -> BenchReport:
    """Measures workloads in JAX and in PyTorch, after checking that both compute the same.

    Args:
        names: of workloads, as in :data:`fdl.bench.WORKLOADS`; all if None.
        phases: ``"training"``, ``"inference"`` or both.
        variants: names as in :data:`fdl.bench.VARIANTS`; all if None.
        batches: rows of a batch in place of the workloads' own; each workload runs with each.
        dtype: of weights and floating-point inputs.
        progress: show what is being compiled or timed.
        each: called after each measurement with the report so far, to save it.
        **options: those of :class:`Options`.

    Returns:
        A :class:`BenchReport`; print it for tables, or ``save`` it. Where a workload fails as a
        whole, its rows say why, and the others are measured.

    Raises:
        ValueError: if a name is unknown, or an option is out of range.
    """
    names = WORKLOADS if names is None else names
    variants = VARIANTS if variants is None else variants
    check_names("run", "names", names, WORKLOADS)
    check_names("run", "phases", phases, PHASES)
    check_names("run", "variants", variants, VARIANTS)
    how = _options("run", options)
    made = [
        workload(name, batch=batch, dtype=dtype) for name in names for batch in batches or [None]
    ]
    cases = [(w, phase) for w in made for phase in w.phases if phase in phases]
    with _announcer(len(cases) * (len(variants) + 2) + 1, visible=progress) as announce:
        announce("measuring the machine's peak")
        with _settings():
            where = environment() | {"peak": machine_peak(dtype)._asdict()}
        report = BenchReport([], where)
        for case, phase in cases:
            found = _measured(case, phase, variants, how, announce)
            report = report._replace(measurements=[*report.measurements, found])
            if each is not None:
                each(report)
    return report


def measure(
    workload: Workload,
    phase: str,
    variants: Sequence[str] = VARIANTS,
    *,
    announce: Announce = lambda doing: None,
    **options: Any,
) -> Measurement:
    """Measures one phase of one workload.

    Args:
        workload: from :func:`fdl.bench.workload`.
        phase: ``"training"`` or ``"inference"``.
        variants: names as in :data:`fdl.bench.VARIANTS`.
        announce: told what is being done.
        **options: those of :class:`Options`.

    Returns:
        A :class:`Measurement` with one row a variant. Where a package is missing, a variant fails,
        or does not compute what torch computes, its row has the reason in place of times; without
        torch nothing is checked.

    Raises:
        ValueError: if a name is unknown, or an option is out of range.

    Example:
        >>> import fdl.bench
        >>> workload = fdl.bench.workload("mlp")
        >>> fdl.bench.measure(workload, "inference", ["jax jit"], blocks=3).rows[0].variant
        'jax jit'
    """
    check_names("measure", "phase", [phase], PHASES)
    check_names("measure", "variants", variants, VARIANTS)
    how = _options("measure", options)
    place = f"{workload.name} {phase}"
    started: dict[str, _Started | str] = {}
    with _settings():
        announce(f"{place}: torch in float64, to judge by")
        gate, amount = _judge(workload, phase)
        for variant in variants_of(phase, variants):
            announce(f"{place}: compiling {variant}")
            started[variant] = _start(workload, phase, variant, gate)
        announce(f"{place}: timing")
        timings, others = _least_disturbed(started, how)
    unchecked = "" if isinstance(gate, Gate) else f"not checked: {gate}"
    rows = [
        _row(name, found, timings.get(name), how.blocks, unchecked)
        for name, found in started.items()
    ]
    weighed = _memory(workload, phase, started, announce) if how.memory else {}
    return Measurement(
        workload.name,
        workload.sizes,
        phase,
        rows,
        others,
        workload.dtype,
        *amount,
        memory=weighed,
        date=now(),
    )


def _measured(
    workload: Workload, phase: str, variants: Sequence[str], how: Options, announce: Announce
) -> Measurement:
    """What :func:`measure` returns, or rows with the reason why there is nothing."""
    try:
        return measure(workload, phase, variants, announce=announce, **how._asdict())
    except Exception as error:  # one workload that fails leaves the others their results
        rows = [Row(name, None, None, _failed(error)) for name in variants_of(phase, variants)]
        return Measurement(
            workload.name, workload.sizes, phase, rows, None, workload.dtype, date=now()
        )


def _options(function: str, given: Mapping[str, Any]) -> Options:
    how = Options(**given)
    for name, lowest in (("blocks", 1), ("seconds", 0), ("attempts", 1)):
        if getattr(how, name) < lowest:
            raise ValueError(
                f"{function}: {name}: expected {lowest} or more, got {getattr(how, name)}."
            )
    return how


class _Started(NamedTuple):
    built: Built
    first_call: float
    verdict: Verdict | None


def _judge(workload: Workload, phase: str) -> tuple[Gate | str, Work]:
    """What judges the variants, or why nothing does; and how much there is to compute."""
    if not has_torch():
        return NO_TORCH, NO_WORK
    try:
        return Gate(workload, phase), work(workload, phase)
    except ImportError as error:
        return str(error), NO_WORK


def _start(workload: Workload, phase: str, variant: str, gate: Gate | str) -> _Started | str:
    """Makes and checks a candidate, or says why there is none."""
    if variant.startswith("torch") and not isinstance(gate, Gate):
        return f"left out: {gate}"
    try:
        built = build(workload, phase, variant)
        first_call, first = timed(built.call)
        verdict = None
        if isinstance(gate, Gate):
            verdict = gate.check(variant, _results(built, first), partial(_anew, phase, variant))
    except LeftOutError as reason:
        return f"left out: {reason}"
    except UnequalError as difference:
        return f"unequal: {difference}"
    except Exception as error:  # one variant that fails leaves the others their times
        return _failed(error)
    return _Started(built, first_call, verdict)


def _anew(phase: str, variant: str, workload: Workload) -> list[np.ndarray]:
    built = build(workload, phase, variant)
    return _results(built, built.call())


def _failed(error: Exception) -> str:
    return f"failed: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"


def _results(built: Built, first: object) -> list[np.ndarray]:
    """What the first steps or batches gave."""
    if built.steps > 1:
        return list(built.read(first)[:CHECKED_CALLS])
    found = [built.read(first)]
    return found + [built.read(built.call()) for _ in range(CHECKED_CALLS - 1)]


def _least_disturbed(
    started: dict[str, _Started | str], how: Options
) -> tuple[dict[str, Timing], float | None]:
    """Times, and the share of the cores that other programs took meanwhile."""
    found = []
    for _ in range(how.attempts):
        witness = Witness()
        timings = _timings(started, how)
        found.append((timings, witness.others()))
        if not disturbed(found[-1][1]):
            break
    return min(found, key=lambda attempt: attempt[1] or 0.0)


def _timings(started: dict[str, _Started | str], how: Options) -> dict[str, Timing]:
    """Seconds a step or a batch."""
    running = {name: found for name, found in started.items() if isinstance(found, _Started)}
    if not running:
        return {}
    timings = interleaved(
        {name: found.built.call for name, found in running.items()},
        blocks=how.blocks,
        max_seconds=how.seconds,
        first_calls={name: found.first_call for name, found in running.items()},
    )
    return {name: timing.each(running[name].built.steps) for name, timing in timings.items()}


def _row(
    variant: str, found: _Started | str, timing: Timing | None, blocks: int, unchecked: str
) -> Row:
    if isinstance(found, str) or timing is None:
        return Row(variant, None, None, str(found))
    notes = []
    if timing.blocks < blocks:
        calls = f"{timing.calls_per_block} call{'s' * (timing.calls_per_block > 1)}"
        notes.append(f"slow: {timing.blocks} blocks of {calls}")
    if found.verdict is None:
        notes.append(unchecked)
    return Row(variant, timing, found.verdict, "; ".join(notes))


def _memory(
    workload: Workload, phase: str, started: dict[str, _Started | str], announce: Announce
) -> dict[str, int]:
    """Peak bytes of a training step by variant."""
    found = {}
    for variant in WEIGHED:
        if phase == "training" and isinstance(started.get(variant), _Started):
            announce(f"{workload.name} {phase}: memory of {variant}")
            peak = memory.peak(workload, variant)
            if peak is not None:
                found[variant] = peak
    return found


@contextmanager
def _settings() -> Generator[None]:
    """The same precision and the same threads on both sides; nothing compiled comes from disk."""
    with ExitStack() as stack:
        stack.enter_context(jax.default_matmul_precision("highest"))
        stack.enter_context(uncached())
        if has_torch():
            from fdl.bench import _torch_variants  # needs torch

            stack.enter_context(_torch_variants.settings())
        yield


@contextmanager
def _announcer(total: int, *, visible: bool) -> Generator[Announce]:
    """A bar on a terminal; elsewhere a line for each thing that is done."""
    if visible and not Console().is_terminal:
        start = time.monotonic()
        yield lambda doing: print(f"{time.monotonic() - start:6.0f} s  {doing}", flush=True)  # noqa: T201
        return
    columns = BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, disable=not visible, transient=True) as bar:
        task = bar.add_task("starting", total=total)

        def announce(doing: str) -> None:
            bar.update(task, description=doing, advance=1)

        yield announce
