"""The difference between two tensors, and whether it is allowed."""

import math

import numpy as np

from fdl.parity._record import Quantity, Record
from fdl.parity.report import Row
from fdl.parity.tolerance import Tolerance


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
        scales = _scales(oracle, self.tolerance.noise)
        return [
            self._row("float64", quantity, oracle, candidate, scales, None) for quantity in oracle
        ]

    def float32(self, oracle: Record, reference: Record, candidate: Record) -> list[Row]:
        """Judges the candidate's precision against that of `reference`, torch in float32."""
        scales = _scales(oracle, self.tolerance.noise)
        rows = []
        for quantity in oracle:
            key = (quantity.mode, quantity.kind, quantity.name)
            own = distance(reference[quantity], oracle[quantity], scales[quantity])
            self._drift[key] = max(own, self._drift.get(key, 0.0))
            rows.append(self._row("float32", quantity, oracle, candidate, scales, self._drift[key]))
        return rows

    def _row(
        self,
        precision: str,
        quantity: Quantity,
        oracle: Record,
        candidate: Record,
        scales: dict[Quantity, float],
        own: float | None,
    ) -> Row:
        expected = oracle[quantity]
        got = candidate.get(quantity)
        if got is None:
            return Row(precision, *quantity, math.inf, own, 0.0, "the candidate has none")
        if not _is_float(expected):
            budget = 0.0
        elif own is None:
            budget = self.tolerance.float64
        else:
            budget = self.tolerance.float32(quantity.kind, own)
        shapes = f"shape {got.shape}, expected {expected.shape}"
        note = "" if got.shape == expected.shape else shapes
        error = distance(got, expected, scales[quantity])
        return Row(precision, *quantity, error, own, budget, note)


def distance(tensor: np.ndarray, oracle: np.ndarray, scale: float) -> float:
    """Returns ``max|tensor - oracle| / scale``.

    It is infinite where the shapes, or the places of NaN and infinities, differ.

    Args:
        tensor: of any float or integer dtype.
        oracle: what it should be.
        scale: the size that counts as 1; where it is 0, only equality is near.
    """
    if tensor.shape != oracle.shape:
        return math.inf
    if not oracle.size:
        return 0.0
    tensor, oracle = tensor.astype(np.float64), oracle.astype(np.float64)
    regular = np.isfinite(oracle)
    if not np.array_equal(tensor[~regular], oracle[~regular], equal_nan=True):
        return math.inf
    if not np.isfinite(tensor[regular]).all():
        return math.inf
    error = np.abs(tensor[regular] - oracle[regular]).max(initial=0.0)
    if error == 0.0:
        return 0.0
    return float(error / scale) if scale > 0 else math.inf


def _scales(oracle: Record, noise: float) -> dict[Quantity, float]:
    """The size of each tensor, or the noise level of its kind where it is below that."""
    sizes = {quantity: _largest(tensor) for quantity, tensor in oracle.items()}
    kinds: dict[tuple[str, str], float] = {}
    for (mode, kind, _, _), size in sizes.items():
        kinds[mode, kind] = max(size, kinds.get((mode, kind), 0.0))
    return {q: max(size, noise * kinds[q.mode, q.kind]) for q, size in sizes.items()}


def _largest(tensor: np.ndarray) -> float:
    if not _is_float(tensor):
        return 0.0  # integers are equal or not
    return float(
        np.abs(tensor, where=np.isfinite(tensor), out=np.zeros(tensor.shape)).max(initial=0)
    )


def _is_float(tensor: np.ndarray) -> bool:
    return np.issubdtype(tensor.dtype, np.floating)
