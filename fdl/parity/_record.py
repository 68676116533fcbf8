"""What both sides record, in the same order and under the same names."""

import io
import json
import shutil
import weakref
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple

import jax
import numpy as np

from fdl._taps import GIVEN

ROOT = ""
"""The name of the whole network among its modules."""


ROOM = 2**29
"""Bytes of records that a comparison keeps in memory."""


class Quantity(NamedTuple):
    """One tensor of a run.

    Attributes:
        mode: ``"eval"`` or ``"train"``.
        kind: one of :data:`fdl.parity.report.PHASES`: ``"activation"``, ``"gradient"``, ...
        step: 0 before training, t in and after the t-th training step.
        name: which one of its kind. An activation is named by its module, with ``#k`` for the k-th
            call and ``:leaf`` for one tensor of many.
    """

    mode: str
    kind: str
    step: int
    name: str


Record = dict[Quantity, np.ndarray]
"""Tensors in the order in which a run computes them."""

Batch = Sequence[Any]
"""``(*inputs, target)``: arrays, or anything that NumPy takes."""


INSIDE = frozenset({"module input", "activation", "activation gradient"})
"""Kinds that are about the inside of a network, which a candidate need not show."""


class Store:
    """Records in a zip file, so that a long run of a large network need not fit into memory.

    Args:
        path: of the file.
        room: bytes of records that stay in memory instead, the first ones. 0 for a file to keep.
    """

    def __init__(self, path: Path, room: int = 0) -> None:
        self.path = path
        self._kept: dict[str, Record] = {}
        self._room = room

    def write(self, name: str, record: Record) -> None:
        """Appends one stage."""
        size = sum(array.nbytes for array in record.values())
        if size < self._room:
            self._kept[name] = record
            self._room -= size
            return
        with zipfile.ZipFile(self.path, "a", allowZip64=True) as file:
            file.writestr(f"{name}.json", json.dumps(list(record)))
            for index, array in enumerate(record.values()):
                with file.open(f"{name}/{index}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)

    def read(self, name: str, *, inside: bool = True) -> Record:
        """Returns a stage, with what is inside the network or without.

        Raises:
            KeyError: if there is none of that name.
        """
        if name in self._kept:
            return self._kept[name]
        with zipfile.ZipFile(self.path) as file:
            quantities = [Quantity(*entry) for entry in json.loads(file.read(f"{name}.json"))]
            return {
                quantity: _loaded(file, f"{name}/{index}.npy")
                for index, quantity in enumerate(quantities)
                if inside or quantity.kind not in INSIDE
            }

    def write_note(self, name: str, value: Any) -> None:
        """Adds a JSON value."""
        with zipfile.ZipFile(self.path, "a", allowZip64=True) as file:
            file.writestr(f"{name}.json", json.dumps(value))

    def read_note(self, name: str) -> Any:
        """Returns a JSON value."""
        with zipfile.ZipFile(self.path) as file:
            return json.loads(file.read(f"{name}.json"))


class Shelf:
    """Records of one run in the order of its steps, the later ones on disk if they are large."""

    def __init__(self, first: Record, room: int = ROOM) -> None:
        folder = mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._store = Store(Path(folder, "records"), room)
        self._length = 0
        self.append(first)

    def append(self, record: Record) -> None:
        """Adds the record of a further step."""
        self._store.write(str(self._length), record)
        self._length += 1

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Record]:
        return (self._store.read(str(index)) for index in range(self._length))


def _loaded(file: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.load(io.BytesIO(file.read(name)), allow_pickle=False)


def leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yields ``(path, tensor)`` of tuples, lists and mappings of tensors, whatever the framework.

    Named tuples count as tuples, torch's output classes as mappings; None is nothing.
    """
    if tree is None:
        return
    if isinstance(tree, Mapping):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, tuple | list):
        items = [(str(index), value) for index, value in enumerate(tree)]
    elif hasattr(tree, "shape"):
        yield "", tree
        return
    else:
        flat, _ = jax.tree_util.tree_flatten_with_path(tree)
        yield from (
            (jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in flat
        )
        return
    for key, value in items:
        for path, leaf in leaves(value):
            yield f"{key}.{path}".rstrip("."), leaf


def activation_name(call: str, leaf: str) -> str:
    """The name of one tensor that a call of a module returned."""
    return f"{call}:{leaf}" if leaf else call


def module_of(name: str) -> str:
    """The module whose activation has this name."""
    return name.partition(":")[0].partition("#")[0]


def input_name(call: str, leaf: str) -> str:
    """The name of one tensor that a call of a module was given."""
    return f"{GIVEN}{activation_name(call, leaf)}"


def owner_of(key: str) -> str:
    """The module that has this parameter or buffer."""
    return key.rpartition(".")[0]


def cast(batch: Batch, dtype: str) -> list[np.ndarray]:
    """Arrays of a batch, floats in the given dtype and integers in torch's."""
    return [cast_array(np.asarray(array), dtype) for array in batch]


def cast_array(array: np.ndarray, dtype: str) -> np.ndarray:
    """An array, a float in the given dtype, an integer in torch's, a boolean as it is."""
    if array.dtype == bool:
        return array
    return array.astype(dtype if np.issubdtype(array.dtype, np.floating) else np.int64)


def nudged(array: np.ndarray, generator: np.random.Generator, units: int = 1) -> np.ndarray:
    """Moves each float by at most some units in its last place; zeros and integers stay."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    ulps = generator.integers(-units, units + 1, array.shape).astype(array.dtype)
    return np.where(array == 0, array, array + ulps * np.spacing(array))
