"""Losses between logits or probabilities and yes or no."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fdl._checks import check_ndim
from fdl.functional._losses import (
    EPSILON,
    check_broadcast,
    check_pair,
    check_shape,
    labels,
    reduced,
)


def binary_cross_entropy(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    weight: Float[Array, "..."] | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Cross entropy :math:`-w (t \log p + (1 - t) \log(1 - p))` of probabilities.

    Logarithms are at least -100, and the gradient :math:`(p - t) / \max(p (1 - p), 10^{-12})` of
    `input` is finite too. With logits, :func:`binary_cross_entropy_with_logits` is more precise.

    Args:
        input: probabilities, from 0 to 1.
        target: probabilities, from 0 to 1, of the same shape.
        weight: broadcasts to `input`'s shape; or None for 1.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if shapes do not fit, `reduction` is unknown, or a number is not from 0 to 1
            (unseen inside ``jax.jit`` and ``jax.grad``).
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.binary_cross_entropy``; no deviation outside ``jax.jit``.
    """
    check_pair("binary_cross_entropy", "target", target, input=input)
    _check_probabilities(input=input, target=target)
    losses = _cross_entropy(input, target)
    if weight is not None:
        check_broadcast("binary_cross_entropy", "weight", weight, input=input)
        losses = losses * weight
    return reduced("binary_cross_entropy", losses, reduction)


def binary_cross_entropy_with_logits(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    weight: Float[Array, "..."] | None = None,
    reduction: str = "mean",
    pos_weight: Float[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Cross entropy :math:`-w (p\,t \log \sigma(x) + (1 - t) \log(1 - \sigma(x)))` of logits.

    Args:
        input: logits.
        target: probabilities, of the same shape.
        weight: :math:`w`, broadcasts to `input`'s shape; or None for 1.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``; the mean is over all elements.
        pos_weight: :math:`p`, what a positive counts, broadcasts to `input`'s shape; or None for 1.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if shapes do not fit or `reduction` is unknown.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> round(float(F.binary_cross_entropy_with_logits(jnp.array([2.0]), jnp.array([1.0]))), 4)
        0.1269

    Torch: ``torch.nn.functional.binary_cross_entropy_with_logits``; no deviation.
    """
    name = "binary_cross_entropy_with_logits"
    check_pair(name, "target", target, input=input)
    for kind, factor in (("weight", weight), ("pos_weight", pos_weight)):
        if factor is not None:
            check_broadcast(name, kind, factor, input=input)
    positive = None if pos_weight is None else jnp.broadcast_to(pos_weight, input.shape)
    losses = _logistic(input, target, positive)
    return reduced(name, losses if weight is None else losses * weight, reduction)


def soft_margin_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"] | Int[Array, "*shape"],
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Logistic loss :math:`\log(1 + e^{-y x})` of labels 1 and -1.

    The exponential overflows where a logit is very wrong (-89 in float32): loss infinite, gradient
    NaN, as in torch; :func:`binary_cross_entropy_with_logits` is finite there.

    Args:
        input: logits.
        target: labels 1 or -1, of the same shape.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if the shapes differ or `reduction` is unknown.
        TypeError: if float dtypes differ.

    Torch: ``torch.nn.functional.soft_margin_loss``; shapes must be equal.
    """
    target = labels("soft_margin_loss", target, like=input)
    check_shape("soft_margin_loss", "target", target, expected=input.shape, of="input")
    return reduced("soft_margin_loss", jnp.log1p(jnp.exp(-target * input)), reduction)


def multilabel_soft_margin_loss(
    input: Float[Array, "*N C"],
    target: Float[Array, "*N C"] | Int[Array, "*N C"],
    weight: Float[Array, "..."] | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Binary cross entropy of logits, averaged over classes.

    :math:`l = -\frac1C \sum_c w_c (t_c \log \sigma(x_c) + (1 - t_c) \log \sigma(-x_c))`.

    Args:
        input: logits ``(N, C)`` or ``(C,)``.
        target: 1 for each class that holds, else 0; of the same shape.
        weight: one weight for each class ``(C,)``, or None for 1.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` one number for each row ``(N,)``.

    Raises:
        ValueError: if shapes do not fit or `reduction` is unknown.
        TypeError: if float dtypes differ.

    Torch: ``torch.nn.functional.multilabel_soft_margin_loss``; shapes must be equal.
    """
    name = "multilabel_soft_margin_loss"
    target = labels(name, target, like=input)
    if not input.ndim:
        check_ndim(name, "input", input, expected={1: "(C,)", 2: "(N, C)"})
    check_shape(name, "target", target, expected=input.shape, of="input")
    losses = -(target * jax.nn.log_sigmoid(input) + (1 - target) * jax.nn.log_sigmoid(-input))
    if weight is not None:
        check_broadcast(name, "weight", weight, input=input)
        losses = losses * weight
    return reduced(name, jnp.sum(losses, -1) / input.shape[-1], reduction)


@jax.custom_jvp
def _cross_entropy(p, t):
    no, yes = jnp.maximum(jnp.log1p(-p), -100), jnp.maximum(jnp.log(p), -100)
    return (t - 1) * no - t * yes


@_cross_entropy.defjvp
def _cross_entropy_jvp(primals, tangents):
    (p, t), (p_dot, t_dot) = primals, tangents
    slope = (p - t) / jnp.maximum((1 - p) * p, EPSILON)
    return _cross_entropy(p, t), slope * p_dot + (jnp.log1p(-p) - jnp.log(p)) * t_dot


@jax.custom_jvp
def _logistic(x, t, positive):
    factor = 1 if positive is None else 1 + (positive - 1) * t
    return (1 - t) * x - factor * jax.nn.log_sigmoid(x)


@_logistic.defjvp
def _logistic_jvp(primals, tangents):
    """The derivative in `x` is written such that a tiny one is not rounded to 0."""
    (x, t, positive), (x_dot, t_dot, positive_dot) = primals, tangents
    if positive is None:
        return _logistic(*primals), (jax.nn.sigmoid(x) - t) * x_dot - x * t_dot
    yes, no = jax.nn.log_sigmoid(x), jax.nn.log_sigmoid(-x)
    slope = (1 + (positive - 1) * t) * jax.nn.sigmoid(x) - positive * t
    of_target = no - positive * yes
    return _logistic(*primals), slope * x_dot + of_target * t_dot - t * yes * positive_dot


def _check_probabilities(**tensors):
    for name, tensor in tensors.items():
        if isinstance(tensor, jax.core.Tracer):
            continue
        seen = np.asarray(tensor)
        if not ((seen >= 0) & (seen <= 1)).all():
            raise ValueError(
                f"binary_cross_entropy: {name}: expected probabilities from 0 to 1, got "
                f"{float(seen.min())} to {float(seen.max())}. For logits use "
                "binary_cross_entropy_with_logits."
            )
