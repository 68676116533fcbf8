"""Losses between predictions and numbers or distributions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fdl._checks import check_same_dtype
from fdl.functional._losses import (
    absolute,
    check_pair,
    check_shape,
    labels,
    raised,
    reduced,
    summed,
)


def l1_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: str = "mean",
    weight: Float[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    r"""Absolute error :math:`w |x - t|`; a weighted mean divides by :math:`\sum w`.

    Args:
        input: predictions.
        target: targets, of the same shape.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.
        weight: one weight for each element, of the same shape; or None for 1.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if the shapes differ or `reduction` is unknown.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.l1_loss``; shapes must be equal, where torch broadcasts and warns.
    """
    check_pair("l1_loss", "target", target, input=input)
    return _weighted("l1_loss", absolute(input - target), weight, reduction)


def mse_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: str = "mean",
    weight: Float[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    r"""Squared error :math:`w (x - t)^2`; a weighted mean divides by :math:`\sum w`.

    Args:
        input: predictions.
        target: targets, of the same shape.
        reduction: ``"mean"`` over all elements, ``"sum"``, or ``"none"``.
        weight: one weight for each element, of the same shape; or None for 1.

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
    check_pair("mse_loss", "target", target, input=input)
    return _weighted("mse_loss", jnp.square(input - target), weight, reduction)


def smooth_l1_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: str = "mean",
    beta: float = 1.0,
) -> Float[Array, "..."]:
    r"""Squared error near 0 and absolute error beyond :math:`\beta`, of slope 1 there.

    :math:`l = d^2 / (2 \beta)` where :math:`|d| < \beta`, else :math:`|d| - \beta / 2`, with
    :math:`d = x - t`.

    Args:
        input: predictions.
        target: targets, of the same shape.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.
        beta: where the kinds meet; at 0 this is :func:`l1_loss`.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if the shapes differ, `beta` is negative or `reduction` is unknown.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.smooth_l1_loss``; shapes must be equal.

    Source: Girshick, "Fast R-CNN", ICCV 2015.
    """
    if beta < 0:
        raise ValueError(
            f"smooth_l1_loss: beta: expected at least 0, got {beta}. At 0 it is the L1 loss."
        )
    check_pair("smooth_l1_loss", "target", target, input=input)
    if beta == 0:
        return reduced("smooth_l1_loss", absolute(input - target), reduction)
    near, far = _parted(input - target, beta)
    return reduced("smooth_l1_loss", jnp.square(near) * (0.5 / beta) + far, reduction)


def huber_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Float[Array, "*shape"] | None = None,
) -> Float[Array, "..."]:
    r"""Squared error near 0 and absolute error of slope :math:`\delta` beyond :math:`\delta`.

    :math:`l = w d^2 / 2` where :math:`|d| \le \delta`, else
    :math:`w \delta (|d| - \delta / 2)`, with :math:`d = x - t`; the mean divides by the number of
    elements, whatever the weights.

    Args:
        input: predictions.
        target: targets, of the same shape.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.
        delta: where the kinds meet, above 0.
        weight: one weight for each element, of the same shape; or None for 1.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if the shapes differ, `delta` is not positive or `reduction` is unknown.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.huber_loss``; shapes must be equal.

    Source: Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist. 35 (1964).
    """
    if delta <= 0:
        raise ValueError(
            f"huber_loss: delta: expected above 0, got {delta}. For the L1 loss use l1_loss."
        )
    check_pair("huber_loss", "target", target, input=input)
    near, far = _parted(input - target, delta)
    losses = jnp.square(near) * 0.5 + far * delta
    if weight is not None:
        check_pair("huber_loss", "weight", weight, input=input)
        losses = losses * weight
    return reduced("huber_loss", losses, reduction)


def poisson_nll_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"] | Int[Array, "*shape"],
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Negative log likelihood of counts under a Poisson distribution.

    :math:`l = e^x - t x`, or :math:`x - t \log(x + \epsilon)` without `log_input`; with `full` also
    Stirling's :math:`t \log t - t + \log(2 \pi t) / 2` where :math:`t > 1`.

    Args:
        input: the logarithm of the expected count, or with ``log_input=False`` that count.
        target: counts, of the same shape.
        log_input: whether `input` is a logarithm.
        full: add Stirling's approximation of :math:`\log t!`.
        eps: keeps the logarithm of a zero `input` finite.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if the shapes differ or `reduction` is unknown.
        TypeError: if float dtypes differ.

    Torch: ``torch.nn.functional.poisson_nll_loss``; shapes must be equal.
    """
    target = labels("poisson_nll_loss", target, like=input)
    check_shape("poisson_nll_loss", "target", target, expected=input.shape, of="input")
    mean, log = (jnp.exp(input), input) if log_input else (input, jnp.log(input + eps))
    losses = mean - target * log
    if full:
        stirling = target * jnp.log(target) - target + 0.5 * jnp.log(2 * math.pi * target)
        losses = losses + jnp.where(target > 1, stirling, 0)
    return reduced("poisson_nll_loss", losses, reduction)


def gaussian_nll_loss(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    var: Float[Array, "..."] | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""Negative log likelihood under normal distributions of given variances.

    :math:`l = (\log v + (x - t)^2 / v) / 2` with :math:`v = \max(var, \epsilon)`, and with `full`
    also :math:`\log(2 \pi) / 2`. The gradient of `var` ignores the maximum.

    Args:
        input: expected values.
        target: observations, of the same shape.
        var: variances: of `input`'s shape, with its last axis missing or any one axis 1 long, or a
            number.
        full: add the constant.
        eps: the least variance.
        reduction: ``"mean"``, ``"sum"``, or ``"none"``.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if shapes do not fit, a variance is negative (unseen inside ``jax.jit``), or
            `reduction` is unknown.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.gaussian_nll_loss``; `input` and `target` must have equal shapes.

    Source: Nix and Weigend, "Estimating the mean and variance of the target probability
    distribution", ICNN 1994.
    """
    check_pair("gaussian_nll_loss", "target", target, input=input)
    var = _variances(input, jnp.full_like(input, var) if isinstance(var, float | int) else var)
    var = raised(var, eps)
    losses = 0.5 * (jnp.log(var) + jnp.square(input - target) / var)
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return reduced("gaussian_nll_loss", losses, reduction)


def kl_div(
    input: Float[Array, "*shape"],
    target: Float[Array, "*shape"],
    reduction: str = "mean",
    log_target: bool = False,
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence :math:`t (\log t - x)` of log-probabilities from probabilities.

    Args:
        input: log-probabilities.
        target: probabilities, or with `log_target` log-probabilities, of the same shape.
        reduction: ``"batchmean"``, the divergence as it is defined, averaged over the first axis;
            ``"mean"`` over all elements; ``"sum"``; or ``"none"``.
        log_target: whether `target` holds logarithms.

    Returns:
        A scalar, or with ``"none"`` a tensor of `input`'s shape.

    Raises:
        ValueError: if the shapes differ or `reduction` is unknown.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.kl_div``; shapes must be equal; no warning at ``"mean"``.
    """
    check_pair("kl_div", "target", target, input=input)
    if log_target:
        losses = jnp.exp(target) * (target - input)
    else:
        losses = jax.scipy.special.xlogy(target, target) - target * input
    if reduction == "batchmean":
        return summed(losses) / (input.shape[0] if input.ndim else 1)
    return reduced("kl_div", losses, reduction)


def _weighted(function, losses, weight, reduction):
    if weight is None:
        return reduced(function, losses, reduction)
    check_pair(function, "weight", weight, input=losses)
    if reduction == "mean":
        return summed(losses * weight) / summed(weight)
    return reduced(function, losses * weight, reduction)


def _parted(difference, edge):
    """The difference where it is within the edge; its size beyond half the edge, where not.

    Each is 0 where the other one holds, so that an infinite difference has a finite gradient.
    """
    far = absolute(difference) >= edge
    near = jnp.where(far, 0, difference)
    return near, jnp.where(far, absolute(jnp.where(far, difference, edge)) - 0.5 * edge, 0)


def _variances(input, var):
    if input.ndim and var.shape == input.shape[:-1]:
        var = var[..., None]
    others = [v for v, i in zip(var.shape, input.shape, strict=False) if v != i]
    if var.ndim != input.ndim or others not in ([], [1]):
        raise ValueError(
            f"gaussian_nll_loss: var: expected input's shape {input.shape}, perhaps with its last "
            f"axis missing or one axis 1 long, got {var.shape}. Reshape it with var[..., None]."
        )
    check_same_dtype("gaussian_nll_loss", input=input, var=var)
    if not isinstance(var, jax.core.Tracer) and (np.asarray(var) < 0).any():
        raise ValueError(
            "gaussian_nll_loss: var: expected no negative variance, got "
            f"{float(np.asarray(var).min())}. Predict log variances and pass their exponential."
        )
    return var
