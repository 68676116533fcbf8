"""The picture of one phase: all workloads and variants side by side, on a log axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fdl._checks import require
from fdl._files import replacing
from fdl.bench.report import Measurement, milliseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {
    "jax eager": "#a8bcdb",
    "jax jit": "#35609f",
    "torch eager": "#f0b78f",
    "torch.compile": "#d9702b",
}
INK = "#404040"


def draw(measurements: Sequence[Measurement], path: Path, *, title: str) -> None:
    """Draws medians as bars with their quartiles as whiskers, one group a workload."""
    shapes = require("matplotlib.figure", extra="plots", purpose="the pictures of fdl.bench")
    timed = [row.variant for m in measurements for row in m.rows if row.timing]
    variants = list(dict.fromkeys(timed))
    width = max(7.0, 1.2 + 0.6 * len(variants) * len(measurements))
    figure = shapes.Figure(figsize=(width, 4.4), dpi=130, layout="constrained")
    axes = figure.subplots()
    bar = 0.8 / len(variants)
    for index, variant in enumerate(variants):
        offset = (index - (len(variants) - 1) / 2) * bar
        _bars(axes, measurements, variant, offset, 0.95 * bar)
    _finish(axes, measurements, title)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def _bars(
    axes: Axes, measurements: Sequence[Measurement], variant: str, offset: float, width: float
) -> None:
    """One variant's bars, `offset` from the middle of each group, with their times above."""
    found = [(group, m.timing(variant)) for group, m in enumerate(measurements)]
    label = variant
    for group, timing in found:
        if timing is None:
            continue
        low, median, high = (seconds * 1e3 for seconds in timing[1:4])
        whiskers = {"yerr": [[median - low], [high - median]], "ecolor": INK, "error_kw": {"lw": 1}}
        axes.bar(group + offset, median, width, color=COLORS[variant], label=label, **whiskers)
        note = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "size": 8}
        axes.annotate(milliseconds(timing.median), (group + offset, high), color=INK, **note)
        label = "_"  # in the legend once


def _finish(axes: Axes, measurements: Sequence[Measurement], title: str) -> None:
    times = [row.timing for m in measurements for row in m.rows if row.timing]
    axes.set_yscale("log")
    axes.set_ylim(min(t.low for t in times) * 1e3 / 3, max(t.high for t in times) * 1e3 * 2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.grid(axis="y", color="#e4e4e4")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("ms, log scale")
    labels = [
        f"{m.workload}\n{m.sizes.replace(', batch', chr(10) + 'batch')}" for m in measurements
    ]
    axes.set_xticks(range(len(measurements)), labels, fontsize=8.5)
    axes.set_xlim(-0.5, len(measurements) - 0.5)
    axes.set_title(title, loc="left", fontsize=9)
