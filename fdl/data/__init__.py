"""Datasets, splits and batches, in NumPy: pixels from 0 to 1 as float32, classes as int32."""

from fdl.data.batches import batches, num_batches, windows
from fdl.data.datasets import Dataset, digits, idx, mnist
from fdl.data.idx_format import read_idx
from fdl.data.splits import Splits, split

__all__ = [
    "Dataset",
    "Splits",
    "batches",
    "digits",
    "idx",
    "mnist",
    "num_batches",
    "read_idx",
    "split",
    "windows",
]
