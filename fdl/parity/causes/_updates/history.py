"""What the candidate did with one parameter, and what torch's optimizer had been told."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from fdl.parity._record import Record
from fdl.parity.causes._updates.rule import Options, Rule, trajectory
from fdl.parity.judge import root_mean_square

CLIP_EPSILON = 1e-6
"""What torch adds to the norm when it clips."""


class History(NamedTuple):
    """One parameter's way under the candidate.

    Attributes:
        start: the parameter before the first step.
        gradients: the candidate's own, of every step.
        got: the parameter after every step.
        given: torch's options of every step.
        future: torch's rates, one more than steps.
        rates: those to recompute with; torch's, unless a hypothesis says otherwise.
        clips: the factor of every step's gradient.
        most: the norm that torch clips to, infinite if it does not.
        norms: of all of the candidate's gradients.
        every: an update is made of the gradients of so many steps.
        mean: of their mean instead of their sum.
        low: the sum so far is kept in float32.
        skipped: torch leaves the parameter alone.
    """

    start: np.ndarray
    gradients: list[np.ndarray]
    got: list[np.ndarray]
    given: list[Options]
    future: list[float]
    rates: list[float]
    clips: list[float]
    most: float
    norms: list[float]
    every: int
    mean: bool
    low: bool
    skipped: bool

    def updates(self) -> list[np.ndarray | None]:
        """The gradients that updates are made of, clipped; None where there is no update."""
        given = [g * c for g, c in zip(self.gradients, self.clips, strict=True)]
        if self.every == 1:
            return [*given]
        made: list[np.ndarray | None] = []
        total = np.zeros_like(self.start, np.float64)
        for step, gradient in enumerate(given, start=1):
            total = total + gradient
            if step % self.every:
                made.append(None)
                total = total.astype(np.float32).astype(np.float64) if self.low else total
            else:
                made.append(total / self.every if self.mean else total)
                total = np.zeros_like(total)
        return made

    def error(self, rule: Rule, most: float = math.inf) -> float:
        """How far the rule's parameters are from the candidate's, at the worst step.

        It is infinite if that is more than `most`.
        """
        if self.skipped:
            path = iter([self.start] * len(self.got))
        else:
            path = trajectory(rule, self.start, self.updates(), self.rates, self.given)
        worst = 0.0
        for ours, theirs in zip(path, self.got, strict=True):
            size = max(root_mean_square(theirs), np.finfo(float).tiny)
            with np.errstate(all="ignore"):  # a wrong rule may leave every bound
                error = root_mean_square(ours - theirs) / size
            if not error <= most:
                return math.inf
            worst = max(worst, error)
        return worst


def history(records: Iterable[Record], key: str, options: dict[str, Any], group: int) -> History:
    """The history of a parameter as torch's group would have it.

    Args:
        records: of the candidate: the start, then every step.
        key: of the parameter.
        options: what torch's optimizer did, by step.
        group: torch's.
    """
    start, *tensors = (
        {(q.kind, q.name): array for q, array in record.items() if q.name in (key, "")}
        for record in records
    )
    given = [groups[group] for groups in options["groups"]]
    rates = [float(step["lr"]) for step in given]
    norms = [float(step["norm", ""]) for step in tensors]
    most = _clipped_to(options["clips"], norms)
    return History(
        start=start["parameter", key],
        gradients=[step["gradient", key] for step in tensors],
        got=[step["parameter", key] for step in tensors],
        given=given[: len(tensors)],
        future=rates,
        rates=rates[: len(tensors)],
        clips=_factors(options, most, norms),
        most=most,
        norms=norms,
        every=options["every"],
        mean=False,
        low=False,
        skipped=key in options["unused"],
    )


def _factors(options: dict[str, Any], most: float, norms: list[float]) -> list[float]:
    """How much every step's gradient is clipped; sums of several steps as torch clipped its own."""
    every = options["every"]
    if every == 1:
        return [min(1.0, most / (norm + CLIP_EPSILON)) for norm in norms]
    factors = [factor for factor in options["clips"] for _ in range(every)]
    return [*factors, *[1.0] * len(norms)][: len(norms)]


def _clipped_to(clips: list[float], norms: list[float]) -> float:
    """The largest norm that torch left, from the first step, where the candidate's is torch's."""
    first = next((index for index, factor in enumerate(clips) if factor != 1), None)
    if first is None:
        return math.inf
    return clips[first] * (norms[first] + CLIP_EPSILON)
