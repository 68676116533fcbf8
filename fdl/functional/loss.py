"""Losses."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fdl._checks import check_axis, check_same_dtype


def mse_loss(
    input: Float[Array, "*shape"], target: Float[Array, "*shape"], reduction: str = "mean"
) -> Float[Array, "..."]:
    r"""Squared error :math:`(x - t)^2`.

    Args:
        input: predictions.
        target: targets, of the same shape.
        reduction: ``"mean"`` over all elements, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if the shapes differ or `reduction` is unknown.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> float(F.mse_loss(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0])))
        2.5

    Torch: ``torch.nn.functional.mse_loss``; shapes must be equal, where torch broadcasts and warns.
    """
    check_same_dtype("mse_loss", input=input, target=target)
    if input.shape != target.shape:
        raise ValueError(
            f"mse_loss: target: expected input's shape {input.shape}, got {target.shape}. A "
            "missing axis would broadcast to a wrong loss: add it with target[..., None]."
        )
    return _reduced(jnp.square(input - target), reduction)


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
    check_same_dtype("cross_entropy", input=input, weight=weight)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing: expected 0 to 1, got {label_smoothing}.")
    axis = 0 if input.ndim == 1 else 1
    logp = jax.nn.log_softmax(input, axis)
    weight = jnp.ones_like(input, shape=(input.shape[axis],)) if weight is None else weight
    check_axis("cross_entropy", "weight", weight.size, expected=input.shape[axis], of="input")
    columns = weight.reshape(-1, *(1,) * (input.ndim - axis - 1))
    if jnp.issubdtype(target.dtype, jnp.floating):
        return _from_probabilities(logp, target, columns, axis, reduction, label_smoothing)
    _check_indices(input, target, axis, ignore_index)
    target = target.astype(jnp.result_type(int))  # a narrow type may not hold C or ignore_index
    counts = target != ignore_index
    index = jnp.where(counts, target, 0)
    # An index out of range makes NaN; clamping or counting from the end would hide a wrong label.
    nll = -jnp.take_along_axis(logp, jnp.expand_dims(index, axis), axis).squeeze(axis)
    nll = jnp.where(index < 0, jnp.nan, nll)
    weights = jnp.where(counts, weight[index], 0)
    uniform = -jnp.sum(columns * logp, axis) / input.shape[axis]
    losses = (1 - label_smoothing) * weights * nll
    if label_smoothing:
        losses = losses + label_smoothing * uniform
    losses = jnp.where(counts, losses, 0)
    if reduction == "mean":
        return jnp.sum(losses) / jnp.sum(weights)
    return _reduced(losses, reduction)


def _from_probabilities(logp, target, columns, axis, reduction, label_smoothing):
    check_same_dtype("cross_entropy", input=logp, target=target)
    if target.shape != logp.shape:
        raise ValueError(
            f"cross_entropy: target: expected probabilities of input's shape {logp.shape}, got "
            f"{target.shape}. For class indices pass an integer dtype."
        )
    smoothed = target * (1 - label_smoothing) + label_smoothing / logp.shape[axis]
    losses = -jnp.sum(smoothed * columns * logp, axis)
    return _reduced(losses, reduction)


def _check_indices(input, target, axis, ignore_index):
    expected = input.shape[:axis] + input.shape[axis + 1 :]
    if not jnp.issubdtype(target.dtype, jnp.integer):
        raise TypeError(
            f"cross_entropy: target: expected class indices (integers) or probabilities (floats), "
            f"got {target.dtype}."
        )
    if target.shape != expected:
        raise ValueError(
            f"cross_entropy: target: expected class indices of shape {expected} for logits "
            f"{input.shape}, got {target.shape}."
        )
    if isinstance(target, jax.core.Tracer):
        return
    classes, target = input.shape[axis], target.astype(jnp.result_type(int))
    wrong = (target != ignore_index) & ((target < 0) | (target >= classes))
    if bool(jnp.any(wrong)):
        raise ValueError(
            f"cross_entropy: target: expected class indices from 0 to {classes - 1} or "
            f"ignore_index={ignore_index}, got {int(target[wrong][0])}."
        )


def _reduced(losses, reduction):
    match reduction:
        case "mean":
            return jnp.mean(losses)
        case "sum":
            return jnp.sum(losses)
        case "none":
            return losses
    raise ValueError(f"reduction: expected 'mean', 'sum' or 'none', got {reduction!r}.")
