"""Losses between scores of classes and one class, or probabilities of classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fdl._checks import check_same_dtype
from fdl.functional._losses import (
    at_class,
    check_class_weight,
    check_classes,
    reduced,
    summed,
    weights_of,
)


def nll_loss(
    input: Float[Array, "..."],
    target: Int[Array, "..."],
    weight: Float[Array, " C"] | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Negative log likelihood :math:`l_n = -w_{t_n} x_{n, t_n}` of classes.

    The mean divides by :math:`\sum_n w_{t_n}` over targets that count.

    Args:
        input: log-probabilities ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``.
        target: class indices, `input`'s shape without ``C``.
        weight: one weight for each class ``(C,)``, or None for 1.
        ignore_index: class index that counts for nothing.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of the targets' shape.

    Raises:
        ValueError: if shapes do not fit, `reduction` is unknown, or a class index is out of range.
            Inside ``jax.jit`` the indices cannot be seen: an index out of range makes the loss NaN.
        TypeError: if dtypes do not fit.

    Torch: ``torch.nn.functional.nll_loss``; no deviation outside ``jax.jit``.
    """
    check_scores("nll_loss", input)
    return _from_indices("nll_loss", input, target, weight, ignore_index, reduction, 0.0)


def cross_entropy(
    input: Float[Array, "..."],
    target: Int[Array, "..."] | Float[Array, "..."],
    weight: Float[Array, " C"] | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Float[Array, "..."]:
    r"""Cross entropy between logits and classes.

    :math:`l_n = -w_{t_n} \log \mathrm{softmax}(x_n)_{t_n}`, smoothed by :math:`\varepsilon` towards
    the uniform distribution; the mean divides by :math:`\sum_n w_{t_n}` over targets that count.

    Args:
        input: logits ``(N, C)``, ``(N, C, d1, ...)`` or ``(C,)``.
        target: class indices, `input`'s shape without ``C``; or probabilities, `input`'s shape.
        weight: one weight for each class ``(C,)``, or None for 1.
        ignore_index: class index that counts for nothing; for class indices only.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: :math:`\varepsilon`, from 0 to 1.

    Returns:
        A scalar, or with ``"none"`` a tensor of the targets' shape.

    Raises:
        ValueError: if shapes do not fit, `reduction` is unknown, or a class index is out of range.
            Inside ``jax.jit`` the indices cannot be seen: an index out of range makes the loss NaN.
        TypeError: if float dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> round(float(F.cross_entropy(jnp.array([[2.0, 0.0]]), jnp.array([0]))), 4)
        0.1269

    Torch: ``torch.nn.functional.cross_entropy``; no deviation outside ``jax.jit``.

    Source: for smoothing, Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016.
    """
    check_scores("cross_entropy", input)
    check_smoothing("cross_entropy", label_smoothing)
    logp = jax.nn.log_softmax(input, _axis(input))
    if jnp.issubdtype(target.dtype, jnp.floating):
        if ignore_index >= 0:
            raise ValueError(
                f"cross_entropy: ignore_index: expected a negative one beside probabilities, got "
                f"{ignore_index}. Only class indices can be ignored: give their rows zeros."
            )
        return _from_probabilities(logp, target, weight, reduction, label_smoothing)
    return _from_indices(
        "cross_entropy", logp, target, weight, ignore_index, reduction, label_smoothing
    )


def check_scores(function: str, input: Array) -> None:
    """Checks that there is an axis of classes."""
    if not input.ndim:
        raise ValueError(
            f"{function}: input: expected shape (C,), (N, C) or (N, C, d1, ...), got (). "
            "Give each class a score."
        )


def check_smoothing(function: str, label_smoothing: float) -> None:
    """Checks how much of a target goes to all classes."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"{function}: label_smoothing: expected 0 to 1, got {label_smoothing}. "
            "It is the share that all classes divide."
        )


def _axis(scores):
    return min(1, scores.ndim - 1)


def _columns(weight, scores):
    return weight.reshape(-1, *(1,) * (scores.ndim - _axis(scores) - 1))


def _from_indices(function, logp, target, weight, ignore_index, reduction, label_smoothing):
    axis = _axis(logp)
    shape, classes = logp.shape[:axis] + logp.shape[axis + 1 :], logp.shape[axis]
    check_classes(function, target, shape=shape, classes=classes, ignore_index=ignore_index)
    target = target.astype(jnp.result_type(int))  # a narrow type may not hold C or ignore_index
    counts = target != ignore_index
    index = jnp.where(counts, target, 0)
    weights = weights_of(function, weight, index, like=logp, classes=classes)

    def average(losses):
        losses = jnp.where(counts, losses, 0)
        if reduction == "mean":
            return summed(losses) / summed(jnp.where(counts, weights, 0))
        return reduced(function, losses, reduction)

    loss = average(-weights * at_class(logp, index, axis))
    if not label_smoothing:
        return loss
    weighted = logp if weight is None else logp * _columns(weight, logp)
    uniform = average(-jnp.sum(weighted, axis))  # apart: where no weight counts, 0/0 + 1/0 is NaN
    return loss * (1 - label_smoothing) + uniform * (label_smoothing / classes)


def _from_probabilities(logp, target, weight, reduction, label_smoothing):
    check_same_dtype("cross_entropy", input=logp, target=target)
    if target.shape != logp.shape:
        raise ValueError(
            f"cross_entropy: target: expected probabilities of input's shape {logp.shape}, got "
            f"{target.shape}. For class indices pass an integer dtype."
        )
    axis = _axis(logp)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / logp.shape[axis]
    terms = logp * target
    if weight is not None:
        check_class_weight("cross_entropy", weight, like=logp, classes=logp.shape[axis])
        terms = terms * _columns(weight, logp)
    return reduced("cross_entropy", -jnp.sum(terms, axis), reduction)
