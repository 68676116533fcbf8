"""Tries hypotheses about torch's calls: whichever makes torch compute what the candidate did."""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fdl.parity._calls import Call, Rewrite, Site
from fdl.parity._live import Live
from fdl.parity._record import Quantity, Record
from fdl.parity._run import Evidence
from fdl.parity.causes._activations import ACTIVATION
from fdl.parity.causes._assembly import ASSEMBLY
from fdl.parity.causes._attention import ATTENTION
from fdl.parity.causes._axes import AXES
from fdl.parity.causes._closeness import closeness
from fdl.parity.causes._hypothesis import Hypothesis
from fdl.parity.causes._layers import LAYERS
from fdl.parity.causes._losses import LOSS
from fdl.parity.causes._margins import MARGIN
from fdl.parity.causes._recurrences import RECURRENCES
from fdl.parity.causes._resampling import RESAMPLING
from fdl.parity.causes._rounding import GRADIENTS, ROUNDING
from fdl.parity.causes._weights import WEIGHTS
from fdl.parity.judge import Judge, distance, maximum, root_mean_square
from fdl.parity.report import Cause
from fdl.parity.tolerance import Tolerance

LAYER = [*LAYERS, *ACTIVATION, *RESAMPLING, *RECURRENCES]
FORWARD = [*WEIGHTS, *ATTENTION, *LAYER, *AXES, *ASSEMBLY, *LOSS, *MARGIN, *ROUNDING]
BACKWARD = [*GRADIENTS]
MOST_TRIALS = 600
"""A limit for networks of which nothing inside is heard, where every call is suspected."""


class Trial(NamedTuple):
    """One rewrite of a call, or of several of one function in one module."""

    sites: tuple[Site, ...]
    hypothesis: Hypothesis
    words: str
    rewrite: Rewrite


def tried(
    reference: Live, evidence: Evidence, sites: Sequence[Site], tolerance: Tolerance
) -> list[Cause]:
    """The hypotheses that explain the first difference, best first.

    A hypothesis explains if torch, with it, computes the candidate's tensor, and everything before
    as the candidate does; the more of the other tensors that differ in the same stage it explains
    too, the better.

    Args:
        reference: torch, to be run again.
        evidence: the stage in which the candidate differs.
        sites: the calls that may be at fault.
        tolerance: what counts as equal.
    """
    backward = evidence.first.phase not in ("forward", "loss")
    measure = _Measure(evidence, tolerance)
    everywhere = reference.sites(evidence.index)
    found: list[tuple[float, int, int, Cause]] = []
    for order, trial in enumerate(_trials(reference, evidence, sites)):
        residual = trial.hypothesis.residual
        record = _rerun(reference, evidence, trial, backward=backward)
        if not measure.explains(record, residual):
            continue
        record = record if backward else _rerun(reference, evidence, trial, backward=True)
        share, words = measure.share(record, residual), trial.words
        alike = tuple(site for site in everywhere if _alike(site, trial.sites[0]))
        if share < 1 and len(alike) > len(trial.sites):
            wide = _rerun(reference, evidence, trial._replace(sites=alike), backward=True)
            if (more := measure.share(wide, residual)) > share:
                share = more
                words = f"{words} (in all {len(alike)} calls of {alike[0].function})"
        error = measure.error(measure.first, record)
        cause = Cause(trial.hypothesis.name, trial.sites[0].module, words, error)
        found.append((-share, closeness(error), order, cause))
    return [cause for *_, cause in sorted(found, key=lambda item: item[:3])]


class _Measure:
    """How far a record is from the candidate's."""

    def __init__(self, evidence: Evidence, tolerance: Tolerance) -> None:
        self._evidence = evidence
        self._norm = root_mean_square if evidence.precision == "float64" else maximum
        self._scales = Judge(tolerance).scales(evidence.expected, self._norm)
        self._rows = {Quantity(r.mode, r.kind, r.step, r.name): r for r in evidence.rows}
        rows = list(self._rows)
        first = evidence.first
        self.first = Quantity(first.mode, first.kind, first.step, first.name)
        self._before = rows[: rows.index(self.first)]
        self._different = [
            q for q, row in self._rows.items() if not row.equal and q.kind != "parameter"
        ]

    def error(self, quantity: Quantity, record: Record) -> float:
        """The candidate's error in one tensor, if the record were torch."""
        got, expected = self._evidence.got.get(quantity), record.get(quantity)
        if got is None:
            return math.inf
        if expected is None and quantity.kind != "activation gradient":
            return math.inf
        expected = np.zeros_like(got) if expected is None else expected  # no gradient came here
        return distance(got, expected, self._scales[quantity], self._norm)

    def explains(self, record: Record, residual: float) -> bool:
        """Whether the record has the candidate's first wrong tensor, and all right ones before."""
        return self._near(self.first, record, residual) and all(
            self._near(quantity, record, 0.0) for quantity in self._before if quantity in record
        )

    def share(self, record: Record, residual: float) -> float:
        """The share of the tensors that differ which the record explains."""
        explained = [self._near(quantity, record, residual) for quantity in self._different]
        return sum(explained) / len(explained) if explained else 0.0

    def _near(self, quantity: Quantity, record: Record, residual: float) -> bool:
        row = self._rows[quantity]
        left = residual * row.error if math.isfinite(row.error) else 0.0
        return self.error(quantity, record) <= max(row.budget, left)


def _trials(reference: Live, evidence: Evidence, sites: Sequence[Site]) -> Iterator[Trial]:
    """All rewrites of the given calls, in the order of the hypotheses."""
    wanted = {site.index for site in sites}
    backward = evidence.first.phase == "backward"
    hypotheses = [*BACKWARD, *FORWARD] if backward else FORWARD
    single: list[Trial] = []

    def look(site: Site) -> Rewrite | None:
        return note if site.index in wanted else None

    def note(call: Call) -> Any:
        single.extend(
            Trial((call.site,), hypothesis, words, rewrite)
            for hypothesis in hypotheses
            if call.site.function in hypothesis.functions
            for words, rewrite in _variants(hypothesis, call)
        )
        return call.run()

    reference.again(evidence.index, look)
    ranked = sorted(
        [*single, *_together(single)], key=lambda trial: hypotheses.index(trial.hypothesis)
    )
    yield from ranked[:MOST_TRIALS]


def _variants(hypothesis: Hypothesis, call: Call) -> list[tuple[str, Rewrite]]:
    try:
        return list(hypothesis.variants(call))
    except Exception:
        return []  # a call in a form that the hypothesis does not know


def _together(trials: Sequence[Trial]) -> Iterator[Trial]:
    """The same rewrite of all calls of a function in one module: a habit, not a slip."""
    groups: dict[tuple[str, str, str, str], list[Trial]] = {}
    for trial in trials:
        site = trial.sites[0]
        key = (trial.hypothesis.name, trial.words, site.function, site.module)
        groups.setdefault(key, []).append(trial)
    for group in groups.values():
        if len(group) > 1:
            yield group[0]._replace(sites=tuple(trial.sites[0] for trial in group))


def _rerun(reference: Live, evidence: Evidence, trial: Trial, *, backward: bool) -> Record:
    chosen = {site.index for site in trial.sites}

    def rewrites(site: Site) -> Rewrite | None:
        return trial.rewrite if site.index in chosen else None

    try:
        with warnings.catch_warnings(action="ignore"):  # what a wrong call makes torch say
            return reference.again(evidence.index, rewrites, backward=backward).record
    except Exception:
        return {}  # a hypothesis that does not even run explains nothing


def _alike(site: Site, other: Site) -> bool:
    return (site.function, site.phase) == (other.function, other.phase)
