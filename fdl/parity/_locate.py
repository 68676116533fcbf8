"""From the first tensor that differs to the module that is to blame."""

from collections.abc import Mapping, Sequence

from fdl.parity._record import ROOT, module_of
from fdl.parity._reference import Anatomy
from fdl.parity.report import Divergence, Row


def suspects(row: Row, anatomy: Anatomy, listened: Sequence[str]) -> list[str]:
    """The modules that may be at fault when this row is the first that differs, likeliest first.

    Forwards, everything that ran after the last tapped module that is equal may be. Backwards it
    is the module that was given the activation whose gradient is wrong.

    Args:
        row: the first row beyond its budget.
        anatomy: of the reference.
        listened: names of the activations that the candidate shows, in torch's order.
    """
    if row.kind == "activation":
        return [row.module, *_between(row.name, anatomy, listened)]
    if row.kind == "activation gradient":
        return innermost(anatomy.consumers.get(row.name, [])) or [_parent(row.module)]
    if row.kind == "input gradient":
        return innermost(anatomy.consumers.get(f"input {row.name}", [])) or [ROOT]
    if row.kind in ("output", "mask"):
        return [ROOT, *_between(None, anatomy, listened)]
    return [row.module]


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


def _between(name: str | None, anatomy: Anatomy, listened: Sequence[str]) -> list[str]:
    """Modules that ended after the last one heard before `name`, which nobody tapped."""
    calls = list(anatomy.calls)
    heard = {activation.partition(":")[0] for activation in listened}
    end = calls.index(name.partition(":")[0]) if name is not None else len(calls)
    start = max((i for i in range(end) if calls[i] in heard), default=-1)
    return [module_of(call) for call in calls[start + 1 : end] if call != ROOT]


def _inside(module: str, container: str) -> bool:
    return container == ROOT or module.startswith(f"{container}.")


def _parent(module: str) -> str:
    return module.rpartition(".")[0]
