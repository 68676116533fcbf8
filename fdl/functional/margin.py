"""Losses that ask for a margin between scores, or between distances."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fdl._checks import check_ndim, check_same_dtype
from fdl.functional._losses import (
    EPSILON,
    at_class,
    at_least_zero,
    check_classes,
    check_shape,
    labels,
    reduced,
    weights_of,
)
from fdl.functional.distance import pairwise_distance


def multi_margin_loss(
    input: Float[Array, "*N C"],
    target: Int[Array, "*N"],
    p: int = 1,
    margin: float = 1.0,
    weight: Float[Array, " C"] | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Hinge loss :math:`\frac1C \sum_{c \ne y} w_y \max(0, m - x_y + x_c)^p` of several classes.

    Args:
        input: scores ``(N, C)`` or ``(C,)``.
        target: class indices ``(N,)`` or ``()``.
        p: 1 or 2.
        margin: :math:`m`.
        weight: one weight for each class ``(C,)``, or None for 1.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of `target`'s shape.

    Raises:
        ValueError: if shapes do not fit, `p` or `reduction` is unknown, or a class index is out of
            range (inside ``jax.jit`` that makes the loss NaN).
        TypeError: if dtypes do not fit.

    Torch: ``torch.nn.functional.multi_margin_loss``; no deviation outside ``jax.jit``.
    """
    name = "multi_margin_loss"
    check_power(name, p)
    check_ndim(name, "input", input, expected={1: "(C,)", 2: "(N, C)"})
    classes = input.shape[-1]
    check_classes(name, target, shape=input.shape[:-1], classes=classes)
    index = target.astype(jnp.result_type(int))
    room = margin - at_class(input, index)[..., None] + input
    others = jnp.arange(classes) != index[..., None]
    losses = jnp.sum(jnp.where(others, _positive(room) ** p, 0), -1) / classes
    outside = (index < 0) | (index >= classes)
    losses = jnp.where(outside, jnp.nan, losses)
    if weight is not None:
        losses = losses * weights_of(name, weight, index, like=input, classes=classes)
    return reduced(name, losses, reduction)


def multilabel_margin_loss(
    input: Float[Array, "*N C"], target: Int[Array, "*N C"], reduction: str = "mean"
) -> Float[Array, "..."]:
    r"""Hinge loss between each class that holds and each that does not.

    :math:`l = \frac1C \sum_{y \in Y} \sum_{c \notin Y} \max(0, 1 - x_y + x_c)`.

    Args:
        input: scores ``(N, C)`` or ``(C,)``.
        target: the indices of the classes that hold, then -1, then anything; of the same shape.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` one number for each row ``(N,)``.

    Raises:
        ValueError: if shapes do not fit, `reduction` is unknown, or a class index is below -1 or
            too large (inside ``jax.jit`` one too large makes the loss NaN).
        TypeError: if `target` does not hold integers.

    Torch: ``torch.nn.functional.multilabel_margin_loss``; no deviation outside ``jax.jit``.
    """
    name = "multilabel_margin_loss"
    check_ndim(name, "input", input, expected={1: "(C,)", 2: "(N, C)"})
    classes = input.shape[-1]
    check_classes(name, target, shape=input.shape, classes=classes, ignore_index=-1)
    target = target.astype(jnp.result_type(int))
    listed = jnp.cumsum(target < 0, -1) == 0
    index = jnp.where(listed, target, 0)
    holds = jnp.any((index[..., None] == jnp.arange(classes)) & listed[..., None], -2)
    chosen = jnp.take_along_axis(input, index, -1, mode="fill")
    room = 1 - chosen[..., :, None] + input[..., None, :]
    counts = listed[..., :, None] & ~holds[..., None, :]
    losses = jnp.sum(jnp.where(counts, _positive(room), 0), (-2, -1)) / classes
    outside = jnp.any(listed & (target >= classes), -1)
    return reduced(name, jnp.where(outside, jnp.nan, losses), reduction)


def hinge_embedding_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"] | Int[Array, "*shape"],
    margin: float = 1.0,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Distance itself for pairs that belong together, :math:`\max(0, m - x)` for others.

    Args:
        input: distances.
        target: 1 for pairs that belong together, else -1; of the same shape.
        margin: :math:`m`.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if the shapes differ or `reduction` is unknown.
        TypeError: if float dtypes differ.

    Torch: ``torch.nn.functional.hinge_embedding_loss``; shapes must be equal.
    """
    target = labels("hinge_embedding_loss", target, like=input)
    check_shape("hinge_embedding_loss", "target", target, expected=input.shape, of="input")
    apart = jnp.where(target != 1, at_least_zero(margin - input), 0)
    together = jnp.where(target != -1, input, 0)
    return reduced("hinge_embedding_loss", apart + together, reduction)


def margin_ranking_loss(
    input1: Float[Array, "*shape"],
    input2: Float[Array, "*shape"],
    target: Float[Array, "*shape"] | Int[Array, "*shape"],
    margin: float = 0,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Asks one score to be above another: :math:`\max(0, -y (x_1 - x_2) + m)`.

    Args:
        input1: scores.
        input2: scores, of the same shape.
        target: 1 where the first is to be larger, -1 where the second; of the same shape.
        margin: :math:`m`.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of the inputs' shape.

    Raises:
        ValueError: if the shapes differ or `reduction` is unknown.
        TypeError: if float dtypes differ.

    Torch: ``torch.nn.functional.margin_ranking_loss``; shapes must be equal.
    """
    name = "margin_ranking_loss"
    check_same_dtype(name, input1=input1, input2=input2)
    target = labels(name, target, like=input1)
    for kind, value in (("input2", input2), ("target", target)):
        check_shape(name, kind, value, expected=input1.shape, of="input1")
    losses = at_least_zero(-target * (input1 - input2) + margin)
    return reduced(name, losses, reduction)


def cosine_embedding_loss(
    input1: Float[Array, "*N D"],
    input2: Float[Array, "*N D"],
    target: Float[Array, "*N"] | Int[Array, "*N"],
    margin: float = 0,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Asks the cosine of two vectors to be 1 where they belong together, else at most a margin.

    :math:`l = 1 - \cos` for label 1 and :math:`\max(0, \cos - m)` for label -1, where
    :math:`10^{-12}` is added to both squared norms.

    Args:
        input1: vectors ``(N, D)`` or ``(D,)``.
        input2: vectors, of the same shape.
        target: 1 or -1 ``(N,)`` or ``()``.
        margin: :math:`m`, from -1 to 1.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of `target`'s shape.

    Raises:
        ValueError: if shapes do not fit or `reduction` is unknown.
        TypeError: if float dtypes differ.

    Torch: ``torch.nn.functional.cosine_embedding_loss``; the inputs' shapes must be equal.
    """
    name = "cosine_embedding_loss"
    check_ndim(name, "input1", input1, expected={1: "(D,)", 2: "(N, D)"})
    check_same_dtype(name, input1=input1, input2=input2)
    check_shape(name, "input2", input2, expected=input1.shape, of="input1")
    target = labels(name, target, like=input1)
    check_shape(name, "target", target, expected=input1.shape[:-1], of="the batch")
    product, first, second = (
        jnp.sum(x * y, -1) for x, y in ((input1, input2), (input1, input1), (input2, input2))
    )
    cosine = product / jnp.sqrt((first + EPSILON) * (second + EPSILON))
    together = jnp.where(target == 1, 1 - cosine, 0)
    apart = jnp.where(target == -1, at_least_zero(cosine - margin), 0)
    return reduced(name, together + apart, reduction)


def triplet_margin_loss(
    anchor: Float[Array, "*N D"],
    positive: Float[Array, "*N D"],
    negative: Float[Array, "*N D"],
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Asks an anchor to be nearer to a positive than to a negative.

    :math:`l = \max(0, d(a, p) - d(a, n) + m)` with :func:`pairwise_distance`.

    Args:
        anchor: vectors ``(N, D)`` or ``(D,)``.
        positive: vectors that belong to the anchors.
        negative: vectors that do not.
        margin: :math:`m`, above 0.
        p: the norm's degree.
        eps: added to each difference.
        swap: use the negative's distance to the positive where that is smaller.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` one number for each triplet ``(N,)``.

    Raises:
        ValueError: if shapes do not fit, `margin` is not positive or `reduction` is unknown.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.triplet_margin_loss``; no deviation.

    Source: Balntas et al., "Learning local feature descriptors with triplets and shallow
    convolutional neural networks", BMVC 2016.
    """

    def distance(x, y):
        return pairwise_distance(x, y, p, eps)

    name = "triplet_margin_loss"
    losses = _triplet(name, anchor, positive, negative, distance, margin, swap)
    return reduced(name, losses, reduction)


def triplet_margin_with_distance_loss(
    anchor: Float[Array, "..."],
    positive: Float[Array, "..."],
    negative: Float[Array, "..."],
    *,
    distance_function: Callable[[Array, Array], Array] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    """As :func:`triplet_margin_loss`, with a distance of one's own.

    Args:
        anchor: whatever the distance takes.
        positive: what belongs to the anchors, with as many axes.
        negative: what does not, with as many axes.
        distance_function: of two tensors; :func:`pairwise_distance` if None.
        margin: above 0.
        swap: use the negative's distance to the positive where that is smaller.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of the distances' shape.

    Raises:
        ValueError: if the numbers of axes differ, `margin` is not positive or `reduction` is
            unknown.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.triplet_margin_with_distance_loss``; no deviation.
    """
    name, distance = "triplet_margin_with_distance_loss", distance_function or pairwise_distance
    losses = _triplet(name, anchor, positive, negative, distance, margin, swap)
    return reduced(name, losses, reduction)


def check_power(function: str, p: int) -> None:
    """Checks the exponent of a hinge."""
    if p not in (1, 2):
        raise ValueError(f"{function}: p: expected 1 or 2, got {p}. Other powers: write it out.")


def check_margin(function: str, margin: float) -> None:
    """Checks a triplet's margin."""
    if margin <= 0:
        raise ValueError(
            f"{function}: margin: expected above 0, got {margin}. Without a margin equal distances "
            "would do."
        )


def _positive(x):
    """The positive part, with derivative 0 at 0; NaN counts as negative, as in torch's loops."""
    return jnp.where(x > 0, x, 0)


def _triplet(function, anchor, positive, negative, distance, margin, swap):
    check_margin(function, margin)
    check_same_dtype(function, anchor=anchor, positive=positive, negative=negative)
    for name, value in (("positive", positive), ("negative", negative)):
        if value.ndim != anchor.ndim:
            raise ValueError(
                f"{function}: {name}: expected {anchor.ndim} axes as anchor has, got shape "
                f"{value.shape}. Add the missing axes with x[None]."
            )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = jnp.minimum(far, distance(positive, negative))
    return at_least_zero(margin + near - far)
