"""Normalisation."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_same_dtype


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
    variance takes the unbiased one.

    Args:
        input: ``(N, C, ...)``.
        running_mean: ``(C,)``, or None where none is kept.
        running_var: ``(C,)``, or None where none is kept.
        weight: scale ``(C,)``, or None for 1.
        bias: shift ``(C,)``, or None for 0.
        training: whether to use, and fold in, the batch's own statistics.
        momentum: weight of the batch in the running statistics.
        eps: added to the variance.

    Returns:
        A :class:`BatchNormOutput`: torch's side effect is returned instead.

    Raises:
        ValueError: if the channels do not fit, if a channel has one value in training, or if
            running statistics are missing in evaluation.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> x = jnp.arange(4.0).reshape(4, 1)
        >>> F.batch_norm(x, jnp.zeros(1), jnp.ones(1), training=True).running_mean.tolist()
        [0.15000000596046448]

    Torch: ``torch.nn.functional.batch_norm``; returns the running statistics.

    Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015.
    """
    check_same_dtype("batch_norm", input=input, weight=weight, bias=bias)
    channels = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    for name, tensor in channels.items():
        if tensor is not None:
            check_axis(
                "batch_norm", "input channels", input.shape[1], expected=tensor.size, of=name
            )
    if training:
        mean, var, centered = _batch_statistics(input)
        values = input.size // input.shape[1]
        running_mean = _moved(running_mean, mean, momentum)
        running_var = _moved(running_var, var * (values / (values - 1)), momentum)
    elif running_mean is None or running_var is None:
        raise ValueError(
            "batch_norm: running_mean, running_var: expected both in evaluation, got None. Pass "
            "them, or training=True to use the batch's own statistics."
        )
    else:
        mean, var = running_mean.astype(input.dtype), running_var.astype(input.dtype)
        centered = input - _channels(mean, input)

    scale = lax.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    output = centered * _channels(scale, input)
    if bias is not None:
        output = output + _channels(bias, input)
    return BatchNormOutput(output, running_mean, running_var)


def _batch_statistics(input):
    """Mean and biased variance of each channel, and the input less its mean.

    Where the mean is large, its own rounding is large beside the deviations from it. So what it
    leaves in them is taken out too. But for rounding that is zero, and so is its derivative.
    """
    axes = (0, *range(2, input.ndim))
    if input.size == input.shape[1]:
        raise ValueError(
            f"batch_norm: input: expected more than 1 value per channel in training, got shape "
            f"{input.shape}. Use a larger batch, or evaluation mode."
        )
    mean = jnp.mean(input, axes)
    centered = input - _channels(mean, input)
    rest = lax.stop_gradient(jnp.mean(centered, axes))
    var = jnp.mean(jnp.square(centered), axes) - jnp.square(rest)
    return mean + rest, var, centered - _channels(rest, input)


def _channels(vector, input):
    return vector.reshape(-1, *(1,) * (input.ndim - 2))


def _moved(running, batch, momentum):
    if running is None:
        return None
    batch = lax.stop_gradient(batch).astype(running.dtype)
    return running * (1 - momentum) + batch * momentum
