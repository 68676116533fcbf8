"""Tries hypotheses about torch's calls: whichever makes torch compute what the candidate did."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from fdl.parity._calls import Call, Rewrite, Site
from fdl.parity._live import Live
from fdl.parity._record import Quantity, Record
from fdl.parity._run import Evidence
from fdl.parity.causes._attention import ATTENTION
from fdl.parity.causes._axes import AXES
from fdl.parity.causes._hypothesis import Hypothesis, closeness
from fdl.parity.causes._layers import LAYERS
from fdl.parity.causes._losses import LOSS
from fdl.parity.causes._rounding import GRADIENTS, ROUNDING
from fdl.parity.causes._weights import WEIGHTS
from fdl.parity.judge import Judge, distance, maximum, root_mean_square
from fdl.parity.report import Cause
from fdl.parity.tolerance import Tolerance

FORWARD = [*WEIGHTS, *ATTENTION, *LAYERS, *AXES, *LOSS, *ROUNDING]
BACKWARD = [*GRADIENTS]
MOST_TRIALS = 600
"""A limit for networks of which nothing inside is heard, where every call is suspected."""


class Trial(NamedTuple):
    """One rewrite of one call."""

    site: Site
    hypothesis: Hypothesis
    words: str
    rewrite: Rewrite


def tried(
    reference: Live, evidence: Evidence, sites: Sequence[Site], tolerance: Tolerance
) -> list[Cause]:
    """The hypotheses that explain the first difference, best first.

    A hypothesis explains if torch, with it, computes the candidate's tensor; the more of the other
    tensors that differ in the same stage it explains too, the better.

    Args:
        reference: torch, to be run again.
        evidence: the stage in which the candidate differs.
        sites: the calls that may be at fault.
        tolerance: what counts as equal.
    """
    first = evidence.first
    quantity = Quantity(first.mode, first.kind, first.step, first.name)
    backward = first.phase not in ("forward", "loss")
    measure = _Measure(evidence, tolerance)
    found: list[tuple[float, int, int, Cause]] = []
    for order, trial in enumerate(_trials(reference, evidence, sites)):
        record = _rerun(reference, evidence, trial, [trial.site], backward=backward)
        error = measure.error(quantity, record)
        if not error <= max(first.budget, trial.hypothesis.residual * first.error):
            continue
        share, where = _share(reference, evidence, trial, measure)
        words = f"{trial.words}{where}"
        cause = Cause(trial.hypothesis.name, trial.site.module, words, error)
        found.append((-share, closeness(error), order, cause))
    return [cause for *_, cause in sorted(found, key=lambda item: item[:3])]


class _Measure:
    """How far a record is from the candidate's."""

    def __init__(self, evidence: Evidence, tolerance: Tolerance) -> None:
        self._evidence = evidence
        self._norm = root_mean_square if evidence.precision == "float64" else maximum
        self._scales = Judge(tolerance).scales(evidence.expected, self._norm)
        self._different = [
            Quantity(row.mode, row.kind, row.step, row.name)
            for row in evidence.rows
            if not row.equal and row.kind != "parameter"
        ]
        self._rows = {Quantity(r.mode, r.kind, r.step, r.name): r for r in evidence.rows}

    def error(self, quantity: Quantity, record: Record) -> float:
        """The candidate's error in one tensor, if the record were torch."""
        got, expected = self._evidence.got.get(quantity), record.get(quantity)
        if got is None or expected is None or not self._rows[quantity].shaped:
            return math.inf
        return distance(got, expected, self._scales[quantity], self._norm)

    def share(self, record: Record, residual: float) -> float:
        """The share of the tensors that differ which the record explains."""
        explained = [
            self.error(q, record) <= max(self._rows[q].budget, residual * self._rows[q].error)
            for q in self._different
        ]
        return sum(explained) / len(explained) if explained else 0.0


def _trials(reference: Live, evidence: Evidence, sites: Sequence[Site]) -> Iterator[Trial]:
    """All rewrites of the given calls, in the order of the hypotheses."""
    wanted = {site.index for site in sites}
    backward = evidence.first.phase == "backward"
    hypotheses = [*BACKWARD, *FORWARD] if backward else FORWARD
    calls: dict[Site, list[Trial]] = {}

    def look(site: Site) -> Rewrite | None:
        if site.index not in wanted:
            return None

        def note(call: Call):
            calls[site] = [
                Trial(site, hypothesis, words, rewrite)
                for hypothesis in hypotheses
                if site.function in hypothesis.functions
                for words, rewrite in hypothesis.variants(call)
            ]
            return call.run()

        return note

    reference.again(evidence.index, look)
    ranked = sorted(
        (trial for trials in calls.values() for trial in trials),
        key=lambda trial: hypotheses.index(trial.hypothesis),
    )
    yield from ranked[:MOST_TRIALS]


def _rerun(
    reference: Live, evidence: Evidence, trial: Trial, sites: Sequence[Site], *, backward: bool
) -> Record:
    chosen = {site.index for site in sites}
    rewrites: Callable[[Site], Rewrite | None] = lambda site: (  # noqa: E731
        trial.rewrite if site.index in chosen else None
    )
    try:
        return reference.again(evidence.index, rewrites, backward=backward).record
    except Exception:  # noqa: BLE001  (a hypothesis that does not even run explains nothing)
        return {}


def _share(
    reference: Live, evidence: Evidence, trial: Trial, measure: _Measure
) -> tuple[float, str]:
    """How much the rewrite explains at this call, or at all calls of the function."""
    here = _rerun(reference, evidence, trial, [trial.site], backward=True)
    share = measure.share(here, trial.hypothesis.residual)
    alike = [site for site in reference.sites(evidence.index) if _alike(site, trial.site)]
    if share == 1 or len(alike) == 1:
        return share, ""
    everywhere = _rerun(reference, evidence, trial, alike, backward=True)
    more = measure.share(everywhere, trial.hypothesis.residual)
    if more > share:
        return more, f" (in all {len(alike)} calls of {trial.site.function})"
    return share, ""


def _alike(site: Site, other: Site) -> bool:
    return (site.function, site.phase) == (other.function, other.phase)
