"""Losses between scores and classes, as layers."""

import math

from flax import nnx
from jaxtyping import Array

import fdl.functional as F
from fdl.functional.classification import check_smoothing
from fdl.functional.linear_cross_entropy import LinearCrossEntropyOptions
from fdl.nn._loss import Loss, WeightedLoss, as_buffer
from fdl.nn._module import Dtype, value_or_none
from fdl.nn.linear import Linear


class NLLLoss(WeightedLoss):
    """Negative log likelihood of classes; see ``functional.nll_loss``.

    Attributes:
        weight: buffer, one weight for each class ``(C,)``, or None.

    Torch: ``torch.nn.NLLLoss``; no deviation.
    """

    def __init__(
        self, weight: Array | None = None, ignore_index: int = -100, reduction: str = "mean"
    ):
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares log-probabilities ``(N, C, ...)`` with class indices ``(N, ...)``."""
        weight = value_or_none(self.weight)
        return F.nll_loss(input, target, weight, self.ignore_index, self.reduction)


class CrossEntropyLoss(WeightedLoss):
    """Cross entropy between logits and classes; see ``functional.cross_entropy``.

    Attributes:
        weight: buffer, one weight for each class ``(C,)``, or None.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> loss = fdl.nn.CrossEntropyLoss()
        >>> round(float(loss(jnp.array([[2.0, 0.0]]), jnp.array([0]))), 4)
        0.1269

    Torch: ``torch.nn.CrossEntropyLoss``; no deviation.
    """

    def __init__(
        self,
        weight: Array | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares logits ``(N, C, ...)`` with class indices, or probabilities of their shape."""
        weight = value_or_none(self.weight)
        options = self.ignore_index, self.reduction, self.label_smoothing
        return F.cross_entropy(input, target, weight, *options)


class LinearCrossEntropyLoss(WeightedLoss):
    """A network's last affine map and its cross entropy; see ``functional.linear_cross_entropy``.

    Attributes:
        linear: the map to ``num_classes`` logits, times the sizes of ``out_features``.
        weight: buffer, one weight for each class ``(num_classes,)``, or None.

    Torch: ``torch.nn.LinearCrossEntropyLoss``; `rngs` instead of a global generator.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        reduction: str = "mean",
        weight: Array | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        if weight is not None and weight.shape != (num_classes,):
            raise ValueError(
                f"LinearCrossEntropyLoss: weight: expected shape ({num_classes},) as num_classes "
                f"asks, got {weight.shape}. Pass one weight for each class."
            )
        check_smoothing("LinearCrossEntropyLoss", label_smoothing)
        super().__init__(weight, reduction)
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        outputs = num_classes * math.prod(self.out_features)
        self.linear = Linear(in_features, outputs, bias, dtype=dtype, rngs=rngs)
        self.options = options

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares the logits of features ``(N, I)`` with class indices or probabilities."""
        outputs = self.num_classes, *self.out_features
        bias = value_or_none(self.linear.bias)
        return F.linear_cross_entropy(
            input,
            self.linear.weight[...].reshape(*outputs, -1),
            target,
            linear_bias=None if bias is None else bias.reshape(outputs),
            weight=value_or_none(self.weight),
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )


class BCELoss(WeightedLoss):
    """Cross entropy of probabilities of yes; see ``functional.binary_cross_entropy``.

    Attributes:
        weight: buffer that broadcasts to the input's shape, or None.

    Torch: ``torch.nn.BCELoss``; no deviation.
    """

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares two tensors of probabilities."""
        weight = value_or_none(self.weight)
        return F.binary_cross_entropy(input, target, weight, self.reduction)


class BCEWithLogitsLoss(WeightedLoss):
    """Cross entropy of logits of yes; see ``functional.binary_cross_entropy_with_logits``.

    Attributes:
        weight: buffer that broadcasts to the input's shape, or None.
        pos_weight: buffer, what a positive counts, that broadcasts to the input's shape, or None.

    Torch: ``torch.nn.BCEWithLogitsLoss``; no deviation.
    """

    def __init__(
        self,
        weight: Array | None = None,
        reduction: str = "mean",
        pos_weight: Array | None = None,
    ):
        super().__init__(weight, reduction)
        self.pos_weight = as_buffer(pos_weight)

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares logits with probabilities."""
        weight, positive = value_or_none(self.weight), value_or_none(self.pos_weight)
        return F.binary_cross_entropy_with_logits(input, target, weight, self.reduction, positive)


class SoftMarginLoss(Loss):
    """Logistic loss of labels 1 and -1; see ``functional.soft_margin_loss``.

    Torch: ``torch.nn.SoftMarginLoss``; no broadcasting.
    """

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares logits with labels 1 or -1."""
        return F.soft_margin_loss(input, target, self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """Binary cross entropy averaged over classes; see ``functional.multilabel_soft_margin_loss``.

    Attributes:
        weight: buffer, one weight for each class ``(C,)``, or None.

    Torch: ``torch.nn.MultiLabelSoftMarginLoss``; no broadcasting of targets.
    """

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares logits ``(N, C)`` with 1 for each class that holds, else 0."""
        weight = value_or_none(self.weight)
        return F.multilabel_soft_margin_loss(input, target, weight, self.reduction)
