"""GloVe: word vectors from counts of words that stand near each other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from fdl import nn
from fdl._model import as_model
from fdl._types import Model


class GloVe(nn.Module):
    """Vectors and biases of words, and of the words near them.

    Torch: a module of four ``nn.Embedding`` s, ``wi``, ``wj``, ``bi`` and ``bj``.
    """

    def __init__(self, vocab_size: int, embedding_dim: int, *, rngs: nnx.Rngs):
        start = nn.init.uniform(0.5 / embedding_dim)

        def table(columns: int) -> nn.Embedding:
            weight = start(rngs.params(), (vocab_size, columns))
            return nn.Embedding(vocab_size, columns, _weight=weight)

        self.wi, self.wj = table(embedding_dim), table(embedding_dim)
        self.bi, self.bj = table(1), table(1)

    def __call__(self, i: Int[Array, " N"], j: Int[Array, " N"]) -> Float[Array, " N"]:
        """Returns what should be the logarithm of how often `i` stands near `j`."""
        products = (self.wi(i) * self.wj(j)).sum(axis=-1)
        return products + self.bi(i)[:, 0] + self.bj(j)[:, 0]


def glove(vocab_size: int, embedding_dim: int) -> Model:
    """Builds GloVe.

    Args:
        vocab_size: number of words.
        embedding_dim: numbers in a word's vector.

    Returns:
        A model from ids ``(N,)`` of words and ids ``(N,)`` of words near them to the logarithms
        ``(N,)`` of their counts. ``params["wi.weight"] + params["wj.weight"]`` is the table of word
        vectors.

    Raises:
        ValueError: if a size is below 1.

    Example:
        >>> import fdl, jax
        >>> params, buffers = fdl.models.glove(1000, 50).init(jax.random.key(0))
        >>> params["wi.weight"].shape, params["bi.weight"].shape
        ((1000, 50), (1000, 1))

    Torch: the usual module of four ``nn.Embedding`` s, ``wi`` and ``wj`` for the vectors,
    ``bi`` and ``bj``, one column wide, for the biases. All start uniform within
    0.5 / embedding_dim of 0, as in the GloVe program.
    Source: Pennington, Socher and Manning, "GloVe: Global Vectors for Word Representation", 2014.
    """
    if min(vocab_size, embedding_dim) < 1:
        raise ValueError(
            f"glove: vocab_size, embedding_dim: expected 1 or more, got {vocab_size} and "
            f"{embedding_dim}."
        )
    return as_model(lambda rngs: GloVe(vocab_size, embedding_dim, rngs=rngs))


def glove_loss(
    *, x_max: float = 100.0, alpha: float = 0.75
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    r"""Makes GloVe's loss: weighted least squares of the logarithms of counts.

    .. math::
        \frac{1}{N} \sum_n f(X_n) (\hat{y}_n - \log X_n)^2,
        \quad f(X) = \min(X / x_{max}, 1)^\alpha

    Args:
        x_max: count from which on the weight is 1.
        alpha: exponent of the weight below it.

    Returns:
        ``(output, counts) -> scalar``, for :func:`fdl.train.supervised` and batches
        ``(i, j, counts)``, as :func:`fdl.data.cooccurrences` counts them: above 0.

    Raises:
        ValueError: if `x_max` is not above 0.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> loss = fdl.models.glove_loss(x_max=4.0, alpha=0.5)
        >>> float(loss(jnp.array([3.0, 1.0]), jnp.array([1.0, 1.0])))
        2.5

    Torch: ``(weights * (output - counts.log()) ** 2).mean()``. The paper adds up over all
    pairs; the mean has the same minimum.
    """
    if not x_max > 0:
        raise ValueError(f"glove_loss: x_max: expected a number above 0, got {x_max}.")

    def weighted_squares(output: jax.Array, counts: jax.Array) -> jax.Array:
        weights = jnp.minimum(counts / x_max, 1) ** alpha
        return (weights * (output - jnp.log(counts)) ** 2).mean()

    return weighted_squares
