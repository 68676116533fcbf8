"""The difference between two tensors, and whether it is allowed."""

import math
from collections.abc import Callable

import numpy as np

from fdl.parity._record import Quantity, Record
from fdl.parity.report import Row
from fdl.parity.tolerance import Tolerance

Norm = Callable[[np.ndarray], float]


def root_mean_square(tensor: np.ndarray) -> float:
    """The norm for meaning: a wrong formula moves many elements, rounding few."""
    return math.sqrt(np.mean(np.square(tensor))) if tensor.size else 0.0


def maximum(tensor: np.ndarray) -> float:
    """The norm for precision: the worst element counts."""
    return float(np.abs(tensor).max(initial=0.0))


class Judge:
    """Judges one run stage by stage, each tensor against torch in float64.

    In float32 a tensor's budget comes from the largest error that torch's own float32 run has
    shown for it so far: errors grow over a trajectory, and a scalar may be right by luck at a step.
    """

    def __init__(self, tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        self._drift: dict[tuple[str, str, str], float] = {}

    def float64(self, oracle: Record, candidate: Record) -> list[Row]:
        """Judges the candidate's meaning."""
        errors = self._errors(candidate, oracle, root_mean_square)
        budget = self.tolerance.float64
        rows = [
            _row("float64", quantity, oracle, candidate, (errors[quantity], None, budget))
            for quantity in oracle
        ]
        return rows + _surplus("float64", oracle, candidate)

    def float32(self, oracle: Record, reference: Record, candidate: Record) -> list[Row]:
        """Judges the candidate's precision against that of `reference`, torch in float32."""
        errors = self._errors(candidate, oracle, maximum)
        rows = []
        for quantity, own in self._errors(reference, oracle, maximum).items():
            key = (quantity.mode, quantity.kind, quantity.name)
            self._drift[key] = drift = max(own, self._drift.get(key, 0.0))
            budget = self.tolerance.float32(quantity.kind, drift)
            judged = (errors[quantity], drift, budget)
            rows.append(_row("float32", quantity, oracle, candidate, judged))
        return rows + _surplus("float32", oracle, candidate)

    def _errors(self, run: Record, oracle: Record, norm: Norm) -> dict[Quantity, float]:
        """The error of every tensor, relative to its size or, above that, its kind's noise."""
        sizes = {q: norm(_finite(tensor)) for q, tensor in oracle.items()}
        largest: dict[str, float] = {}
        for quantity, size in sizes.items():
            largest[quantity.kind] = max(size, largest.get(quantity.kind, 0.0))
        noise = self.tolerance.noise
        scales = {q: max(size, noise * largest[q.kind]) for q, size in sizes.items()}
        return {q: distance(run.get(q), oracle[q], scales[q], norm) for q in oracle}


def distance(tensor: np.ndarray | None, oracle: np.ndarray, scale: float, norm: Norm) -> float:
    """Returns ``norm(tensor - oracle) / scale``.

    It is infinite where the tensor is missing, or shapes or the places of NaN and infinities
    differ.

    Args:
        tensor: of any float or integer dtype.
        oracle: what it should be.
        scale: the size that counts as 1; where it is 0, only equality is near.
        norm: the size of a tensor.
    """
    if tensor is None or tensor.shape != oracle.shape:
        return math.inf
    regular = np.isfinite(oracle)
    same_specials = np.array_equal(tensor[~regular], oracle[~regular], equal_nan=True)
    if not same_specials or not np.isfinite(tensor[regular]).all():
        return math.inf
    error = norm(tensor[regular].astype(np.float64) - oracle[regular].astype(np.float64))
    if error == 0.0:
        return 0.0
    return error / scale if scale > 0 else math.inf


def _row(
    precision: str,
    quantity: Quantity,
    oracle: Record,
    candidate: Record,
    judged: tuple[float, float | None, float],
) -> Row:
    """One row; `judged` is error, torch's own error, and budget, which is 0 for integers."""
    expected, got = oracle[quantity], candidate.get(quantity)
    error, own, budget = judged
    note = ""
    if got is None:
        note = "the candidate has none"
    elif got.shape != expected.shape:
        note = f"shape {got.shape}, expected {expected.shape}"
    return Row(precision, *quantity, error, own, budget if _is_float(expected) else 0.0, note)


def _surplus(precision: str, oracle: Record, candidate: Record) -> list[Row]:
    """Rows for what the candidate computes and the reference does not."""
    note = "the reference has none"
    extra = (quantity for quantity in candidate if quantity not in oracle)
    return [Row(precision, *quantity, math.inf, None, 0.0, note) for quantity in extra]


def _finite(tensor: np.ndarray) -> np.ndarray:
    return tensor[np.isfinite(tensor)].astype(np.float64)


def _is_float(tensor: np.ndarray) -> bool:
    return np.issubdtype(tensor.dtype, np.floating)
