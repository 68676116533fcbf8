"""What a comparison found."""

import io
import json
import math
from collections import Counter
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

ROOMY = 100  # columns from which the table also says where the worst errors are


class Row(NamedTuple):
    """The judgement of one tensor.

    Attributes:
        precision: ``"float64"`` or ``"float32"``.
        mode: ``"eval"`` or ``"train"``.
        kind: ``"output"``, ``"loss"``, ``"gradient"``, ``"input gradient"``, ``"buffer"``,
            ``"parameter"`` or ``"mask"``.
        step: 0 before training, t in and after the t-th training step.
        name: which one of its kind: a ``state_dict`` key, a place in the output, an input's number.
        error: relative error against torch in float64, see :class:`fdl.parity.Tolerance`.
        reference_error: torch's own in float32, the largest so far; None in float64.
        budget: the largest allowed error.
        note: what else there is to say.
    """

    precision: str
    mode: str
    kind: str
    step: int
    name: str
    error: float
    reference_error: float | None
    budget: float
    note: str = ""

    @property
    def equal(self) -> bool:
        """Whether the error is within budget; NaN never is."""
        return self.error <= self.budget

    @property
    def excess(self) -> float:
        """Error over budget: above 1 is different."""
        if self.budget > 0:
            return self.error / self.budget
        return 0.0 if self.error == 0 else math.inf


class Report(NamedTuple):
    """All judgements of one comparison, float64 first, each precision in order of execution."""

    rows: list[Row]

    @property
    def equal(self) -> bool:
        """Whether every tensor is within its budget."""
        return all(row.equal for row in self.rows)

    @property
    def first_divergence(self) -> Row | None:
        """The earliest tensor beyond its budget, in float64 if any is; None if all is equal."""
        return next((row for row in self.rows if not row.equal), None)

    def worst(self) -> list[Row]:
        """The row nearest to, or furthest beyond, its budget, of each precision, mode and kind."""
        worst: dict[tuple[str, str, str], Row] = {}
        for row in self.rows:
            kept = worst.setdefault(_group(row), row)
            if row.excess > kept.excess:
                worst[_group(row)] = row
        return list(worst.values())

    def to_dict(self) -> dict[str, Any]:
        """The verdict and every row, as plain Python values for JSON."""
        rows = [{**row._asdict(), "equal": row.equal} for row in self.rows]
        finite = [{k: _jsonable(v) for k, v in row.items()} for row in rows]
        return {"equal": self.equal, "rows": finite}

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        roomy = options.max_width >= ROOMY
        table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), show_edge=False, header_style="bold")
        for heading in ("dtype", "mode", "quantity"):
            table.add_column(heading, no_wrap=True)
        for heading in ("tensors", "error", "torch's", "budget"):
            table.add_column(heading, justify="right", min_width=7)
        table.add_column("verdict", no_wrap=True)
        if roomy:
            table.add_column("worst at", overflow="fold")
        counts = Counter(map(_group, self.rows))
        for row in self.worst():
            place = f"{row.name} step {row.step}".strip() if row.step else row.name
            own = "" if row.reference_error is None else f"{row.reference_error:.1e}"
            verdict = "equal" if row.equal else "[bold red]DIFFERENT[/]"
            cells = [*_group(row), str(counts[_group(row)]), f"{row.error:.1e}", own]
            cells += [f"{row.budget:.1e}", verdict, escape(place)]
            table.add_row(*cells[: 8 + roomy])
        style = "bold green" if self.equal else "bold red"
        yield Text(self._verdict(), style)
        yield table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=120).print(self)
        return text.getvalue()

    def _verdict(self) -> str:
        if (row := self.first_divergence) is None:
            return f"EQUAL: all {len(self.rows)} tensors are within budget"
        beyond = sum(not row.equal for row in self.rows)
        return (
            f"DIFFERENT: {beyond} of {len(self.rows)} tensors are beyond budget, first the "
            f"{row.kind} {row.name!r} in {row.precision}, {row.mode} mode, step {row.step}: "
            f"error {row.error:.1e}, budget {row.budget:.1e}{row.note and ', ' + row.note}"
        )


def _group(row: Row) -> tuple[str, str, str]:
    return (row.precision, row.mode, row.kind)


def _jsonable(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
