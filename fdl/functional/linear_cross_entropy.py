"""Cross entropy of an affine map, without keeping its logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fdl._checks import check_axis, check_ndim
from fdl.functional._formulations import is_known
from fdl.functional._losses import check_classes, check_shape, reduced, summed, weights_of
from fdl.functional.classification import check_smoothing, cross_entropy
from fdl.functional.linear import linear


class LinearCrossEntropyOptions(NamedTuple):
    """How many rows :func:`linear_cross_entropy` takes at a time.

    Attributes:
        batch_chunk_size: rows of a chunk; None leaves it to `chunking_method`, or without one takes
            all.
        chunking_method: ``"aspect_ratio"``, a power of two of rows such that a chunk's logits are
            about as large as the input; ``"aspect_ratio:k"``, a k-th of that; ``"auto"``, which is
            ``"aspect_ratio:2"`` where no `batch_chunk_size` is given; or None.

    Torch: ``torch.nn.LinearCrossEntropyOptions``, less what concerns its accumulation buffers.
    """

    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"


def linear_cross_entropy(
    input: Float[Array, "*N I"],
    linear_weight: Float[Array, "C ... I"],
    target: Int[Array, "..."] | Float[Array, "..."],
    *,
    linear_bias: Float[Array, "C ..."] | None = None,
    weight: Float[Array, " C"] | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Float[Array, "..."]:
    r"""Cross entropy between classes and the logits :math:`x W^\top + b`.

    Args:
        input: features ``(N, I)`` or ``(I,)``.
        linear_weight: ``(C, I)``; or ``(C, d1, ..., I)`` for one loss at each of ``d1, ...``.
        target: class indices ``(N, d1, ...)`` or ``()``; or probabilities ``(N, C, d1, ...)``.
        linear_bias: ``(C, d1, ...)``, or None.
        weight: one weight for each class ``(C,)``, or None for 1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        ignore_index: class index that counts for nothing (-100 if None); for class indices only.
        label_smoothing: share of each target that all classes divide, from 0 to 1.
        options: take the rows in chunks, whose logits are computed anew for the gradient instead of
            kept: for many classes and much memory. Chunks are taken for class indices ``(N,)``
            without smoothing, N known, else all rows at once.

    Returns:
        A scalar, or with ``"none"`` a tensor of the targets' shape.

    Raises:
        ValueError: if shapes do not fit, `reduction` or a chunking method is unknown, or a class
            index is out of range (inside ``jax.jit`` that makes the loss NaN).
        TypeError: if float dtypes differ.

    Torch: ``torch.nn.functional.linear_cross_entropy``; no warning where `options` are not used.
    """
    _check(input, linear_weight, linear_bias, target, ignore_index)
    check_smoothing("linear_cross_entropy", label_smoothing)
    ignored = -100 if ignore_index is None else ignore_index
    classes, *outputs = linear_weight.shape[:-1]
    if options is not None and _is_chunked(input, target, outputs, label_smoothing):
        rows = _rows(options, len(input), input.shape[-1], classes)
        named = {"weight": weight, "ignore_index": ignored, "reduction": reduction}
        return _by_chunks(rows, input, target, linear_weight, linear_bias, **named)
    flat = linear_weight.reshape(-1, linear_weight.shape[-1])
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    logits = linear(input, flat, bias).reshape(*input.shape[:-1], classes, *outputs)
    return cross_entropy(logits, target, weight, ignored, reduction, label_smoothing)


def _is_chunked(input, target, outputs, label_smoothing):
    integers = jnp.issubdtype(target.dtype, jnp.integer)
    rows = input.ndim == 2 and is_known(input.shape) and len(input)
    return rows and integers and not outputs and not label_smoothing


def _by_chunks(rows, input, target, linear_weight, linear_bias, *, weight, ignore_index, reduction):
    classes = len(linear_weight)
    check_classes(
        "linear_cross_entropy",
        target,
        shape=input.shape[:1],
        classes=classes,
        ignore_index=ignore_index,
    )

    @jax.checkpoint
    def loss(row):
        logits = linear(row[0], linear_weight, linear_bias)
        return cross_entropy(logits, row[1], weight, ignore_index, reduction="none")

    losses = jax.lax.map(loss, (input, target), batch_size=rows)
    if reduction != "mean":
        return reduced("linear_cross_entropy", losses, reduction)
    counts = target != ignore_index
    index = jnp.where(counts, target, 0)
    weights = weights_of("linear_cross_entropy", weight, index, like=input, classes=classes)
    return summed(losses) / summed(jnp.where(counts, weights, 0))


def _rows(options, batch, features, classes):
    size, method = options
    if size is not None and size < 1:
        raise ValueError(
            f"linear_cross_entropy: batch_chunk_size: expected at least 1, got {size}. "
            "None takes all rows at once."
        )
    if method == "auto":
        method = "aspect_ratio:2" if size is None else None
    if method is None:
        return batch if size is None else min(size, batch)
    name, _, part = method.partition(":")
    if name != "aspect_ratio" or (part and (not part.isdigit() or int(part) < 1)):
        raise ValueError(
            "linear_cross_entropy: chunking_method: expected 'auto', 'aspect_ratio', "
            f"'aspect_ratio:k' or None, got {method!r}. Or give a batch_chunk_size."
        )
    wanted = -(-batch // -(-classes // features))
    rows = max(1, min((1 << (wanted - 1).bit_length()) // int(part or 1), batch))
    if size not in (None, rows):
        raise ValueError(
            f"linear_cross_entropy: batch_chunk_size: expected {rows} as chunking_method "
            f"{method!r} asks, got {size}. Give only one of them."
        )
    return rows


def _check(input, linear_weight, linear_bias, target, ignore_index):
    name = "linear_cross_entropy"
    check_ndim(name, "input", input, expected={1: "(I,)", 2: "(N, I)"})
    if linear_weight.ndim < 2:
        raise ValueError(
            f"{name}: linear_weight: expected shape (C, I) or (C, d1, ..., I), got "
            f"{linear_weight.shape}. Its first axis are the classes."
        )
    features = linear_weight.shape[-1]
    check_axis(name, "input features", input.shape[-1], expected=features, of="linear_weight")
    if linear_bias is not None:
        expected = linear_weight.shape[:-1]
        check_shape(name, "linear_bias", linear_bias, expected=expected, of="linear_weight")
    if linear_weight.ndim > 2 and input.ndim == 1:
        raise ValueError(
            f"{name}: input: expected shape (N, I) beside a linear_weight of shape "
            f"{linear_weight.shape}, got {input.shape}. Add the batch axis with input[None]."
        )
    if ignore_index is not None and target.shape == input.shape[:-1] + linear_weight.shape[:-1]:
        raise ValueError(
            f"{name}: ignore_index: expected None beside probabilities, got {ignore_index}. "
            "Only class indices can be ignored."
        )
