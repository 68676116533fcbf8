"""Weights on disk, in the format that torch's world shares."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fdl._files import replacing
from fdl._types import Buffers, Model, Params
from fdl.interop.state_dict import divide
from fdl.interop.tensors import from_numpy


def save_safetensors(
    path: str | os.PathLike[str],
    params: Params,
    buffers: Buffers,
    *,
    like: Model | None = None,
) -> None:
    """Writes parameters and buffers to one file that torch reads as a ``state_dict``.

    The file appears under its name only when it is whole. Integers are written as int64, as torch
    writes them.

    Args:
        path: ends in ``.safetensors`` by custom.
        params: as a model's ``init`` gives them.
        buffers: likewise.
        like: the model that they are of; needed where it ties weights, which torch expects under
            each of their names.

    Raises:
        ValueError: if a name is both a parameter and a buffer.

    Torch: ``safetensors.torch.save_file(module.state_dict(), path)``.
    """
    if both := params.keys() & buffers.keys():
        raise ValueError(
            "save_safetensors: expected each name to be a parameter or a buffer, got both for "
            f"{sorted(both)}."
        )
    arrays = {name: np.asarray(array) for name, array in {**params, **buffers}.items()}
    arrays |= {alias: arrays[name] for alias, name in ({} if like is None else like.tied).items()}
    arrays = {n: a.astype(np.int64) if a.dtype == np.int32 else a for n, a in arrays.items()}
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"format": "pt"})


def load_safetensors(path: str | os.PathLike[str], *, like: Model) -> tuple[Params, Buffers]:
    """Reads parameters and buffers that torch or fdl wrote.

    Args:
        path: a ``.safetensors`` file.
        like: the model that the tensors are for.

    Returns:
        ``(params, buffers)``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not in this format, or any key is missing, unexpected or
            misshapen; the error lists all of them.
        TypeError: for float64 tensors without x64.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"load_safetensors: path: expected a .safetensors file, found none at {str(path)!r}."
        )
    try:
        arrays = load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"load_safetensors: {str(path)!r}: expected the safetensors format, got {error}. A "
            ".pt file of torch's is loaded with torch.load and fdl.interop.from_torch."
        ) from error
    return divide(str(path), {k: from_numpy(k, a) for k, a in arrays.items()}, like)
