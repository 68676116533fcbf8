"""Normalisation of each channel, over the batch or within one sample, with running statistics."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_same_dtype
from fdl.functional._moments import normalized, scaled, widened


class BatchNormOutput(NamedTuple):
    """What :func:`batch_norm` returns.

    Attributes:
        output: the normalised input.
        running_mean: the updated running mean ``(C,)``, or None where none was given.
        running_var: the updated, unbiased running variance ``(C,)``, or None.
    """

    output: Float[Array, "N C *spatial"]
    running_mean: Float[Array, " C"] | None
    running_var: Float[Array, " C"] | None


class InstanceNormOutput(NamedTuple):
    """What :func:`instance_norm` returns.

    Attributes:
        output: the normalised input.
        running_mean: the updated running mean ``(C,)``, or None where none was given.
        running_var: the updated, unbiased running variance ``(C,)``, or None.
    """

    output: Float[Array, "N C *spatial"]
    running_mean: Float[Array, " C"] | None
    running_var: Float[Array, " C"] | None


def batch_norm(
    input: Float[Array, "N C *spatial"],
    running_mean: Float[Array, " C"] | None,
    running_var: Float[Array, " C"] | None,
    weight: Float[Array, " C"] | None = None,
    bias: Float[Array, " C"] | None = None,
    training: bool = False,
    momentum: float | Float[Array, ""] = 0.1,
    eps: float = 1e-5,
) -> BatchNormOutput:
    r"""Normalises each channel over the batch and all spatial axes.

    :math:`y = (x - \mu_c) / \sqrt{\sigma^2_c + \epsilon} \cdot w_c + b_c`. In training :math:`\mu`
    and the biased :math:`\sigma^2` are the batch's, and each running statistic moves by
    `momentum` towards the batch's: :math:`r \leftarrow (1 - m)\, r + m\, s`, where the running
    variance takes the unbiased one. An empty batch leaves them as they are.

    Args:
        input: ``(N, C, ...)``.
        running_mean: ``(C,)``, or None where none is kept.
        running_var: ``(C,)``, or None where none is kept.
        weight: scale ``(C,)``, or None for 1.
        bias: shift ``(C,)``, or None for 0.
        training: whether to use, and fold in, the batch's own statistics.
        momentum: weight of the batch in the running statistics.
        eps: added to the variance; positive in training.

    Returns:
        A :class:`BatchNormOutput`: torch's side effect is returned instead.

    Raises:
        ValueError: if the channels do not fit, if a channel has one value in training, if `eps` is
            out of range, or if running statistics are missing in evaluation.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> x = jnp.arange(4.0).reshape(4, 1)
        >>> F.batch_norm(x, jnp.zeros(1), jnp.ones(1), training=True).running_mean.tolist()
        [0.15000000596046448]

    Torch: ``torch.nn.functional.batch_norm``; returns the running statistics.

    Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    """
    if eps < 0 or (training and eps == 0):
        raise ValueError(
            f"batch_norm: eps: expected a positive number (0 in evaluation only), got {eps}. "
            "Torch's default is 1e-5."
        )
    running, affine = _Running(running_mean, running_var), _Affine(weight, bias)
    _check("batch_norm", input, running, affine)
    if not training:
        return BatchNormOutput(_evaluated("batch_norm", input, running, affine, eps), *running)
    axes = (0, *range(2, input.ndim))
    return BatchNormOutput(*_trained("batch_norm", input, running, affine, axes, momentum, eps))


def instance_norm(
    input: Float[Array, "N C *spatial"],
    running_mean: Float[Array, " C"] | None = None,
    running_var: Float[Array, " C"] | None = None,
    weight: Float[Array, " C"] | None = None,
    bias: Float[Array, " C"] | None = None,
    use_input_stats: bool = True,
    momentum: float | Float[Array, ""] = 0.1,
    eps: float = 1e-5,
) -> InstanceNormOutput:
    r"""Normalises each channel of each sample over its spatial axes.

    :math:`y = (x - \mu_{nc}) / \sqrt{\sigma^2_{nc} + \epsilon} \cdot w_c + b_c`. A running
    statistic moves by `momentum` towards the batch's mean of the samples' :math:`\mu`, or of their
    unbiased variances.

    Args:
        input: ``(N, C, ...)``.
        running_mean: ``(C,)``, or None where none is kept.
        running_var: ``(C,)``, or None where none is kept.
        weight: scale ``(C,)``, or None for 1.
        bias: shift ``(C,)``, or None for 0.
        use_input_stats: whether to use, and fold in, the input's own statistics; else the running
            ones are used.
        momentum: weight of the batch in the running statistics.
        eps: added to the variance.

    Returns:
        An :class:`InstanceNormOutput`: torch's side effect is returned instead.

    Raises:
        ValueError: if the channels do not fit, if a channel has one value, or if running statistics
            are missing where they are to be used.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.instance_norm(jnp.array([[[1.0, 3.0]]]), eps=0.0).output.tolist()
        [[[-1.0, 1.0]]]

    Torch: ``torch.nn.functional.instance_norm``; returns the running statistics.

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance Normalization", 2016.
    """
    running, affine = _Running(running_mean, running_var), _Affine(weight, bias)
    _check("instance_norm", input, running, affine)
    if not use_input_stats:
        output = _evaluated("instance_norm", input, running, affine, eps)
        return InstanceNormOutput(output, *running)
    axes = tuple(range(2, input.ndim))
    return InstanceNormOutput(
        *_trained("instance_norm", input, running, affine, axes, momentum, eps)
    )


class _Running(NamedTuple):
    running_mean: jax.Array | None
    running_var: jax.Array | None


class _Affine(NamedTuple):
    weight: jax.Array | None
    bias: jax.Array | None


def _trained(
    function: str,
    input: jax.Array,
    running: _Running,
    affine: _Affine,
    axes: Sequence[int],
    momentum: float | jax.Array,
    eps: float,
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """Normalises by the input's own statistics over `axes`, and folds them in."""
    values = math.prod(input.shape[axis] for axis in axes)
    if values == 1:
        raise ValueError(
            f"{function}: input: expected more than 1 value per channel in training, got shape "
            f"{input.shape}. Use a larger batch or image, or evaluation mode."
        )
    if values == 0:
        return input, running.running_mean, running.running_var
    weight, bias = (None if x is None else _by_channel(input, x) for x in affine)
    output, mean, var = normalized(widened(input), axes, eps, weight, bias)
    unbiased = var * (values / (values - 1))
    return (
        output.astype(input.dtype),
        _moved(running.running_mean, mean, momentum),
        _moved(running.running_var, unbiased, momentum),
    )


def _evaluated(
    function: str, input: jax.Array, running: _Running, affine: _Affine, eps: float
) -> jax.Array:
    if running.running_mean is None or running.running_var is None:
        raise ValueError(
            f"{function}: running_mean, running_var: expected both in evaluation, got None. Pass "
            "them, or have the input's own statistics used."
        )
    wide = widened(input)
    mean, var = (
        _by_channel(input, x.astype(wide.dtype))
        for x in (running.running_mean, running.running_var)
    )
    weight, bias = (None if x is None else _by_channel(input, x) for x in affine)
    return scaled(wide - mean, var, eps, weight, bias).astype(input.dtype)


def _by_channel(input: jax.Array, vector: jax.Array) -> jax.Array:
    """A vector ``(C,)`` so that it broadcasts with the input."""
    return vector.reshape(1, -1, *(1,) * (input.ndim - 2))


def _moved(running, batch, momentum):
    if running is None:
        return None
    old = widened(running)
    samples, channels = batch.shape[:2]
    new = lax.stop_gradient(jnp.mean(batch.reshape(samples, channels), 0)).astype(old.dtype)
    share = momentum.astype(old.dtype) if isinstance(momentum, jax.Array) else momentum
    return (old * (1 - share) + new * share).astype(running.dtype)


def _check(function: str, input: jax.Array, running: _Running, affine: _Affine) -> None:
    check_same_dtype(function, input=input, weight=affine.weight, bias=affine.bias)
    if input.ndim < 2:
        raise ValueError(
            f"{function}: input: expected shape (N, C, ...), got {input.shape}. Add the missing "
            "axes with x[None]."
        )
    for name, tensor in {**running._asdict(), **affine._asdict()}.items():
        if tensor is not None:
            check_axis(function, "input channels", input.shape[1], expected=tensor.size, of=name)
    if (running.running_mean is None) != (running.running_var is None):
        raise ValueError(
            f"{function}: running_mean, running_var: expected both or neither, got one None. "
            "Pass both."
        )
