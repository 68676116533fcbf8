"""What a benchmark found."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from fdl._files import replacing
from fdl.bench.environment import disturbed
from fdl.bench.gate import Verdict
from fdl.bench.timing import Timing

BUSY_WARNING = (
    "Other programs kept the machine busy. Threads that wait for each other then lose many times "
    "their share: measure again on an idle machine before you trust these times."
)


class Row(NamedTuple):
    """One variant of one workload in one phase.

    Attributes:
        variant: as in :data:`fdl.bench.VARIANTS`.
        timing: None where there is none; `note` says why.
        verdict: how near it is to torch in float64; None where it was not checked.
        note: what else there is to say.
    """

    variant: str
    timing: Timing | None
    verdict: Verdict | None
    note: str = ""


class Measurement(NamedTuple):
    """All variants of one workload in one phase, timed together.

    Attributes:
        workload: its name.
        sizes: the network and its batch, in a few words.
        phase: ``"training"`` or ``"inference"``.
        rows: one a variant.
        others: share of the cores' time that other programs took meanwhile, from 0 to 1; None
            where the system does not tell.
    """

    workload: str
    sizes: str
    phase: str
    rows: list[Row]
    others: float | None

    def timing(self, variant: str) -> Timing | None:
        """Times of one variant, if it has any."""
        return next((row.timing for row in self.rows if row.variant == variant), None)

    def speedup(self, variant: str) -> float | None:
        """How many times as long a variant takes as ``"jax jit"``, median over median."""
        jit, other = self.timing("jax jit"), self.timing(variant)
        return other.median / jit.median if jit and other else None


class BenchReport(NamedTuple):
    """All measurements of one run.

    Attributes:
        measurements: one for each workload and phase.
        environment: versions, machine and date.
    """

    measurements: list[Measurement]
    environment: dict[str, Any]

    def phases(self) -> dict[str, list[Measurement]]:
        """Phase to its measurements."""
        names = dict.fromkeys(m.phase for m in self.measurements)
        return {name: [m for m in self.measurements if m.phase == name] for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values for JSON; times are in seconds."""
        return {
            "environment": self.environment,
            "measurements": [
                {**m._asdict(), "rows": [_plain(m, row) for row in m.rows]}
                for m in self.measurements
            ],
        }

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes ``bench.json`` and one picture a phase, ``training.png`` and ``inference.png``.

        Without matplotlib there are no pictures, and a warning says so.

        Args:
            folder: made if it is not there.

        Returns:
            The files that were written.
        """
        paths = [Path(folder, "bench.json")]
        with replacing(paths[0]) as temporary:
            text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        if find_spec("matplotlib") is None:
            warnings.warn(
                "no pictures: matplotlib is not installed. Remedy: pip install 'fdl[plots]'.",
                stacklevel=2,
            )
            return paths
        from fdl.bench._picture import draw  # needs matplotlib

        for phase, measurements in self.phases().items():
            if any(row.timing for m in measurements for row in m.rows):
                paths.append(Path(folder, f"{phase}.png"))
                draw(measurements, paths[-1], title=f"{phase.capitalize()}, {self._machine()}")
        return paths

    def _machine(self) -> str:
        where = self.environment
        cores = f"{where['cores']} core{'s' * (where['cores'] > 1)}"
        torch = f", torch {where['torch']}" if where["torch"] else ""
        device = where["cpu"] if where["jax_platform"] == "cpu" else where["jax_device"]
        busy = ", on a busy machine" if self._busy() else ""
        return f"jax {where['jax']}{torch}, {device}, {cores}, float32{busy}"

    def _busy(self) -> bool:
        return any(disturbed(m.others) for m in self.measurements)

    def __rich__(self) -> Group:
        tables = [_table(p, m, self._machine()) for p, m in self.phases().items()]
        return Group(*tables, *[f"[bold red]{BUSY_WARNING}[/]"] * self._busy())

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=120).print(self)
        return text.getvalue()


def _plain(measurement: Measurement, row: Row) -> dict[str, Any]:
    timing, verdict = row.timing, row.verdict
    return {
        "variant": row.variant,
        "timing": {**timing._asdict(), "compile": timing.compile} if timing else None,
        "speedup_of_jit": measurement.speedup(row.variant),
        "verdict": verdict._asdict() if verdict else None,
        "note": row.note,
    }


def _table(phase: str, measurements: Sequence[Measurement], machine: str) -> Table:
    rows = [(m, row) for m in measurements for row in m.rows]
    sizes = "; ".join(f"{m.workload} {m.sizes}" for m in measurements)
    notes = [f"{m.workload}, {row.variant}: {row.note}" for m, row in rows if row.note]
    notes += [
        f"{m.workload}: other programs took {m.others:.0%} of the cores' time"
        for m in measurements
        if m.others is not None and disturbed(m.others)
    ]
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        title=f"{phase}: ms {'a step' if phase == 'training' else 'a batch'} ({machine})",
        title_justify="left",
        title_style="bold",
        caption=escape("\n".join([sizes, *notes])),
        caption_justify="left",
    )
    table.add_column("workload", no_wrap=True)
    table.add_column("variant", no_wrap=True)
    for heading in ("compile", "median", "quartiles", "jit gain", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for measurement, row in rows:
        name = measurement.workload if row is measurement.rows[0] else ""
        style = "bold" if row.variant == "jax jit" else ""
        table.add_row(name, row.variant, *_cells(measurement, row), style=style)
        if row is measurement.rows[-1]:
            table.add_section()
    return table


def _cells(measurement: Measurement, row: Row) -> tuple[str, ...]:
    timing, verdict, speedup = row.timing, row.verdict, measurement.speedup(row.variant)
    if timing is None:
        return ("", row.note.partition(":")[0], "", "", "")
    low, median, high = (milliseconds(s) for s in (timing.low, timing.median, timing.high))
    faster = f"{speedup:.2f}x" if speedup and row.variant != "jax jit" else ""
    checked = f"{verdict.error:.0e}" if verdict else "not checked"
    return f"{timing.compile:.2f} s", median, f"{low}-{high}", faster, checked


def milliseconds(seconds: float) -> str:
    """Three digits, or all before the point."""
    value = seconds * 1e3
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"
