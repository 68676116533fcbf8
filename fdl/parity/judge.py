"""The difference between two tensors, and whether it is allowed."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fdl._taps import GIVEN
from fdl.parity._masks import fitting
from fdl.parity._record import INSIDE, Quantity, Record, module_of, owner_of
from fdl.parity._roles import COUNTER
from fdl.parity.report import Row
from fdl.parity.tolerance import TOLERANCE, Tolerance

Norm = Callable[[np.ndarray], float]
Errors = Mapping[Quantity, float]


def root_mean_square(tensor: np.ndarray) -> float:
    """The norm for meaning: a wrong formula moves many elements, rounding few."""
    flat = tensor.ravel()
    return math.sqrt(_dot(flat, flat) / flat.size) if flat.size else 0.0


def maximum(tensor: np.ndarray) -> float:
    """The norm for precision: the worst element counts."""
    return float(max(tensor.max(), -tensor.min())) if tensor.size else 0.0


class Judge:
    """Judges one run stage by stage, each tensor against torch in float64.

    In float32 a tensor's budget comes from the largest error that torch's own float32 run has
    shown for it so far: errors grow over a trajectory, and a scalar may be right by luck at a step.

    Args:
        tolerance: what is allowed.
        channels_last: how to take an activation of the candidate whose shape fits both layouts.
    """

    def __init__(self, tolerance: Tolerance, *, channels_last: bool = False) -> None:
        self.tolerance = tolerance
        self.channels_last = channels_last
        self._drift: dict[tuple[str, str, str], float] = {}

    def float64(
        self, oracle: Record, candidate: Record, own: Callable[[], Errors] = dict
    ) -> list[Row]:
        """Judges the candidate's meaning.

        Args:
            oracle: torch in float64.
            candidate: what to judge.
            own: torch's errors in float64 when the parameters are moved by a unit in the last
                place; asked for only if something is beyond its budget.
        """
        candidate = self.aligned(candidate, oracle)
        scales = self.scales(oracle, root_mean_square)
        rows = []
        for quantity in _shown(oracle, candidate):
            budget = self.tolerance.float64 * self.tolerance.factor(quantity)
            got = (candidate.get(quantity), oracle[quantity], scales[quantity], root_mean_square)
            row = self._row("float64", quantity, got, budget, None)
            if not row.equal and row.shaped:
                drift = self._drifted(quantity, own().get(quantity, 0.0))
                needed = max(budget, self.tolerance.multiple * drift * row.factor)
                row = self._row("float64", quantity, got, needed, drift)
            rows.append(row)
        return rows + _surplus("float64", oracle, candidate)

    def float32(
        self,
        oracle: Record,
        reference: Record,
        candidate: Record,
        scales: Errors | None = None,
    ) -> list[Row]:
        """Judges the candidate's precision against that of `reference`, torch in float32.

        Args:
            oracle: torch in float64.
            reference: torch in float32.
            candidate: what to judge.
            scales: of the oracle, if they are known.
        """
        candidate = self.aligned(candidate, oracle)
        scales = self.scales(oracle, maximum) if scales is None else scales
        rows = []
        for quantity in _shown(oracle, candidate):
            expected, scale = oracle[quantity], scales[quantity]
            own = distance(reference.get(quantity), expected, scale, maximum)
            drift = self._drifted(quantity, own)
            budget = self.tolerance.float32(drift) * self.tolerance.factor(quantity)
            got = (candidate.get(quantity), expected, scale, maximum)
            rows.append(self._row("float32", quantity, got, budget, drift))
        return rows + _surplus("float32", oracle, candidate)

    def aligned(self, candidate: Record, oracle: Record) -> Record:
        """The candidate's record with activations that have channels last in torch's layout."""
        turned = dict(candidate)
        for quantity, tensor in candidate.items():
            expected = oracle.get(quantity)
            if quantity.kind not in INSIDE or expected is None:
                continue
            permutation = fitting(expected.shape, tensor.shape, channels_last=self.channels_last)
            if permutation is not None:
                turned[quantity] = tensor.transpose(np.argsort(permutation))
        return turned

    def further(self, oracle: Record, record: Record, other: Record) -> Record:
        """A record, with those tensors of another of the same stage that are further off."""
        one, two = self.aligned(record, oracle), self.aligned(other, oracle)

        def off(tensors: Record, quantity: Quantity) -> float:
            return distance(tensors[quantity], oracle[quantity], 1.0, maximum)

        worse = [q for q in two if q in oracle and off(two, q) > off(one, q)]
        return record | {q: other[q] for q in worse}

    def scales(self, oracle: Record, norm: Norm) -> dict[Quantity, float]:
        """The size of every tensor or, if that is more, the noise of its kind."""
        sizes = {q: _size(tensor, norm) for q, tensor in oracle.items()}
        largest: dict[str, float] = {}
        for quantity, size in sizes.items():
            largest[quantity.kind] = max(size, largest.get(quantity.kind, 0.0))
        noise = self.tolerance.noise
        return {q: max(size, noise * largest[q.kind]) for q, size in sizes.items()}

    def _drifted(self, quantity: Quantity, own: float) -> float:
        """Torch's own largest error in a tensor, up to this step."""
        key = (quantity.mode, quantity.kind, quantity.name)
        self._drift[key] = drift = max(own, self._drift.get(key, 0.0))
        return drift

    def _row(
        self,
        precision: str,
        quantity: Quantity,
        measured: tuple[np.ndarray | None, np.ndarray, float, Norm],
        budget: float,
        drift: float | None,
    ) -> Row:
        """One row; the budget of integers is 0."""
        got, expected, scale, norm = measured
        budget = budget if np.issubdtype(expected.dtype, np.floating) else 0.0
        note = ""
        if got is None:
            note = "the candidate has none"
        elif got.shape != expected.shape:
            note = f"shape {got.shape}, expected {expected.shape}"
        difference = differences(got, expected)
        return Row(
            precision,
            *quantity,
            module=_module(quantity),
            error=_relative(difference, scale, norm),
            reference_error=drift,
            budget=budget,
            factor=self.tolerance.factor(quantity),
            cosine=None if got is None or note else _cosine(got, expected),
            **_elements(difference, expected, budget * scale),
            size=expected.size,
            note=note,
        )


def errors(record: Record, oracle: Record) -> dict[Quantity, float]:
    """The errors in float64 of everything in a record."""
    scales = Judge(TOLERANCE).scales(oracle, root_mean_square)
    return {q: distance(record.get(q), oracle[q], scales[q], root_mean_square) for q in oracle}


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
    return _relative(differences(tensor, oracle), scale, norm)


def differences(tensor: np.ndarray | None, oracle: np.ndarray) -> np.ndarray | None:
    """The absolute difference of each element, None if there is none.

    It is 0 where both are NaN or the same infinity, and infinite where only one is.
    """
    if tensor is None or tensor.shape != oracle.shape:
        return None
    with np.errstate(invalid="ignore"):
        difference = np.atleast_1d(np.subtract(tensor, oracle, dtype=np.float64))
    np.abs(difference, out=difference)
    if not difference.size or math.isfinite(difference.max()):
        return difference
    same = (tensor == oracle) | (np.isnan(tensor) & np.isnan(oracle))
    return np.where(np.isfinite(difference), difference, np.where(same, 0.0, math.inf))


def _relative(difference: np.ndarray | None, scale: float, norm: Norm) -> float:
    if difference is None:
        return math.inf
    most = float(difference.max(initial=0.0))
    if most in (0.0, math.inf):
        return most
    error = most if norm is maximum else norm(difference)
    return error / scale if scale > 0 else math.inf


def _elements(difference: np.ndarray | None, oracle: np.ndarray, allowed: float) -> dict[str, Any]:
    """The index of the worst element, and how many are further off than allowed."""
    if difference is None or not difference.size:
        return {"worst_index": None, "beyond": oracle.size}
    worst = int(difference.argmax())
    beyond = 0
    if difference.flat[worst] > allowed:
        beyond = int(np.count_nonzero(difference > allowed))
    place = tuple(map(int, np.unravel_index(worst, oracle.shape)))
    return {"worst_index": place, "beyond": beyond}


def _cosine(tensor: np.ndarray, oracle: np.ndarray) -> float | None:
    one, other = (x.astype(np.float64, copy=False).ravel() for x in (tensor, oracle))
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = math.sqrt(_dot(one, one)) * math.sqrt(_dot(other, other))
        cosine = _dot(one, other) / lengths if lengths > 0 else math.nan
    return cosine if math.isfinite(cosine) else None


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    """The scalar product, without BLAS: its threads wait 8 ms each time that a core is taken."""
    return float(np.einsum("i,i->", one, other))


def _size(tensor: np.ndarray, norm: Norm) -> float:
    """The norm of the finite elements."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = norm(tensor.astype(np.float64, copy=False))
    return size if math.isfinite(size) else norm(tensor[np.isfinite(tensor)].astype(np.float64))


def _shown(oracle: Record, candidate: Record) -> list[Quantity]:
    """What is compared: a candidate need not tap everything, nor count its batches."""
    return [
        q for q in oracle if q in candidate or not (q.kind in INSIDE or q.name.endswith(COUNTER))
    ]


def _surplus(precision: str, oracle: Record, candidate: Record) -> list[Row]:
    """Rows for what the candidate computes and the reference does not."""
    return [
        Row(precision, *q, module=_module(q), error=math.inf, note="the reference has none")
        for q in candidate
        if q not in oracle and q.kind not in INSIDE
    ]


def _module(quantity: Quantity) -> str:
    if quantity.kind in INSIDE:
        return module_of(quantity.name.removeprefix(GIVEN))
    return owner_of(quantity.name) if quantity.kind in ("gradient", "buffer", "parameter") else ""
