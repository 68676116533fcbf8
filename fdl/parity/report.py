"""What a comparison found."""

import io
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fdl._files import replacing

SCHEMA = "fdl.parity/1"
ROOMY = 100  # columns from which the table also says where the worst errors are

PHASES = {
    "module input": "forward",
    "activation": "forward",
    "output": "forward",
    "mask": "forward",
    "loss": "loss",
    "activation gradient": "backward",
    "gradient": "backward",
    "input gradient": "backward",
    "buffer": "buffer",
    "parameter": "update",
}
"""Which part of a training step a kind of tensor belongs to."""


class Row(NamedTuple):
    """The judgement of one tensor.

    Attributes:
        precision: ``"float64"`` or ``"float32"``.
        mode: ``"eval"`` or ``"train"``.
        kind: one of :data:`PHASES`.
        step: 0 before training, t in and after the t-th training step.
        name: which one of its kind: a module call, a ``state_dict`` key, a place in the output, an
            input's number.
        module: the torch module that it belongs to; ``""`` is the whole network.
        error: relative error against torch in float64, see :class:`fdl.parity.Tolerance`.
        reference_error: torch's own in float32, the largest so far; None in float64.
        budget: the largest allowed error.
        factor: what the budget was multiplied by, for its name.
        cosine: of the angle between the two tensors; None if one is zero or they do not fit.
        worst_index: the element that is furthest off.
        beyond: how many elements are further off than the budget.
        size: how many there are.
        note: what else there is to say.
    """

    precision: str
    mode: str
    kind: str
    step: int
    name: str
    module: str = ""
    error: float = 0.0
    reference_error: float | None = None
    budget: float = 0.0
    factor: float = 1.0
    cosine: float | None = None
    worst_index: tuple[int, ...] | None = None
    beyond: int = 0
    size: int = 0
    note: str = ""

    @property
    def phase(self) -> str:
        """``forward``, ``loss``, ``backward``, ``buffer`` or ``update``."""
        start = self.kind in ("parameter", "buffer") and self.step == 0
        return "forward" if start else PHASES[self.kind]

    @property
    def equal(self) -> bool:
        """Whether the error is within budget; NaN never is."""
        return self.error <= self.budget

    @property
    def shaped(self) -> bool:
        """Whether both sides have the tensor, in one shape."""
        return not self.note.startswith(("shape", "the "))

    @property
    def excess(self) -> float:
        """Error over budget: above 1 is different."""
        if self.budget > 0:
            return self.error / self.budget
        return 0.0 if self.error == 0 else math.inf


class Check(NamedTuple):
    """One line of the preflight: what was looked at, ``ok``, ``note`` or ``wrong``, and why."""

    name: str
    status: str
    detail: str


class Cause(NamedTuple):
    """A hypothesis that, applied to torch, makes torch compute what the candidate did.

    Attributes:
        name: a short one: ``"transposed weight"``.
        module: where it was applied.
        detail: a sentence with the numbers.
        error: how far the candidate still is from torch with the hypothesis applied; relative.
    """

    name: str
    module: str
    detail: str
    error: float

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" if self.detail else self.name


class Divergence(NamedTuple):
    """The first place where the candidate leaves torch.

    Attributes:
        module: torch's name of the module at fault; ``""`` is the network itself, or its loss.
        phase: ``forward``, ``loss``, ``backward``, ``buffer`` or ``update``.
        step: 0 before training, t in the t-th training step.
        precision: ``"float64"``, or ``"float32"`` if only the precision differs.
        mode: ``"eval"`` or ``"train"``.
        kind: of the tensor that showed it.
        name: of that tensor.
        error: its error.
        budget: what was allowed.
        cause: the likeliest cause in words; ``""`` if no hypothesis explains the numbers.
        causes: all hypotheses that explain them, likeliest first.
        scope: ``"here"`` if the module differs although it was given torch's own inputs,
            ``"inherited"`` if it does not, ``""`` if that could not be tried.
    """

    module: str
    phase: str
    step: int
    precision: str
    mode: str
    kind: str
    name: str
    error: float
    budget: float
    cause: str = ""
    causes: tuple[Cause, ...] = ()
    scope: str = ""

    def __str__(self) -> str:
        where = f"module {self.module!r}" if self.module else "the network itself"
        return (
            f"{self.phase} of {where}, {self.mode} mode, step {self.step}, {self.precision}: "
            f"{self.kind} {self.name!r} has error {self.error:.1e}, budget {self.budget:.1e}"
        )


class Heat(NamedTuple):
    """A tensor as a picture: expected, got, and their difference, at most 64 x 64 cells."""

    name: str
    kind: str
    shape: tuple[int, ...]
    note: str
    expected: np.ndarray
    got: np.ndarray
    error: np.ndarray


class Report(NamedTuple):
    """All judgements of one comparison, float64 first, each precision in order of execution.

    Attributes:
        rows: every tensor that was compared.
        preflight: what was looked at before.
        first_divergence: the earliest tensor beyond its budget, in float64 if any is, with its
            causes; None if all is equal.
        failure: why the two could not be compared; None if they could.
        modules: torch's modules in order of execution, with their types.
        setup: what was compared, and how.
        heat: the tensor of the first divergence as a picture.
    """

    rows: list[Row]
    preflight: tuple[Check, ...] = ()
    first_divergence: Divergence | None = None
    failure: str | None = None
    modules: tuple[tuple[str, str], ...] = ()
    setup: Mapping[str, Any] = {}
    heat: Heat | None = None

    @property
    def equal(self) -> bool:
        """Whether the two could be compared, and every tensor is within its budget."""
        return self.failure is None and all(row.equal for row in self.rows)

    @property
    def verdict(self) -> str:
        """``"equal"``, ``"different"`` or ``"not compared"``."""
        if self.failure is not None:
            return "not compared"
        return "equal" if self.equal else "different"

    @property
    def exit_code(self) -> int:
        """0 equal, 1 different, 2 could not compare."""
        return {"equal": 0, "different": 1, "not compared": 2}[self.verdict]

    def worst(self) -> list[Row]:
        """The row nearest to, or furthest beyond, its budget, of each precision, mode and kind."""
        worst: dict[tuple[str, str, str], Row] = {}
        for row in self.rows:
            kept = worst.setdefault(_group(row), row)
            if row.excess > kept.excess:
                worst[_group(row)] = row
        return list(worst.values())

    def factors(self) -> dict[float, int]:
        """Factors other than 1 by which budgets were multiplied, and for how many tensors."""
        return dict(Counter(row.factor for row in self.rows if row.factor != 1))

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain Python values for JSON; ``docs/parity.md`` describes the schema."""
        first, heat = self.first_divergence, self.heat
        plain = {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "failure": self.failure,
            "setup": self.setup,
            "preflight": [check._asdict() for check in self.preflight],
            "modules": [{"name": name, "type": kind} for name, kind in self.modules],
            "first_divergence": first
            and {**first._asdict(), "causes": [cause._asdict() for cause in first.causes]},
            "rows": [
                {**row._asdict(), "phase": row.phase, "equal": row.equal} for row in self.rows
            ],
            "heat": heat and heat._asdict(),
        }
        return _jsonable(plain)

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_html(self) -> str:
        """One self-contained page: module tree, errors against steps, heat map."""
        from fdl.parity.html import page

        return page(self.to_dict())

    def save(self, path: str | Path) -> Path:
        """Writes the report, as ``.json`` or ``.html`` by the name.

        Raises:
            ValueError: if the name ends otherwise.
        """
        path = Path(path)
        texts = {".json": self.to_json, ".html": self.to_html}
        if path.suffix not in texts:
            raise ValueError(
                f"save: path: expected a name that ends in .json or .html, got {path.name!r}."
            )
        text = texts[path.suffix]()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = {"equal": "bold green", "different": "bold red", "not compared": "bold yellow"}
        yield Text(self.headline(), style[self.verdict])
        if (first := self.first_divergence) is not None:
            yield Text(f"first: {first}")
            for cause in first.causes[:3] or (None,):
                yield Text(f"cause: {cause or 'none of the hypotheses explains the numbers'}")
        for check in self.preflight:
            if check.status != "ok":
                yield Text(f"{check.status}: {check.name}: {check.detail}", "yellow")
        for factor, count in self.factors().items():
            yield Text(f"budgets multiplied by {factor:g}: {count} tensors", "yellow")
        if self.rows:
            yield self._table(roomy=options.max_width >= ROOMY)

    def _table(self, *, roomy: bool) -> Table:
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
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=120).print(self)
        return text.getvalue()

    def headline(self) -> str:
        """The verdict in one line."""
        if self.failure is not None:
            return f"NOT COMPARED: {self.failure}"
        if self.equal:
            return f"EQUAL: all {len(self.rows)} tensors are within budget"
        beyond = sum(not row.equal for row in self.rows)
        return f"DIFFERENT: {beyond} of {len(self.rows)} tensors are beyond budget"


def _group(row: Row) -> tuple[str, str, str]:
    return (row.precision, row.mode, row.kind)


def _jsonable(value: Any) -> Any:
    """Plain lists and dicts; floats that JSON has no word for become text."""
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
