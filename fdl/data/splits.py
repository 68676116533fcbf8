"""Dividing a dataset into training, validation and test examples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fdl._checks import require
from fdl.data.datasets import Dataset


class Splits(NamedTuple):
    """A dataset in three parts that share no example.

    Attributes:
        train: to learn from.
        validation: to choose by.
        test: to report on.
    """

    train: Dataset
    validation: Dataset
    test: Dataset


def split(dataset: Dataset, *, validation: float = 0.1, test: float = 0.1, seed: int = 0) -> Splits:
    """Divides a dataset at random, with the same share of each class in every part.

    Args:
        dataset: what to divide.
        validation: fraction of the examples for validation, from 0 to below 1.
        test: fraction of the examples for testing, likewise; what neither takes is for training.
        seed: same seed, same split.

    Returns:
        The parts, each shuffled. A part of fraction 0 is empty.

    Raises:
        ValueError: if the fractions leave nothing for training, or a class has too few examples
            to be in every part.
        ImportError: if scikit-learn is not installed.

    Example:
        >>> import fdl
        >>> parts = fdl.data.split(fdl.data.digits(), validation=0.1, test=0.2)
        >>> [len(part.labels) for part in parts]
        [1258, 180, 359]

    Torch: ``torch.utils.data.random_split``, but stratified.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(
            "split: validation, test: expected fractions from 0 that add up to less than 1, got "
            f"{validation} and {test}. What they leave is for training."
        )
    total = len(dataset.labels)
    if total == 0:
        raise ValueError(f"split: dataset: expected examples, got none in {dataset.name!r}.")
    rest, test_rows = _take(dataset, np.arange(total), _size(test, total), seed)
    train_rows, validation_rows = _take(dataset, rest, _size(validation, total), seed)
    return Splits(*(_subset(dataset, rows) for rows in (train_rows, validation_rows, test_rows)))


def _size(fraction: float, total: int) -> int:
    return max(1, round(fraction * total)) if fraction else 0


def _subset(dataset: Dataset, rows: np.ndarray) -> Dataset:
    return dataset._replace(images=dataset.images[rows], labels=dataset.labels[rows])


def _take(dataset: Dataset, rows: np.ndarray, size: int, seed: int) -> Sequence[np.ndarray]:
    """Returns the rows left and the rows taken, shuffled, with every class among both."""
    if size == 0:
        return np.random.default_rng(seed).permutation(rows), rows[:0]
    selection = require("sklearn.model_selection", extra="data", purpose="split")
    labels = dataset.labels[rows]
    classes, counts = np.unique(labels, return_counts=True)
    left = len(rows) - size
    if counts.min() > 1 and min(left, size) >= len(classes):  # else scikit-learn refuses
        parts = selection.train_test_split(rows, test_size=size, stratify=labels, random_state=seed)
        if all(len(np.unique(dataset.labels[part])) == len(classes) for part in parts):
            return parts
    raise ValueError(
        f"split: dataset: expected enough examples to have each of {len(classes)} classes both "
        f"among {left} and among {size}, got {counts.min()} of "
        f"{dataset.classes[classes[counts.argmin()]]!r}. Use larger fractions or more examples, or "
        "leave that class out."
    )
