"""Datasets, splits and batches, in NumPy: pixels from 0 to 1 as float32, classes as int32.

Words are int32 ids; word vectors are compared in JAX.
"""

from fdl.data.batches import batches, num_batches, windows
from fdl.data.datasets import Dataset, digits, idx, mnist
from fdl.data.idx_format import read_idx
from fdl.data.splits import Splits, split
from fdl.data.text import (
    Vocabulary,
    cbow_pairs,
    cooccurrences,
    negative_probabilities,
    skip_gram_pairs,
    tokenize,
    vocabulary,
)
from fdl.data.word_vector_format import load_word_vectors, save_word_vectors
from fdl.data.word_vectors import WordVectors, analogy, nearest, similarity

__all__ = [
    "Dataset",
    "Splits",
    "Vocabulary",
    "WordVectors",
    "analogy",
    "batches",
    "cbow_pairs",
    "cooccurrences",
    "digits",
    "idx",
    "load_word_vectors",
    "mnist",
    "nearest",
    "negative_probabilities",
    "num_batches",
    "read_idx",
    "save_word_vectors",
    "similarity",
    "skip_gram_pairs",
    "split",
    "tokenize",
    "vocabulary",
    "windows",
]
