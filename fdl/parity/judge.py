"""The difference between two tensors, and whether it is allowed."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fdl.parity._masks import fitting
from fdl.parity._record import Quantity, Record, module_of, owner_of
from fdl.parity.report import Row
from fdl.parity.tolerance import Tolerance

Norm = Callable[[np.ndarray], float]

OPTIONAL = frozenset({"activation", "activation gradient"})
"""Kinds that a candidate need not show: a function taps what it likes."""


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
        candidate = aligned(candidate, oracle)
        scales = self.scales(oracle, root_mean_square)
        rows = []
        for quantity in _shown(oracle, candidate):
            pair = (oracle[quantity], candidate.get(quantity))
            error = distance(pair[1], pair[0], scales[quantity], root_mean_square)
            budget = self.tolerance.float64 * (factor := self.tolerance.factor(quantity))
            rows.append(_row("float64", quantity, pair, scales[quantity], error, budget, factor))
        return rows + _surplus("float64", oracle, candidate)

    def float32(self, oracle: Record, reference: Record, candidate: Record) -> list[Row]:
        """Judges the candidate's precision against that of `reference`, torch in float32."""
        candidate = aligned(candidate, oracle)
        scales = self.scales(oracle, maximum)
        rows = []
        for quantity in _shown(oracle, candidate):
            pair = (oracle[quantity], candidate.get(quantity))
            own = distance(reference.get(quantity), pair[0], scales[quantity], maximum)
            key = (quantity.mode, quantity.kind, quantity.name)
            self._drift[key] = drift = max(own, self._drift.get(key, 0.0))
            error = distance(pair[1], pair[0], scales[quantity], maximum)
            budget = self.tolerance.float32(quantity, drift)
            factor = self.tolerance.factor(quantity)
            row = _row("float32", quantity, pair, scales[quantity], error, budget, factor)
            rows.append(row._replace(reference_error=drift))
        return rows + _surplus("float32", oracle, candidate)

    def scales(self, oracle: Record, norm: Norm) -> dict[Quantity, float]:
        """The size of every tensor or, if that is more, the noise of its kind."""
        sizes = {q: norm(_finite(tensor)) for q, tensor in oracle.items()}
        largest: dict[str, float] = {}
        for quantity, size in sizes.items():
            largest[quantity.kind] = max(size, largest.get(quantity.kind, 0.0))
        noise = self.tolerance.noise
        return {q: max(size, noise * largest[q.kind]) for q, size in sizes.items()}


def aligned(candidate: Record, oracle: Record) -> Record:
    """The candidate's record with activations that have channels last in torch's layout."""
    turned = dict(candidate)
    for quantity, tensor in candidate.items():
        expected = oracle.get(quantity)
        if quantity.kind not in OPTIONAL or expected is None or expected.shape == tensor.shape:
            continue
        if (permutation := fitting(expected.shape, tensor.shape)) is not None:
            turned[quantity] = tensor.transpose(np.argsort(permutation))
    return turned


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


class Detail(NamedTuple):
    """Where and how two tensors of one shape differ, element by element."""

    cosine: float | None
    worst_index: tuple[int, ...] | None
    beyond: int


def detail(tensor: np.ndarray | None, oracle: np.ndarray, allowed: float) -> Detail:
    """Compares elements: cosine of the two, the index of the worst, the count beyond `allowed`."""
    if tensor is None or tensor.shape != oracle.shape or not oracle.size:
        return Detail(None, None, oracle.size)
    got, expected = tensor.astype(np.float64).ravel(), oracle.astype(np.float64).ravel()
    with np.errstate(invalid="ignore"):
        difference = np.abs(got - expected)
    difference[(got == expected) | (np.isnan(got) & np.isnan(expected))] = 0.0
    difference[np.isnan(difference)] = math.inf
    worst = np.unravel_index(int(difference.argmax()), oracle.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = math.sqrt(got @ got) * math.sqrt(expected @ expected)
        cosine = float(got @ expected) / lengths if lengths > 0 else None
    if cosine is not None and not math.isfinite(cosine):
        cosine = None
    return Detail(cosine, tuple(map(int, worst)), int((difference > allowed).sum()))


def _shown(oracle: Record, candidate: Record) -> list[Quantity]:
    return [q for q in oracle if q.kind not in OPTIONAL or q in candidate]


def _row(
    precision: str,
    quantity: Quantity,
    pair: tuple[np.ndarray, np.ndarray | None],
    scale: float,
    error: float,
    budget: float,
    factor: float,
) -> Row:
    """One row about (expected, got); the budget of integers is 0."""
    expected, got = pair
    budget = budget if np.issubdtype(expected.dtype, np.floating) else 0.0
    note = ""
    if got is None:
        note = "the candidate has none"
    elif got.shape != expected.shape:
        note = f"shape {got.shape}, expected {expected.shape}"
    return Row(
        precision,
        *quantity,
        module=_module(quantity),
        error=error,
        reference_error=None,
        budget=budget,
        factor=factor,
        **detail(got, expected, budget * scale)._asdict(),
        size=expected.size,
        note=note,
    )


def _surplus(precision: str, oracle: Record, candidate: Record) -> list[Row]:
    """Rows for what the candidate computes and the reference does not."""
    return [
        Row(precision, *q, module=_module(q), error=math.inf, note="the reference has none")
        for q in candidate
        if q not in oracle and q.kind not in OPTIONAL
    ]


def _module(quantity: Quantity) -> str:
    if quantity.kind in OPTIONAL:
        return module_of(quantity.name)
    return owner_of(quantity.name) if quantity.kind in ("gradient", "buffer", "parameter") else ""


def _finite(tensor: np.ndarray) -> np.ndarray:
    return tensor[np.isfinite(tensor)].astype(np.float64)
