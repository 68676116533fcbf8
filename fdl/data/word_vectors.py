"""Words as vectors, and how near they are to each other."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

import fdl.functional as F


class WordVectors(NamedTuple):
    """Words and their vectors, row by row.

    Attributes:
        words: each once.
        vectors: a row for each word.
    """

    words: tuple[str, ...]
    vectors: Float32[np.ndarray, "V D"]

    def vector(self, word: str) -> Float32[np.ndarray, " D"]:
        """The vector of a word; a KeyError if there is none."""
        return self.vectors[self.row(word)]

    def row(self, word: str) -> int:
        """The row of a word; a KeyError if there is none."""
        if word not in self.words:
            raise KeyError(
                f"word vectors: word: expected one of the {len(self.words)} words, got {word!r}. "
                "Check its spelling and capitals."
            )
        return self.words.index(word)


def similarity(
    vectors: WordVectors, first: str | Float[Array, " D"], second: str | Float[Array, " D"]
) -> Float[Array, ""]:
    """Cosine of the angle between two words.

    Args:
        vectors: of all words.
        first: a word, or a vector.
        second: another.

    Returns:
        From -1 to 1.

    Raises:
        KeyError: if a word has no vector.

    Example:
        >>> import fdl, numpy as np
        >>> vectors = fdl.data.WordVectors(("tea", "cup"), np.float32([[3, 4], [4, 3]]))
        >>> round(float(fdl.data.similarity(vectors, "tea", "cup")), 4)
        0.96

    Torch: ``torch.nn.functional.cosine_similarity`` of two rows.
    """
    one, other = _vector(vectors, first), _vector(vectors, second)
    return F.cosine_similarity(one, other, dim=-1)


def nearest(
    vectors: WordVectors, query: str | Float[Array, " D"], k: int = 10
) -> list[tuple[str, float]]:
    """The words of largest cosine with a word or vector.

    Args:
        vectors: of all words.
        query: a word, which is not among the answers, or a vector.
        k: how many words.

    Returns:
        Up to `k` pairs of word and cosine, the nearest first.

    Raises:
        KeyError: if the word has no vector.
        ValueError: if `k` is below 1.

    Example:
        >>> import fdl, numpy as np
        >>> table = np.float32([[3, 4], [4, 3], [-4, 3]])
        >>> vectors = fdl.data.WordVectors(("tea", "cup", "sky"), table)
        >>> [word for word, _ in fdl.data.nearest(vectors, "tea", k=1)]
        ['cup']

    Torch: ``most_similar`` of ``gensim.models.KeyedVectors``.
    """
    left_out = [query] if isinstance(query, str) else []
    return _nearest(vectors, _vector(vectors, query), k, left_out)


def analogy(vectors: WordVectors, a: str, b: str, c: str, k: int = 10) -> list[tuple[str, float]]:
    r"""Words that are to `c` as `b` is to `a`: nearest to :math:`\hat{b} - \hat{a} + \hat{c}`.

    Args:
        vectors: of all words.
        a: a word, as ``"man"``.
        b: a word, as ``"king"``.
        c: a word, as ``"woman"``.
        k: how many words.

    Returns:
        Up to `k` pairs of word and cosine, the nearest first; none of the three given words.

    Raises:
        KeyError: if a word has no vector.
        ValueError: if `k` is below 1.

    Example:
        >>> import fdl, numpy as np
        >>> table = np.float32([[1, 0], [1, 1], [-1, 0], [-1, 1], [0, -1]])
        >>> vectors = fdl.data.WordVectors(("man", "king", "woman", "queen", "sea"), table)
        >>> fdl.data.analogy(vectors, "man", "king", "woman", k=1)[0][0]
        'queen'

    Torch: ``most_similar(positive=[b, c], negative=[a])`` of ``gensim.models.KeyedVectors``.
    Source: Mikolov et al., "Linguistic Regularities in Continuous Space Word Representations",
    2013.
    """
    one, other, third = (F.normalize(_vector(vectors, word), dim=-1) for word in (a, b, c))
    return _nearest(vectors, other - one + third, k, [a, b, c])


def _nearest(
    vectors: WordVectors, query: jax.Array, k: int, left_out: Sequence[str]
) -> list[tuple[str, float]]:
    if k < 1:
        raise ValueError(f"nearest: k: expected 1 or more, got {k}.")
    cosines = F.cosine_similarity(jnp.asarray(vectors.vectors), query[None], dim=-1)  # (V,)
    rows = [vectors.row(word) for word in left_out]
    cosines = cosines.at[jnp.array(rows, int)].set(-jnp.inf)
    found = min(k, len(vectors.words) - len(set(rows)))
    values, order = jax.lax.top_k(cosines, found)
    return [(vectors.words[i], v) for i, v in zip(order.tolist(), values.tolist(), strict=True)]


def _vector(vectors: WordVectors, query: str | jax.Array) -> jax.Array:
    vector = vectors.vector(query) if isinstance(query, str) else query
    return jnp.asarray(vector, vectors.vectors.dtype)
