"""A tensor and its error as small pictures."""

import numpy as np

from fdl.parity._record import Quantity
from fdl.parity._run import Evidence
from fdl.parity.report import Heat

CELLS = 64


def heat(evidence: Evidence) -> Heat | None:
    """The tensor of the first divergence: expected, got, and where they differ most."""
    row = evidence.first
    quantity = Quantity(row.mode, row.kind, row.step, row.name)
    expected, got = evidence.expected.get(quantity), evidence.got.get(quantity)
    if expected is None or got is None or expected.shape != got.shape or not expected.size:
        return None
    error = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    maps = [flat(tensor.astype(np.float64)) for tensor in (expected, got, error)]
    note = "means over the leading axes" if expected.ndim > 2 else ""
    if max(maps[0].shape) > CELLS:
        note = f"{note}, in blocks; the error is the largest of each".lstrip(", ")
    pooled = [_blocks(maps[0], np.mean), _blocks(maps[1], np.mean), _blocks(maps[2], np.max)]
    return Heat(row.name, row.kind, expected.shape, note, *pooled)


def flat(tensor: np.ndarray) -> np.ndarray:
    """A tensor as a matrix: the last two axes, the mean over the others; a vector as a row."""
    if tensor.ndim > 2:
        return tensor.reshape(-1, *tensor.shape[-2:]).mean(0)
    return tensor.reshape(1, -1) if tensor.ndim < 2 else tensor


def _blocks(matrix: np.ndarray, pool) -> np.ndarray:
    """At most CELLS x CELLS blocks."""
    for axis in (0, 1):
        parts = np.array_split(matrix, min(matrix.shape[axis], CELLS), axis)
        matrix = np.concatenate([pool(part, axis=axis, keepdims=True) for part in parts], axis)
    return matrix
