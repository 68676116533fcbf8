"""Distances and similarities, as layers."""

from jaxtyping import Array

import fdl.functional as F
from fdl.nn._module import Module


class CosineSimilarity(Module):
    """Cosine along one axis; see ``functional.cosine_similarity``.

    Torch: ``torch.nn.CosineSimilarity``; no deviation.
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8):
        self.dim = dim
        self.eps = eps

    def __call__(self, x1: Array, x2: Array) -> Array:
        """Compares the vectors along ``dim``."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """Distance of each vector to its partner; see ``functional.pairwise_distance``.

    Torch: ``torch.nn.PairwiseDistance``; no deviation.
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False):
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def __call__(self, x1: Array, x2: Array) -> Array:
        """Compares the vectors along the last axis."""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
