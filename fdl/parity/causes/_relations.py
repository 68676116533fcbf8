"""What two tensors themselves say: a factor, a sign, another order, fewer bits."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import permutations

import ml_dtypes
import numpy as np

from fdl.parity._record import Quantity
from fdl.parity._run import Evidence
from fdl.parity.causes._closeness import EXACT
from fdl.parity.judge import root_mean_square
from fdl.parity.report import Cause

LOWER = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
MOST_AXES = 5

ROUND = 1e-9
"""A number this near to a fraction, or to three digits, is reported as that."""


def related(evidence: Evidence) -> list[Cause]:
    """Relations that hold exactly between the candidate's first wrong tensor and torch's."""
    row = evidence.first
    quantity = Quantity(row.mode, row.kind, row.step, row.name)
    expected, got = evidence.expected.get(quantity), evidence.got.get(quantity)
    if expected is None or got is None:
        return [Cause("missing", row.module, row.note, math.inf)]
    if expected.shape != got.shape:
        return [Cause("shape", row.module, row.note, math.inf)]
    if not expected.size or not np.isfinite(expected).all():
        return []
    expected, got = expected.astype(np.float64), got.astype(np.float64)
    rounded = partial(_rounded, precision=evidence.precision)
    looks = (_vanished, _ordered, _scaled, _shifted, rounded)
    return [
        Cause(name, row.module, words, error)
        for look in (looks if np.isfinite(got).all() else (_specials,))
        for name, words, error in look(expected, got)
    ]


Found = Iterator[tuple[str, str, float]]


def _specials(expected: np.ndarray, got: np.ndarray) -> Found:
    count = int(np.isnan(got).sum() - np.isnan(expected).sum())
    if count > 0:
        yield "not a number", f"{count} of {got.size} elements are NaN", math.inf
    infinite = int(np.isinf(got).sum() - np.isinf(expected).sum())
    if infinite > 0:
        yield "infinite", f"{infinite} of {got.size} elements are infinite", math.inf


def _vanished(expected: np.ndarray, got: np.ndarray) -> Found:
    if not got.any() and expected.any():
        yield "zero", "all elements are 0: nothing flows here", 0.0


def _ordered(expected: np.ndarray, got: np.ndarray) -> Found:
    """Axes exchanged or mirrored, blocks of rows in another order."""
    close = partial(_matched, expected, got)
    if expected.ndim <= MOST_AXES:
        for order in permutations(range(expected.ndim)):
            turned = expected.transpose(order)
            if order != tuple(range(expected.ndim)) and turned.shape == got.shape:
                word = "transposed" if expected.ndim == 2 else f"axes in the order {order}"
                yield from close("transposed weight", word, turned)
            elif turned.shape != got.shape and expected.size == got.size:
                words = f"a reshape of axes in the order {order}"
                yield from close("permuted weight", words, turned.reshape(got.shape))
    for axis in range(expected.ndim):
        yield from close("mirrored", f"axis {axis} runs backwards", np.flip(expected, axis))
    yield from _gates(expected, got)


def _gates(expected: np.ndarray, got: np.ndarray) -> Found:
    for gates, letters in ((4, "ifgo"), (3, "rzn")):
        if expected.shape and len(expected) % gates == 0 and len(expected) > gates:
            blocks = np.split(expected, gates)
            for order in permutations(range(gates)):
                if order != tuple(range(gates)):
                    spelled = ",".join(letters[gate] for gate in order)
                    words = f"gates {spelled} instead of {','.join(letters)}"
                    joined = np.concatenate([blocks[gate] for gate in order])
                    yield from _matched(expected, got, "gate order", words, joined)


def _scaled(expected: np.ndarray, got: np.ndarray) -> Found:
    with np.errstate(all="ignore"):
        factor = float((got * expected).sum() / np.square(expected).sum())
    telling = got.size > 1 or "/" in _plain(factor) or "." not in _plain(factor)
    if math.isfinite(factor) and factor not in (0.0, 1.0) and telling:
        name = "sign" if math.isclose(factor, -1.0) else "factor"
        words = f"it is {_plain(factor)} times torch's"
        yield from _matched(expected, got, name, words, factor * expected)


def _shifted(expected: np.ndarray, got: np.ndarray) -> Found:
    shift = float((got - expected).mean())
    if got.size > 1 or math.isclose(shift, float(f"{shift:.3g}"), rel_tol=ROUND):
        words = f"it is torch's plus {shift:.6g}"
        yield from _matched(expected, got, "offset", words, expected + shift)


def _rounded(expected: np.ndarray, got: np.ndarray, *, precision: str) -> Found:
    """Values that all fit into a smaller dtype than they have were computed or stored in it."""
    lower = {name: dtype for name, dtype in LOWER.items() if name != precision}
    for name, dtype in reversed(lower.items()):
        with np.errstate(over="ignore"):
            fits = bool((got.astype(dtype).astype(np.float64) == got).all())
        near = root_mean_square(got - expected) <= 1e-1 * root_mean_square(expected)
        if fits and near and got.size > 1:
            words = f"every value is one of {name}: a cast or a constant of fixed dtype"
            yield "rounding", words, float(ml_dtypes.finfo(dtype).eps)
            return


def _matched(
    expected: np.ndarray, got: np.ndarray, name: str, words: str, tried: np.ndarray
) -> Found:
    """The relation, if it takes the difference away."""
    left, difference = (root_mean_square(got - other) for other in (tried, expected))
    if left <= EXACT * difference:
        yield name, words, left / (root_mean_square(expected) or 1.0)


def _plain(factor: float) -> str:
    """A factor as a fraction where it is one of small numbers."""
    for denominator in range(1, 257):
        numerator = factor * denominator
        if abs(numerator) < 1e4 and math.isclose(numerator, round(numerator), rel_tol=ROUND):
            whole = f"{round(numerator)}"
            return whole if denominator == 1 else f"{whole}/{denominator}"
    return f"{factor:.6g}"
