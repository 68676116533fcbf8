"""Tensors by name from the files in which weights are published."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from fdl._checks import require
from fdl.interop.tensors import to_numpy

Arrays = dict[str, np.ndarray]

NESTED = ("state_dict", "model_state_dict", "model_state", "model")
"""Keys under which training scripts keep the ``state_dict``, beside epoch and optimizer."""

PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".tar")
"""Suffixes of what ``torch.save`` wrote."""

SHARDED = ".safetensors.index.json"


def read_checkpoint(path: str | os.PathLike[str]) -> Arrays:
    """Reads the tensors of a weight file, by the names that they have in it.

    Args:
        path: what ``torch.save`` wrote (``.pt``, ``.pth``, ``.bin``, ``.ckpt``, ``.tar``), a
            ``.safetensors`` file, or the ``.safetensors.index.json`` of one in several parts. Of a
            training script's checkpoint, the dict under ``state_dict``, ``model_state_dict``,
            ``model_state`` or ``model`` is taken, the first there is.

    Returns:
        Name to array, in the dtype of the file.

    Raises:
        FileNotFoundError: if there is no such file, or a part is missing.
        ValueError: if the suffix is none of these, the file is broken, or it holds no tensors by
            name. Pickled objects are not loaded: they may run any code.
        ImportError: for torch's formats without torch.

    Torch: ``torch.load(path, weights_only=True)``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of weights, found none there.")
    if path.name.endswith(SHARDED):
        return dict(_parts(path))
    if path.suffix == ".safetensors":
        return _safetensors(path)
    if path.suffix in PICKLED:
        return _pickled(path)
    raise ValueError(
        f"{path}: expected a suffix of {', '.join(PICKLED)}, .safetensors or {SHARDED}, got "
        f"{path.suffix or 'none'!r}. Rename the file, or load it yourself and pass its tensors to "
        "fdl.interop.from_torch."
    )


def _safetensors(path: Path) -> Arrays:
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, AttributeError) as error:  # the latter for dtypes NumPy does not know
        raise ValueError(f"{path}: expected a whole safetensors file, got: {error}.") from error


def _parts(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of all files that an index names."""
    try:
        files = json.loads(path.read_text())["weight_map"].values()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected an index with a weight_map from names to files, got: {error!r}."
        ) from error
    for file in sorted(set(files)):
        part = path.with_name(file)
        if not part.is_file():
            raise FileNotFoundError(f"{path}: expected its part {file!r} beside it, found none.")
        yield from _safetensors(part).items()


def _pickled(path: Path) -> Arrays:
    torch = require("torch", extra="torch", purpose=f"reading {path.name}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes raise whatever they lead torch's reader to
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path}: expected tensors written by torch.save, got {type(error).__name__}: {reason} "
            "A file with other objects in it, as of torch.save(module, ...), is converted where "
            "its code is trusted: torch.save(module.state_dict(), path)."
        ) from error
    tensors = _state_dict(path, found, torch.Tensor)
    return {name: to_numpy(tensor) for name, tensor in tensors.items()}


def _state_dict(path: Path, found: Any, kind: type) -> Mapping[str, Any]:
    """The mapping from names to tensors that is in a checkpoint, or one level below."""
    inner = [found.get(key) for key in NESTED] if isinstance(found, Mapping) else []
    for candidate in (found, *inner):
        if isinstance(candidate, Mapping) and candidate:
            others = [name for name, value in candidate.items() if not isinstance(value, kind)]
            if not others:
                return candidate
    keys = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
    raise ValueError(
        f"{path}: expected a state_dict, or one under {', '.join(map(repr, NESTED))}, got {keys}. "
        "Load it with torch.load, and pass what holds the tensors to fdl.interop.from_torch."
    )
