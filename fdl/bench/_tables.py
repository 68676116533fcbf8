"""Tables of a report for the terminal."""

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from fdl.bench import ratios as compared
from fdl.bench.environment import disturbed
from fdl.bench.report import BenchReport, Measurement, Row


def times(report: BenchReport, phase: str) -> Table:
    """Every variant of every workload in one phase."""
    measurements = report.phases()[phase]
    rows = [(m, row) for m in measurements for row in m.rows]
    found = table(
        f"{phase}: ms {'a step' if phase == 'training' else 'a batch'} ({report.machine()})",
        [*(f"{m.workload}: {m.sizes}" for m in measurements), *_notes(measurements)],
    )
    found.add_column("workload", no_wrap=True)
    found.add_column("variant", no_wrap=True)
    for heading in ("compile", "median", "quartiles", "jit gain", "error"):
        found.add_column(heading, justify="right", no_wrap=True)
    for measurement, row in rows:
        name = measurement.workload if row is measurement.rows[0] else ""
        style = "bold" if row.variant == "jax jit" else ""
        found.add_row(name, row.variant, *_cells(measurement, row), style=style)
        if row is measurement.rows[-1]:
            found.add_section()
    return found


def ratios(report: BenchReport, phase: str) -> Table:
    """``jax jit`` against the others, with the geometric mean below."""
    measurements = report.phases()[phase]
    by_case = [compared.ratios(m) for m in measurements]
    found = table(
        f"{phase}: fdl's jit over the others; below 1 fdl is faster, or needs less memory",
        [f"peak of a matrix product: {peak_in_words(report)}"] if _peak(report) else [],
    )
    found.add_column("workload", no_wrap=True)
    headings = ("torch's better", "x16 / torch", "nnx", "linen", "memory", "GFLOP/s", "of peak")
    for heading in headings:
        found.add_column(heading, justify="right", no_wrap=True)
    for m in measurements:
        found.add_row(m.workload, *ratio_cells(report, m))
    found.add_section()
    means = [
        compared.geometric_mean([getattr(r, name) for r in by_case])
        for name in ("torch", "many", "nnx", "linen", "memory")
    ]
    found.add_row("geometric mean", *map(_ratio, means), "", "", style="bold")
    return found


def ratio_cells(report: BenchReport, measurement: Measurement) -> tuple[str, ...]:
    """The cells of one measurement in a table of ratios."""
    found, rate, peak = compared.ratios(measurement), measurement.rate("jax jit"), _peak(report)
    return (
        *(_ratio(r) for r in (found.torch, found.many, found.nnx, found.linen, found.memory)),
        f"{rate / 1e9:.0f}" if rate else "",
        f"{rate / peak:.0%}" if rate and peak else "",
    )


def peak_in_words(report: BenchReport) -> str:
    """What the machine reaches, in each framework."""
    peak = report.environment.get("peak") or {}
    return ", ".join(
        f"{peak[side] / 1e9:.0f} GFLOP/s in {name}"
        for side, name in (("jax", "XLA"), ("torch", "torch"))
        if peak.get(side)
    )


def milliseconds(seconds: float) -> str:
    """Three digits, or all before the point."""
    value = seconds * 1e3
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def table(title: str, caption: Sequence[str]) -> Table:
    """An empty table with a title, and lines below it."""
    return Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        title=title,
        title_justify="left",
        title_style="bold",
        caption=escape("\n".join(caption)),
        caption_justify="left",
    )


def _notes(measurements: Sequence[Measurement]) -> list[str]:
    notes = [f"{m.workload}, {r.variant}: {r.note}" for m in measurements for r in m.rows if r.note]
    return notes + [
        f"{m.workload}: other programs took {m.others:.0%} of the cores' time"
        for m in measurements
        if m.others is not None and disturbed(m.others)
    ]


def _cells(measurement: Measurement, row: Row) -> tuple[str, ...]:
    timing, verdict, speedup = row.timing, row.verdict, measurement.speedup(row.variant)
    if timing is None:
        return ("", row.note.partition(":")[0], "", "", "")
    low, median, high = (milliseconds(s) for s in (timing.low, timing.median, timing.high))
    faster = f"{speedup:.2f}x" if speedup and row.variant != "jax jit" else ""
    checked = f"{verdict.error:.0e}" if verdict else "not checked"
    return f"{timing.compile:.2f} s", median, f"{low}-{high}", faster, checked


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _peak(report: BenchReport) -> float | None:
    """The better of what the frameworks reach in a matrix product."""
    peak = report.environment.get("peak") or {}
    return max((peak[side] for side in ("jax", "torch") if peak.get(side)), default=None)
