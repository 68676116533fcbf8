"""Word embeddings beside modules of ``torch.nn.Embedding`` s."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import fdl
from zoo.case import Case

WORDS = 30


class SkipGramNeg(nn.Module):
    """Two tables, started as the word2vec program starts them."""

    def __init__(self, n_vocab: int, n_embed: int) -> None:
        super().__init__()
        self.in_embed: nn.Module = nn.Embedding(n_vocab, n_embed)
        self.out_embed = nn.Embedding(n_vocab, n_embed)
        nn.init.uniform_(self.in_embed.weight, -0.5 / n_embed, 0.5 / n_embed)
        nn.init.zeros_(self.out_embed.weight)

    def forward(self, given: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        hidden = self.in_embed(given)
        return torch.bmm(self.out_embed(candidates), hidden.unsqueeze(2)).squeeze(2)


class CBOWNeg(SkipGramNeg):
    """The mean of the neighbours' vectors in place of one."""

    def __init__(self, n_vocab: int, n_embed: int) -> None:
        super().__init__(n_vocab, n_embed)
        self.in_embed = nn.EmbeddingBag(n_vocab, n_embed, mode="mean")


class GloVe(nn.Module):
    """Tables of vectors and of biases."""

    def __init__(self, vocab_size: int, embedding_dim: int) -> None:
        super().__init__()
        self.wi = nn.Embedding(vocab_size, embedding_dim)
        self.wj = nn.Embedding(vocab_size, embedding_dim)
        self.bi = nn.Embedding(vocab_size, 1)
        self.bj = nn.Embedding(vocab_size, 1)
        for table in self.children():
            nn.init.uniform_(table.weight, -0.5 / embedding_dim, 0.5 / embedding_dim)

    def forward(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        products = torch.sum(self.wi(i) * self.wj(j), dim=1)
        return products + self.bi(i).squeeze(1) + self.bj(j).squeeze(1)


def negative_sampling_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The usual form, in which the first candidate is the neighbour."""
    assert bool((target[:, 0] == 1).all())
    assert not bool(target[:, 1:].any())
    positive, negative = F.logsigmoid(logits[:, 0]), F.logsigmoid(-logits[:, 1:])
    return -(positive + negative.sum(1)).mean()


def glove_loss(output: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """With the paper's constants."""
    weights = torch.where(counts < 100, (counts / 100) ** 0.75, 1.0)
    return (weights * (output - counts.log()) ** 2).mean()


def guesses(*given: int) -> tuple[np.ndarray, ...]:
    """Words, or neighbours of words; candidates, the first of them true."""
    generator = np.random.default_rng(0)
    candidates = generator.integers(0, WORDS, (given[0], 6))
    return generator.integers(0, WORDS, given), candidates, np.eye(1, 6).repeat(given[0], axis=0)


def counted(pairs: int) -> tuple[np.ndarray, ...]:
    """Pairs of words, and counts on both sides of 100."""
    generator = np.random.default_rng(0)
    i, j = generator.integers(0, WORDS, (2, pairs))
    return i, j, generator.choice([0.2, 1.0, 7.5, 60.0, 100.0, 300.0], pairs)


CASES = {
    "word2vec": Case(
        lambda: fdl.models.word2vec(WORDS, 8),
        lambda: SkipGramNeg(WORDS, 8),
        (negative_sampling_loss, fdl.models.negative_sampling_loss),
        guesses(16),
        "the usual SkipGramNeg of torch.nn.Embedding",
    ),
    "word2vec, CBOW": Case(
        lambda: fdl.models.word2vec(WORDS, 8, mode="cbow"),
        lambda: CBOWNeg(WORDS, 8),
        (negative_sampling_loss, fdl.models.negative_sampling_loss),
        guesses(16, 4),
        "the same with torch.nn.EmbeddingBag",
    ),
    "glove": Case(
        lambda: fdl.models.glove(WORDS, 8),
        lambda: GloVe(WORDS, 8),
        (glove_loss, fdl.models.glove_loss()),
        counted(32),
        "wi, wj, bi, bj of torch.nn.Embedding",
    ),
}
