"""Losses that ask for a margin, as layers."""

from collections.abc import Callable

from jaxtyping import Array

import fdl.functional as F
from fdl.functional.margin import check_margin, check_power
from fdl.nn._loss import Loss, WeightedLoss
from fdl.nn._module import value_or_none
from fdl.nn.distance import PairwiseDistance


class MultiMarginLoss(WeightedLoss):
    """Hinge loss of several classes; see ``functional.multi_margin_loss``.

    Attributes:
        weight: buffer, one weight for each class ``(C,)``, or None.

    Torch: ``torch.nn.MultiMarginLoss``; no deviation.
    """

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Array | None = None,
        reduction: str = "mean",
    ):
        check_power("MultiMarginLoss", p)
        if weight is not None and weight.ndim != 1:
            raise ValueError(
                f"MultiMarginLoss: weight: expected shape (C,), got {weight.shape}. "
                "Pass one weight for each class."
            )
        super().__init__(weight, reduction)
        self.p = p
        self.margin = margin

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares scores ``(N, C)`` with class indices ``(N,)``."""
        weight = value_or_none(self.weight)
        return F.multi_margin_loss(input, target, self.p, self.margin, weight, self.reduction)


class MultiLabelMarginLoss(Loss):
    """Hinge loss between classes that hold and others; see ``functional.multilabel_margin_loss``.

    Torch: ``torch.nn.MultiLabelMarginLoss``; no deviation.
    """

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares scores ``(N, C)`` with class indices ``(N, C)`` that end in -1."""
        return F.multilabel_margin_loss(input, target, self.reduction)


class HingeEmbeddingLoss(Loss):
    """Small distances of pairs that belong together; see ``functional.hinge_embedding_loss``.

    Torch: ``torch.nn.HingeEmbeddingLoss``; no broadcasting.
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = margin

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares distances with labels 1 or -1."""
        return F.hinge_embedding_loss(input, target, self.margin, self.reduction)


class MarginRankingLoss(Loss):
    """Asks one score to be above another; see ``functional.margin_ranking_loss``.

    Torch: ``torch.nn.MarginRankingLoss``; no broadcasting.
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = margin

    def __call__(self, input1: Array, input2: Array, target: Array) -> Array:
        """Compares two scores; the label is 1 where the first is to be larger, else -1."""
        return F.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class CosineEmbeddingLoss(Loss):
    """Large cosines of pairs that belong together; see ``functional.cosine_embedding_loss``.

    Torch: ``torch.nn.CosineEmbeddingLoss``; no broadcasting.
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = margin

    def __call__(self, input1: Array, input2: Array, target: Array) -> Array:
        """Compares vectors ``(N, D)`` under labels 1 or -1 ``(N,)``."""
        return F.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class TripletMarginLoss(Loss):
    """Anchors nearer to positives than to negatives; see ``functional.triplet_margin_loss``.

    Torch: ``torch.nn.TripletMarginLoss``; no deviation.
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ):
        check_margin("TripletMarginLoss", margin)
        super().__init__(reduction)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def __call__(self, anchor: Array, positive: Array, negative: Array) -> Array:
        """Compares vectors ``(N, D)``."""
        options = self.margin, self.p, self.eps, self.swap, self.reduction
        return F.triplet_margin_loss(anchor, positive, negative, *options)


class TripletMarginWithDistanceLoss(Loss):
    """As :class:`TripletMarginLoss`, with a distance of one's own.

    Attributes:
        distance_function: a function or layer of two tensors; :class:`PairwiseDistance` if None.

    Torch: ``torch.nn.TripletMarginWithDistanceLoss``; no deviation.
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Array, Array], Array] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ):
        check_margin("TripletMarginWithDistanceLoss", margin)
        super().__init__(reduction)
        self.distance_function = distance_function or PairwiseDistance()
        self.margin = margin
        self.swap = swap

    def __call__(self, anchor: Array, positive: Array, negative: Array) -> Array:
        """Compares whatever the distance takes."""
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )
