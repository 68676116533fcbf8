"""word2vec: word vectors that tell a word's neighbours from words drawn at random."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

import fdl.functional as F
from fdl import nn
from fdl._model import as_model
from fdl._types import Model


class Word2Vec(nn.Module):
    """Two tables: vectors of the words that are given, and of those that are guessed.

    Torch: the usual ``SkipGramNeg``, a module of two ``nn.Embedding`` s, ``in_embed`` and
    ``out_embed``; for CBOW the first is an ``nn.EmbeddingBag``.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        mode: Literal["skip_gram", "cbow"],
        *,
        rngs: nnx.Rngs,
    ):
        shape = vocab_size, embedding_dim
        start = nn.init.uniform(0.5 / embedding_dim)(rngs.params(), shape)
        if mode == "cbow":
            self.in_embed = nn.EmbeddingBag(*shape, mode="mean", _weight=start)
        else:
            self.in_embed = nn.Embedding(*shape, _weight=start)
        self.out_embed = nn.Embedding(*shape, _weight=jnp.zeros_like(start))

    def __call__(
        self, given: Int[Array, "..."], candidates: Int[Array, "N K"]
    ) -> Float[Array, "N K"]:
        """Returns the logit of each candidate's standing near what is given."""
        hidden = self.in_embed(given)  # (N, embedding_dim)
        vectors = self.out_embed(candidates)  # (N, K, embedding_dim)
        return jnp.einsum("nd,nkd->nk", hidden, vectors)


def word2vec(
    vocab_size: int, embedding_dim: int, *, mode: Literal["skip_gram", "cbow"] = "skip_gram"
) -> Model:
    """Builds word2vec, to be trained by negative sampling.

    Args:
        vocab_size: number of words.
        embedding_dim: numbers in a word's vector.
        mode: ``"skip_gram"`` guesses the neighbours of one word, ``"cbow"`` the word between its
            neighbours, from the mean of their vectors.

    Returns:
        A model from ids ``(N,)`` of words, or of neighbours ``(N, W)`` with ``"cbow"``, and ids
        ``(N, K)`` of candidates, to logits ``(N, K)``. ``params["in_embed.weight"]`` is the table
        of word vectors.

    Raises:
        ValueError: if a size is below 1 or `mode` is unknown.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.word2vec(1000, 50)
        >>> params, buffers = model.init(jax.random.key(0))
        >>> words, candidates = jnp.zeros(8, int), jnp.zeros((8, 6), int)
        >>> model.apply(params, buffers, words, candidates)[0].shape
        (8, 6)

    Torch: the usual ``SkipGramNeg``: ``in_embed`` and ``out_embed``, ``nn.Embedding`` s; with
    ``"cbow"`` ``in_embed`` is an ``nn.EmbeddingBag(mode="mean")``. They start as in the word2vec
    program: ``in_embed`` uniform within 0.5 / embedding_dim of 0, ``out_embed`` zero.
    Source: Mikolov et al., "Distributed Representations of Words and Phrases and their
    Compositionality", 2013.
    """
    if min(vocab_size, embedding_dim) < 1:
        raise ValueError(
            f"word2vec: vocab_size, embedding_dim: expected 1 or more, got {vocab_size} and "
            f"{embedding_dim}."
        )
    if mode not in ("skip_gram", "cbow"):
        raise ValueError(f"word2vec: mode: expected 'skip_gram' or 'cbow', got {mode!r}.")
    return as_model(lambda rngs: Word2Vec(vocab_size, embedding_dim, mode, rngs=rngs))


def negative_sampling_loss(
    logits: Float[Array, "N K"], target: Float[Array, "N K"]
) -> Float[Array, ""]:
    r"""Loss of candidates that are neighbours, or were drawn at random.

    .. math::
        -\frac{1}{N} \sum_n \sum_k \log \mathrm{sigmoid}(\pm x_{nk}),
        \quad + \text{ for a neighbour}, - \text{ for a drawn word}

    It is computed without overflow for logits of any size.

    Args:
        logits: as :func:`word2vec` returns them.
        target: 1 for a neighbour, 0 for a drawn word.

    Returns:
        The sum over candidates, as the mean over rows.

    Raises:
        ValueError: if the shapes differ.
        TypeError: if the dtypes differ.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> logits, target = jnp.array([[200.0, -200.0]]), jnp.array([[1.0, 0.0]])
        >>> abs(float(fdl.models.negative_sampling_loss(logits, target)))
        0.0

    Torch: ``-(F.logsigmoid(positive) + F.logsigmoid(-negative).sum(1)).mean()``, or
    ``F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / N``.
    """
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / logits.shape[0]


def negative_sampling(
    model: Model, probabilities: Float[ArrayLike, " V"], *, negatives: int = 5
) -> Callable[..., Any]:
    """Makes the loss function of word2vec: each neighbour against words drawn anew in every step.

    Args:
        model: as :func:`word2vec` makes it.
        probabilities: of drawing each word, as :func:`fdl.data.negative_probabilities` counts them.
        negatives: words drawn for each neighbour. A neighbour may be drawn too, as in most torch
            versions; the word2vec program leaves such draws out.

    Returns:
        A loss function for :func:`fdl.train.make_step` and :func:`fdl.train.fit`, of batches
        ``(given, neighbour)``: ids ``(N,)`` or ``(N, W)``, and ``(N,)``. Without a key, as in
        evaluation, the same words are drawn every time.

    Raises:
        ValueError: if `negatives` is below 1.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> model = fdl.models.word2vec(3, 8)
        >>> loss_fn = fdl.models.negative_sampling(model, jnp.array([0.5, 0.3, 0.2]))

    Torch: ``torch.multinomial(probabilities, N * negatives, replacement=True)`` in the loop.
    """
    if negatives < 1:
        raise ValueError(
            f"negative_sampling: negatives: expected 1 or more, got {negatives}. Without any, all "
            "words get one vector."
        )
    probabilities = jnp.asarray(probabilities)

    def loss_fn(params, buffers, batch, *, train, key):
        given, neighbour = batch
        shape = neighbour.shape[0], negatives
        draw_key = jax.random.key(0) if key is None else key
        drawn = jax.random.choice(draw_key, len(probabilities), shape, p=probabilities)
        candidates = jnp.concatenate([neighbour[:, None], drawn.astype(neighbour.dtype)], axis=1)
        logits, buffers = model.apply(params, buffers, given, candidates, train=train, key=key)
        value = negative_sampling_loss(logits, jnp.zeros_like(logits).at[:, 0].set(1))
        return value, (buffers, {"loss": value})

    return loss_fn
