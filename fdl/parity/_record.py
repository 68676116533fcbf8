"""What both sides record, in the same order and under the same names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np


class Quantity(NamedTuple):
    """One tensor of a run.

    Attributes:
        mode: ``"eval"`` or ``"train"``.
        kind: ``"output"``, ``"loss"``, ``"gradient"``, ``"input gradient"``, ``"buffer"``,
            ``"parameter"`` or ``"mask"``.
        step: 0 before training, t in and after the t-th training step.
        name: which one of its kind.
    """

    mode: str
    kind: str
    step: int
    name: str


Record = dict[Quantity, np.ndarray]
"""Tensors in the order in which a run computes them."""

Batch = Sequence[Any]
"""``(*inputs, target)``: arrays, or anything that NumPy takes."""


class Recording:
    """Records on disk, so that a long run of a large network need not fit into memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stages: list[list[Quantity]] = []

    def append(self, record: Record) -> None:
        """Writes one more stage."""
        np.savez(self._file(len(self.stages)), *record.values())
        self.stages.append(list(record))

    def __len__(self) -> int:
        return len(self.stages)

    def __iter__(self) -> Iterator[Record]:
        for stage, quantities in enumerate(self.stages):
            with np.load(self._file(stage)) as arrays:
                yield dict(zip(quantities, arrays.values(), strict=True))

    def _file(self, stage: int) -> Path:
        return self.folder / f"{stage}.npz"


def leaves(tree: Any) -> dict[str, Any]:
    """Flattens tuples, lists and dicts of tensors of any framework to ``{path: tensor}``."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in flat}


def recorded(mode: str, step: int, kinds: Mapping[str, Mapping[str, Any]]) -> Record:
    """Builds a record from ``{kind: {name: array}}``."""
    return {
        Quantity(mode, kind, step, name): np.asarray(array)
        for kind, arrays in kinds.items()
        for name, array in arrays.items()
    }


def cast(batch: Batch, dtype: str) -> list[np.ndarray]:
    """Arrays of a batch, floats in the given dtype and integers in torch's."""
    arrays = [np.asarray(array) for array in batch]
    return [a.astype(dtype if np.issubdtype(a.dtype, np.floating) else np.int64) for a in arrays]


def nudged(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Moves each float by at most one unit in its last place, at random; integers stay."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    ulps = generator.integers(-1, 2, array.shape).astype(array.dtype)
    return array + ulps * np.spacing(array)
