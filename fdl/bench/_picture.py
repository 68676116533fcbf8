"""Pictures of a report: times of a phase, ratios to torch, and the roofline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fdl._checks import require
from fdl._files import replacing
from fdl.bench import ratios
from fdl.bench.report import BenchReport, Measurement
from fdl.bench.variants import MANY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {
    "jax eager": "#a8bcdb",
    "jax jit": "#35609f",
    MANY: "#1c3762",
    "torch eager": "#f0b78f",
    "torch.compile": "#d9702b",
    "flax nnx": "#8fc49a",
    "flax linen": "#3e8a50",
}
MARKERS = {"jax": "o", "torch": "s", "flax": "^"}
PHASES = {"training": "#35609f", "inference": "#d9702b"}
INK = "#404040"


def draw_all(report: BenchReport, folder: Path) -> list[Path]:
    """Writes the times of each phase, the ratios, and, where work was counted, the roofline."""
    written = []
    for phase, measurements in report.phases().items():
        if any(row.timing for m in measurements for row in m.rows):
            written.append(folder / f"{phase}.png")
            title = f"{phase.capitalize()}, {report.machine()}"
            _times(measurements, written[-1], title=title)
    if any(ratios.ratios(m).torch for m in report.measurements):
        written.append(folder / "ratios.png")
        _ratios(report, written[-1])
    if report.environment.get("peak") and any(m.rate("jax jit") for m in report.measurements):
        written.append(folder / "roofline.png")
        _roofline(report, written[-1])
    return written


def _times(measurements: Sequence[Measurement], path: Path, *, title: str) -> None:
    """Medians as points with their quartiles as whiskers, one line a workload."""
    timed = [row.variant for m in measurements for row in m.rows if row.timing]
    variants = [name for name in COLORS if name in timed]
    figure, axes = _figure(8.0, 1.6 + 0.36 * len(measurements))
    for index, variant in enumerate(variants):
        shift = 0.5 * ((index + 0.5) / len(variants) - 0.5)
        found = [(line + shift, m.timing(variant)) for line, m in enumerate(measurements)]
        there = [(line, timing) for line, timing in found if timing]
        axes.errorbar(
            [1e3 * t.median for _, t in there],
            [line for line, _ in there],
            xerr=[
                [1e3 * (t.median - t.low) for _, t in there],
                [1e3 * (t.high - t.median) for _, t in there],
            ],
            fmt=MARKERS[variant.partition(" ")[0].partition(".")[0]],
            color=COLORS[variant],
            label=variant,
            markersize=5,
            elinewidth=1,
        )
    _logarithmic(axes, ("x",))
    axes.set_xlabel("ms, log scale")
    _name_lines(axes, measurements)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    _save(figure, path)


def _ratios(report: BenchReport, path: Path) -> None:
    """The ratio of fdl's jit to the better of torch's, a line a workload, both phases on it."""
    groups = {m.workload + m.sizes: m for m in report.measurements}
    figure, axes = _figure(8.0, 1.4 + 0.3 * len(groups))
    for phase, measurements in report.phases().items():
        found = {m.workload + m.sizes: ratios.ratios(m).torch for m in measurements}
        mean = ratios.geometric_mean([*found.values()])
        points = [(found.get(group), line) for line, group in enumerate(groups)]
        axes.scatter(
            [ratio for ratio, _ in points if ratio is not None],
            [line for ratio, line in points if ratio is not None],
            color=PHASES[phase],
            label=f"{phase}, geometric mean {mean:.2f}" if mean else phase,
            zorder=3,
        )
    axes.axvline(1.0, color=INK, linewidth=1)
    axes.set_xlim(left=0)
    axes.set_xlabel("time of fdl's jit over that of the better torch; below 1 fdl is faster")
    _name_lines(axes, [*groups.values()])
    figure.suptitle(report.machine(), x=0.01, ha="left", fontsize=9)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    _save(figure, path)


def _roofline(report: BenchReport, path: Path) -> None:
    """Operations a second over operations a byte, below what the machine was measured to reach."""
    phases = report.phases()
    figure, every = _figures(5.0 * len(phases), 4.6, len(phases))
    for axes, (phase, measurements) in zip(every, phases.items(), strict=True):
        _roof(axes, report.environment["peak"])
        for variant, marker in (("jax jit", "o"), ("torch eager", "s")):
            points = [
                (m.operations / m.traffic, rate / 1e9, m.workload)
                for m in measurements
                if (rate := m.rate(variant)) and m.traffic
            ]
            xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
            above = 4 if variant == "jax jit" else 3
            axes.scatter(xs, ys, marker=marker, color=COLORS[variant], label=variant, zorder=above)
            for x, y, name in points if variant == "jax jit" else ():
                axes.annotate(name, (x, y), xytext=(5, -3), textcoords="offset points", size=6)
        _logarithmic(axes, ("x", "y"))
        axes.set_xlabel("operations a byte, read or written one by one")
        axes.set_ylabel("GFLOP/s of the plain algorithm")
        axes.set_title(phase, loc="left", fontsize=9)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle(report.machine(), x=0.01, ha="left", fontsize=9)
    _save(figure, path)


def _roof(axes: Axes, peak: Mapping[str, Any]) -> None:
    """What the memory and the matrix product allow, as measured."""
    top, bandwidth = max(peak["jax"], peak["torch"] or 0.0), peak["bandwidth"]
    reach = [1.0, top / bandwidth, 500.0]
    axes.plot(reach, [min(top, x * bandwidth) / 1e9 for x in reach], color=INK, linewidth=1)
    place = {"xytext": (0, 4), "textcoords": "offset points", "color": INK, "size": 7}
    text = f"matrix product, {top / 1e9:.0f} GFLOP/s"
    axes.annotate(text, (reach[2], top / 1e9), ha="right", **place)
    axes.annotate(
        f"memory, {bandwidth / 1e9:.0f} GB/s ", (reach[1], top / 1e9), ha="right", **place
    )


def _figure(width: float, height: float) -> tuple[Any, Axes]:
    figure, (axes,) = _figures(width, height, 1)
    return figure, axes


def _figures(width: float, height: float, columns: int) -> tuple[Any, list[Axes]]:
    shapes = require("matplotlib.figure", extra="plots", purpose="the pictures of fdl.bench")
    figure = shapes.Figure(figsize=(width, height), dpi=110, layout="constrained")
    every = [*figure.subplots(1, columns, squeeze=False, sharey=True)[0]]
    for axes in every:
        axes.grid(color="#e4e4e4")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, every


def _logarithmic(axes: Axes, names: Iterable[Literal["x", "y"]]) -> None:
    """Logarithmic axes with plain numbers at 1, 2 and 5, a little wider than their points."""
    ticker = require("matplotlib.ticker", extra="plots", purpose="the pictures of fdl.bench")
    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(ticker.NullLocator())
        low, high = getattr(axes, f"get_{name}lim")()
        axes.set(**{f"{name}lim": (low / 1.2, high * 1.2)})
        axes.tick_params(axis=name, labelsize=7)


def _name_lines(axes: Axes, measurements: Sequence[Measurement]) -> None:
    labels = [f"{m.workload}: {m.sizes}" for m in measurements]
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_ylim(len(labels) - 0.5, -0.5)


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary)
