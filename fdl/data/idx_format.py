"""The IDX file format, in which MNIST and Fashion-MNIST are published."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

DTYPES = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MOST_DIMENSIONS = 64  # of a NumPy array


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads one IDX file.

    The file is ``0 0 dtype ndim``, one byte each, then `ndim` lengths as big-endian uint32, then
    the values, big-endian, the last axis fastest.

    Args:
        path: the file; it is decompressed if its name ends in ``.gz``.

    Returns:
        The array in the file's shape and dtype, in this machine's byte order, writable.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if any byte is not as the format says, or bytes are missing or left over.

    Example:
        >>> import pathlib, tempfile, fdl
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     fdl.data.read_idx(path).tolist()
        [7, 2, 1]

    Torch: ``torchvision.datasets.mnist.read_sn3_pascalvincent_tensor``, but strict.
    """
    path = Path(path)
    data = _content(path)
    dtype, shape = _header(path, data)
    start = 4 + 4 * len(shape)
    expected = math.prod(shape) * dtype.itemsize
    got = len(data) - start
    if got != expected:
        fault = "cut short" if got < expected else "too long"
        raise ValueError(
            f"read_idx: {str(path)!r}: expected {expected} bytes of values, as shape {shape} of "
            f"{dtype.name} asks, got {got}. The file is {fault}: fetch it again."
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(
            f"read_idx: path: expected an IDX file, found none at {str(path)!r}."
        )
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"read_idx: {str(path)!r}: expected a whole gzip file, as its name says, got: {error}. "
            "Fetch it again, or drop .gz from its name if it is not compressed."
        ) from error


def _header(path: Path, data: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    if len(data) < 4 or data[:2] != b"\0\0":
        compressed = data[:2] == b"\x1f\x8b"
        raise ValueError(
            f"read_idx: {str(path)!r}: expected an IDX file, which starts with two zero bytes, a "
            f"dtype and a number of dimensions, got {data[:4]!r}. "
            + ("It is compressed: add .gz to its name." if compressed else "Is it another format?")
        )
    code, ndim = data[2], data[3]
    if code not in DTYPES:
        allowed = ", ".join(f"0x{known:02x} {dtype.name}" for known, dtype in DTYPES.items())
        raise ValueError(
            f"read_idx: {str(path)!r}: dtype, the third byte: expected one of {allowed}, got "
            f"0x{code:02x}. Is it another format?"
        )
    if not 1 <= ndim <= MOST_DIMENSIONS:
        raise ValueError(
            f"read_idx: {str(path)!r}: number of dimensions, the fourth byte: expected 1 to "
            f"{MOST_DIMENSIONS}, got {ndim}. Is it another format?"
        )
    if len(data) < 4 + 4 * ndim:
        raise ValueError(
            f"read_idx: {str(path)!r}: expected the lengths of {ndim} dimensions in "
            f"{4 * ndim} bytes, got {len(data) - 4}. The file is cut short: fetch it again."
        )
    shape = np.frombuffer(data, ">u4", count=ndim, offset=4)
    return DTYPES[code], tuple(shape.tolist())
