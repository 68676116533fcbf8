"""From the first tensor that differs to the module that is to blame."""

from collections.abc import Mapping, Sequence

from fdl.parity._record import ROOT
from fdl.parity._reference import Anatomy
from fdl.parity.report import Divergence, Row


def suspect(row: Row, anatomy: Anatomy) -> str:
    """The module that is at fault when this row is the first that differs, as far as it tells.

    Forwards it is the module itself; backwards the one that was given the activation whose
    gradient is wrong.

    Args:
        row: the first row beyond its budget.
        anatomy: of the reference.
    """
    if row.kind == "activation gradient":
        return next(iter(innermost(anatomy.consumers.get(row.name, []))), _parent(row.module))
    if row.kind == "input gradient":
        return next(iter(innermost(anatomy.consumers.get(f"input {row.name}", []))), ROOT)
    return row.module


def innermost(modules: Sequence[str]) -> list[str]:
    """Those of the modules that do not contain another of them, each once."""
    unique = dict.fromkeys(modules)
    return [m for m in unique if not any(other != m and _inside(other, m) for other in unique)]


def divergence(row: Row, module: str) -> Divergence:
    """The first divergence as far as it is known without its causes."""
    return Divergence(
        module,
        row.phase,
        row.step,
        row.precision,
        row.mode,
        row.kind,
        row.name,
        row.error,
        row.budget,
    )


def noted(
    rows: Sequence[Row], stage: Sequence[Row], alone: Mapping[tuple[str, str], Row]
) -> list[Row]:
    """All rows, those of the first stage that differs with a note whether they do so alone."""
    notes = {
        row: "inherited" if own.equal else "wrong here"
        for row in stage
        if not row.equal and not row.note and (own := alone.get((row.kind, row.name))) is not None
    }
    return [row._replace(note=notes[row]) if row in notes else row for row in rows]


def _inside(module: str, container: str) -> bool:
    return container == ROOT or module.startswith(f"{container}.")


def _parent(module: str) -> str:
    return module.rpartition(".")[0]
