"""From text to the numbers that word vectors are learnt from."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Vocabulary(NamedTuple):
    """Words by id, the most frequent first.

    Attributes:
        words: the word of each id.
        counts: how often each occurs in the text.
    """

    words: tuple[str, ...]
    counts: Int[np.ndarray, " V"]

    def encode(self, tokens: Sequence[str]) -> Int[np.ndarray, " T"]:
        """The ids of words, those outside the vocabulary left out, as word2vec does."""
        ids = {word: i for i, word in enumerate(self.words)}
        return np.array([ids[token] for token in tokens if token in ids], np.int32)


def tokenize(text: str) -> list[str]:
    """Cuts a text into words: runs of letters in lower case, apostrophes inside them kept.

    Args:
        text: in any language that puts spaces or punctuation between words.

    Returns:
        The words in order.

    Example:
        >>> import fdl
        >>> fdl.data.tokenize("It's 5 o'clock: tea, 'Madam'?")
        ["it's", "o'clock", 'tea', 'madam']
    """
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*", text.lower())


def vocabulary(tokens: Sequence[str], *, min_count: int = 1) -> Vocabulary:
    """Counts words.

    Args:
        tokens: the words of a text.
        min_count: words that occur less often are left out.

    Returns:
        The words, the most frequent first; of equally frequent ones the one that came first.

    Raises:
        ValueError: if no word occurs `min_count` times.

    Example:
        >>> import fdl
        >>> fdl.data.vocabulary(["to", "be", "or", "not", "to", "be"], min_count=2).words
        ('to', 'be')
    """
    counted = [(word, n) for word, n in Counter(tokens).most_common() if n >= min_count]
    if not counted:
        raise ValueError(
            f"vocabulary: tokens: expected a word that occurs min_count = {min_count} times or "
            f"more, got none in {len(tokens)} words. Use a longer text or a smaller min_count."
        )
    words, counts = zip(*counted, strict=True)
    return Vocabulary(words, np.array(counts, np.int64))


def skip_gram_pairs(
    ids: Int[np.ndarray, " T"], window: int
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    """Pairs each word of a text with each of its neighbours.

    Args:
        ids: the words of the text in order.
        window: how many words before and after a word are its neighbours.

    Returns:
        Words and neighbours, ``N = window * (2 T - window - 1)`` where T is above `window`.

    Raises:
        ValueError: if `window` is below 1.

    Example:
        >>> import fdl, numpy as np
        >>> words, neighbours = fdl.data.skip_gram_pairs(np.array([7, 8, 9]), 1)
        >>> [*zip(words.tolist(), neighbours.tolist())]
        [(7, 8), (8, 9), (8, 7), (9, 8)]
    """
    pairs = _pairs("skip_gram_pairs", ids, window)
    left = np.concatenate([first for _, first, _ in pairs])
    right = np.concatenate([second for _, _, second in pairs])
    return np.concatenate([left, right]), np.concatenate([right, left])


def cbow_pairs(
    ids: Int[np.ndarray, " T"], window: int
) -> tuple[Int[np.ndarray, "N W"], Int[np.ndarray, " N"]]:
    """Pairs all neighbours of each word with the word.

    Args:
        ids: the words of the text in order.
        window: how many words before and after a word are its neighbours.

    Returns:
        Neighbours, ``W = 2 * window`` in a row, and words. The first and the last `window` words
        of the text, which have fewer neighbours, are left out: ``N = T - 2 * window``.

    Raises:
        ValueError: if `window` is below 1, or the text has no word with all its neighbours.

    Example:
        >>> import fdl, numpy as np
        >>> neighbours, words = fdl.data.cbow_pairs(np.array([6, 7, 8, 9]), 1)
        >>> neighbours.tolist(), words.tolist()
        ([[6, 8], [7, 9]], [7, 8])
    """
    _check_window("cbow_pairs", window)
    if len(ids) <= 2 * window:
        raise ValueError(
            f"cbow_pairs: ids: expected more than 2 * window = {2 * window} words, got {len(ids)}. "
            "Use a longer text or a smaller window."
        )
    views = np.lib.stride_tricks.sliding_window_view(ids, 2 * window + 1)
    return np.delete(views, window, axis=1), views[:, window].copy()


def negative_probabilities(
    counts: Int[np.ndarray, " V"], *, power: float = 0.75
) -> Float[np.ndarray, " V"]:
    r"""Probabilities of drawing each word as a wrong neighbour.

    .. math::
        p_w = c_w^{power} / \sum_v c_v^{power}

    Args:
        counts: how often each word occurs.
        power: 1 draws words as often as the text has them, 0 all equally often.

    Returns:
        Float32, with sum 1, for :func:`fdl.models.negative_sampling`.

    Raises:
        ValueError: if a count is negative, or all are 0.

    Example:
        >>> import fdl, numpy as np
        >>> fdl.data.negative_probabilities(np.array([16, 1]), power=0.5).tolist()
        [0.800000011920929, 0.20000000298023224]

    Source: Mikolov et al., "Distributed Representations of Words and Phrases and their
    Compositionality", 2013.
    """
    counts = np.asarray(counts)
    if not counts.any() or (counts < 0).any():
        raise ValueError(
            "negative_probabilities: counts: expected numbers of 0 or more, one of them above 0."
        )
    weights = np.where(counts > 0, counts ** np.float64(power), 0)
    return (weights / weights.sum()).astype(np.float32)


def cooccurrences(
    ids: Int[np.ndarray, " T"], window: int
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Counts how often words stand near each other, nearer ones for more, as GloVe does.

    Args:
        ids: the words of the text in order.
        window: up to how many words apart they count; a pair d words apart counts 1 / d.

    Returns:
        Ids i, ids j and float32 counts, of each pair that occurs, in order of i and j. Both (i, j)
        and (j, i) are there; a pair of one word with itself counts in both directions.

    Raises:
        ValueError: if `window` is below 1.

    Example:
        >>> import fdl, numpy as np
        >>> i, j, counts = fdl.data.cooccurrences(np.array([0, 1, 2]), 2)
        >>> [*zip(i.tolist(), j.tolist(), counts.tolist())][:2]
        [(0, 1, 1.0), (0, 2, 0.5)]

    Source: Pennington, Socher and Manning, "GloVe: Global Vectors for Word Representation", 2014.
    """
    pairs = _pairs("cooccurrences", ids, window)
    size = int(np.max(ids, initial=-1)) + 1
    codes = [
        row.astype(np.int64) * size + column
        for _, first, second in pairs
        for row, column in ((first, second), (second, first))
    ]
    shares = [np.full(len(first), 1 / distance) for distance, first, _ in pairs for _ in "ij"]
    found, place = np.unique(np.concatenate(codes), return_inverse=True)
    counts = np.bincount(place, np.concatenate(shares), len(found)).astype(np.float32)
    i, j = np.divmod(found, max(size, 1))
    return i.astype(np.int32), j.astype(np.int32), counts


def _pairs(function: str, ids: np.ndarray, window: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """For each distance up to `window`, the words that stand so far apart, the earlier first."""
    _check_window(function, window)
    ids = np.asarray(ids)
    return [(d, ids[:-d], ids[d:]) for d in range(1, window + 1)]


def _check_window(function: str, window: int) -> None:
    if window < 1:
        raise ValueError(f"{function}: window: expected 1 or more, got {window}.")
