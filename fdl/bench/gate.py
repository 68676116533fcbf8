"""Equality before speed: a variant is timed only if it computes what torch computes in float64."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fdl.bench.timing import Candidate
from fdl.bench.workloads import Workload
from fdl.parity import TOLERANCE

CHECKED_CALLS = 3
QUANTITY = {"training": "loss", "inference": "output"}


class Verdict(NamedTuple):
    """How near a variant is to torch in float64.

    Attributes:
        error: ``max|x - x64| / max|x64|`` over the results of the first calls.
        budget: the largest allowed error, from torch's own in float32.
    """

    error: float
    budget: float


class Gate:
    """Runs torch in float64 and in float32 once, and judges variants against both."""

    def __init__(self, workload: Workload, phase: str) -> None:
        from fdl.bench import _torch_variants  # needs torch

        make = {"training": _torch_variants.training, "inference": _torch_variants.inference}[phase]
        self.place = f"{workload.name}, {phase}"
        self.quantity = QUANTITY[phase]
        self.exact = _first(make(workload, workload.module().double(), compiled=False))
        single = _first(make(workload, workload.module(), compiled=False))
        self.budget = TOLERANCE.float32(self._error(single))

    def check(self, variant: str, results: Sequence[Any]) -> Verdict:
        """Judges the results of a variant's first calls, in order.

        Args:
            variant: how an error calls it.
            results: of the first :data:`CHECKED_CALLS` calls.

        Raises:
            ValueError: if they are not within budget.
        """
        error = self._error(stacked(results))
        if not error <= self.budget:
            raise ValueError(
                f"{self.place}: {variant}: expected the {self.quantity} of the first "
                f"{CHECKED_CALLS} calls within {self.budget:.1e} of torch in float64, got an error "
                f"of {error:.1e}. It computes something else, so it is not timed; "
                "fdl.parity.compare finds where it differs."
            )
        return Verdict(error, self.budget)

    def _error(self, results: np.ndarray) -> float:
        """``max|x - x64| / max|x64|``, infinite for another shape."""
        if results.shape != self.exact.shape:
            return math.inf
        return float(np.abs(results - self.exact).max() / np.abs(self.exact).max())


def stacked(results: Sequence[Any]) -> np.ndarray:
    """Results of either framework as one array."""
    return np.stack([np.asarray(r.cpu() if hasattr(r, "cpu") else r) for r in results])


def _first(candidate: Candidate) -> np.ndarray:
    return stacked([candidate() for _ in range(CHECKED_CALLS)])
