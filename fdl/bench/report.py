"""What a benchmark found."""

from __future__ import annotations

import io
import json
import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

from rich.console import Console, Group

from fdl._files import replacing
from fdl.bench.environment import disturbed
from fdl.bench.gate import Verdict
from fdl.bench.timing import Timing

BUSY_WARNING = (
    "Other programs kept the machine busy. Threads that wait for each other then lose many times "
    "their share: measure again on an idle machine before you trust these times."
)
REASONS = ("unequal", "failed")
"""How the notes begin of variants that should have run."""


class Row(NamedTuple):
    """One variant of one workload in one phase.

    Attributes:
        variant: as in :data:`fdl.bench.VARIANTS`.
        timing: of a step or a batch; None where there is none; `note` says why.
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
        dtype: of weights and floating-point inputs.
        operations: floating-point operations of the products and convolutions of a step or a
            batch; 0 where they were not counted.
        traffic: bytes that its operations read and write, one by one.
        memory: variant to the peak bytes of a training step, where it was measured.
        date: when it was measured, in UTC.
    """

    workload: str
    sizes: str
    phase: str
    rows: list[Row]
    others: float | None
    dtype: str = "float32"
    operations: int = 0
    traffic: int = 0
    memory: Mapping[str, int] = {}
    date: str = ""

    def timing(self, variant: str) -> Timing | None:
        """Times of one variant, if it has any."""
        return next((row.timing for row in self.rows if row.variant == variant), None)

    def speedup(self, variant: str) -> float | None:
        """How many times as long a variant takes as ``"jax jit"``, median over median."""
        jit, other = self.timing("jax jit"), self.timing(variant)
        return other.median / jit.median if jit and other else None

    def rate(self, variant: str) -> float | None:
        """Operations a second that a variant achieves, of the plain algorithm's."""
        timing = self.timing(variant)
        return self.operations / timing.median if timing and self.operations else None


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

    def problems(self) -> list[str]:
        """Variants that failed or compute something else; torch.compile may lack a compiler."""
        return [
            f"{m.workload}, {m.phase}, {row.variant}: {row.note}"
            for m in self.measurements
            for row in m.rows
            if row.note.startswith(REASONS) and row.variant != "torch.compile"
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values for JSON; times are in seconds."""
        return {
            "environment": self.environment,
            "measurements": [
                {**m._asdict(), "rows": [_plain(m, row) for row in m.rows]}
                for m in self.measurements
            ],
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """The report that :meth:`to_dict` wrote."""
        given: list[dict[str, Any]] = [
            {**m, "rows": [_row(row) for row in m["rows"]]} for m in found["measurements"]
        ]
        return cls([Measurement(**m) for m in given], found["environment"])

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Writes ``bench.json`` alone, under another name until it is complete."""
        path = Path(folder, "bench.json")
        with replacing(path) as temporary:
            text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")
        return path

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes ``bench.json`` and pictures: one a phase, the ratios, the roofline.

        Without matplotlib there are no pictures, and a warning says so.

        Args:
            folder: made if it is not there.

        Returns:
            The files that were written.
        """
        paths = [self.write(folder)]
        if find_spec("matplotlib") is None:
            warnings.warn(
                "no pictures: matplotlib is not installed. Remedy: pip install 'fdl[plots]'.",
                stacklevel=2,
            )
            return paths
        return [*paths, *self.draw(folder)]

    def draw(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Draws the pictures of :meth:`save` alone."""
        from fdl.bench import _picture  # needs matplotlib

        return _picture.draw_all(self, Path(folder))

    def machine(self) -> str:
        """Versions and device, for headings."""
        where = self.environment
        cores = f"{where['cores']} core{'s' * (where['cores'] > 1)}"
        torch = f", torch {where['torch']}" if where["torch"] else ""
        device = where["cpu"] if where["jax_platform"] == "cpu" else where["jax_device"]
        busy = ", on a busy machine" if self.busy() else ""
        dtypes = "/".join(dict.fromkeys(m.dtype for m in self.measurements))
        return f"jax {where['jax']}{torch}, {device}, {cores}, {dtypes}{busy}"

    def busy(self) -> bool:
        """Whether other programs took a notable share of the machine."""
        return any(disturbed(m.others) for m in self.measurements)

    def __rich__(self) -> Group:
        from fdl.bench import _tables  # it asks this module for what it shows

        tables = [_tables.times(self, phase) for phase in self.phases()]
        tables += [_tables.ratios(self, phase) for phase in self.phases()]
        return Group(*tables, *[f"[bold red]{BUSY_WARNING}[/]"] * self.busy())

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


def _row(found: Mapping[str, Any]) -> Row:
    timing, verdict = found["timing"], found["verdict"]
    return Row(
        found["variant"],
        Timing(**{name: timing[name] for name in Timing._fields}) if timing else None,
        Verdict(**verdict) if verdict else None,
        found["note"],
    )
