"""The whole of a comparison: preflight, run, locate, isolate, explain."""

from collections.abc import Sequence
from typing import Any

from fdl.parity._failure import CannotCompare
from fdl.parity._heat import heat
from fdl.parity._locate import divergence, noted, suspect
from fdl.parity._preflight import preflight
from fdl.parity._record import input_name
from fdl.parity._run import Evidence, Run
from fdl.parity.causes import explain
from fdl.parity.report import Divergence, Report, Row


def examine(run: Run, precisions: Sequence[str]) -> Report:
    """Runs both sides in the precisions asked for, and looks into what differs.

    Raises:
        CannotCompare: if one side does not run.
    """
    side = run.side("float64", listen=True)
    side.start(run.reference.start(None) if run.load else None)
    checks = preflight(run.reference, side)
    rows = _compared(run, precisions)
    report = Report(rows, checks, modules=tuple(run.reference.anatomy.calls.items()))
    if report.equal:
        return report
    if run.evidence is None:
        first = next(row for row in rows if not row.equal)
        found = divergence(first, suspect(first, run.reference.anatomy))
        return report._replace(first_divergence=found)
    capture = run.reference.watched(run.evidence.index)
    alone = _alone(run, run.evidence, capture)
    return report._replace(
        rows=noted(rows, run.evidence.rows, alone),
        first_divergence=_explained(run, run.evidence, alone, capture),
        heat=heat(run.evidence),
    )


def _compared(run: Run, precisions: Sequence[str]) -> list[Row]:
    """Every judgement.

    Float32 is judged over several draws only if float64 found nothing: what differs in meaning
    needs no statistics.
    """
    rows = run.float64() if "float64" in precisions else []
    if "float32" not in precisions or run.misfits:
        return rows
    meant = all(row.equal for row in rows)
    single = run.float32(min(run.tolerance.draws, run.reference.draws) if meant else 1)
    if meant and not all(row.equal for row in single):
        single += run.float32_modules()
    return rows + single


def _alone(run: Run, evidence: Evidence, capture: Any) -> dict[tuple[str, str], Row]:
    """The rows of the stage when every module is fed with torch's own tensors."""
    if evidence.precision != "float64" or not evidence.judged:
        return {}
    inputs = {} if capture is None else capture.inputs
    try:
        return {(row.kind, row.name): row for row in run.isolated(evidence, inputs)}
    except CannotCompare:  # a candidate that does not run on what torch computed
        return {}


def _explained(
    run: Run, evidence: Evidence, alone: dict[tuple[str, str], Row], capture: Any
) -> Divergence:
    first = evidence.first
    causes = explain(run, evidence)
    module = suspect(first, run.reference.anatomy)
    if causes:
        module = causes[0].module
    elif capture is not None and _misled(first, alone):
        module = capture.callers[first.name.partition(":")[0]]
    own = alone.get((first.kind, first.name))
    scope = "" if own is None else "inherited" if own.equal else "here"
    found = divergence(first, module)._replace(causes=tuple(causes), scope=scope)
    return found._replace(cause=str(causes[0])) if causes else found


def _misled(first: Row, alone: dict[tuple[str, str], Row]) -> bool:
    """Whether a module was given something wrong by the code around it, all modules being right."""
    given = input_name(first.name.partition(":")[0], "")
    return first.kind == "activation" and any(
        kind == "module input" and name.partition(":")[0] == given and not row.equal
        for (kind, name), row in alone.items()
    )
