"""Activations, with torch's derivative at every kink, and torch's values at NaN and infinity."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fdl._checks import check_same_dtype
from fdl.functional import _slopes
from fdl.functional._rectifier import rectify

Elements = Float[Array, "*shape"]
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def relu(input: Elements) -> Elements:
    r"""Computes :math:`\max(x, 0)`, with derivative 0 at 0 and NaN passed on.

    Example:
        >>> import jax, jax.numpy as jnp, fdl.functional as F
        >>> float(jax.grad(F.relu)(0.0))
        0.0

    Torch: ``torch.nn.functional.relu``; no deviation.
    """
    return rectify(input)


def relu6(input: Elements) -> Elements:
    r"""Computes :math:`\min(\max(x, 0), 6)`, with derivative 0 at 0 and at 6.

    Torch: ``torch.nn.functional.relu6``; no deviation.
    """
    return hardtanh(input, 0.0, 6.0)


def leaky_relu(input: Elements, negative_slope: float = 0.01) -> Elements:
    r"""Computes :math:`x` above 0 and :math:`a x` elsewhere, with derivative :math:`a` at 0.

    Args:
        input: any shape.
        negative_slope: :math:`a`.

    Torch: ``torch.nn.functional.leaky_relu``; no deviation.

    Source: Maas et al., "Rectifier Nonlinearities Improve Neural Network Acoustic Models", 2013.
    """
    return jnp.where(input > 0, input, negative_slope * input)


def prelu(input: Elements, weight: Float[Array, "..."]) -> Elements:
    r"""Computes :math:`x` above 0 and :math:`w x` elsewhere, with derivative :math:`w` at 0.

    Args:
        input: ``(N, C, *)``, or any shape with a single weight.
        weight: one slope for each channel, ``(C,)``; or one for all, ``(1,)`` or ``()``.

    Raises:
        ValueError: if there are not as many weights as channels.
        TypeError: if the dtypes differ.

    Torch: ``torch.nn.functional.prelu``; no deviation.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015.
    """
    check_same_dtype("prelu", input=input, weight=weight)
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ValueError(
            f"prelu: weight: expected shape (1,) or ({channels},) for an input of shape "
            f"{input.shape}, whose channels are axis 1, got {weight.shape}."
        )
    slope = weight.reshape(-1, *(1,) * (input.ndim - 2)) if weight.size > 1 else weight.reshape(())
    positive = input > 0
    return jnp.where(positive, input, slope * jnp.where(positive, 0, input))


def rrelu(
    input: Elements,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    *,
    key: Key[Array, ""] | None = None,
) -> Elements:
    r"""Leaky ReLU whose slope is drawn for each element, :math:`a \sim U(l, u)`, in training.

    In evaluation the slope is the mean :math:`(l + u) / 2`.

    Args:
        input: any shape.
        lower: :math:`l`.
        upper: :math:`u`.
        training: whether to draw.
        key: random key; the same key gives the same slopes. Not needed where nothing is drawn.

    Raises:
        ValueError: if `lower` is above `upper`, or a key is needed and missing.

    Torch: ``torch.nn.functional.rrelu``; the slopes come from `key` instead of a global generator.

    Source: Xu et al., "Empirical Evaluation of Rectified Activations in CNN", 2015.
    """
    if not lower <= upper < float("inf"):
        raise ValueError(f"rrelu: lower: expected at most upper={upper}, finite, got {lower}.")
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    if key is None and lower < upper:
        raise ValueError(
            "rrelu: key: expected a jax.random.key in training, got None. Pass "
            "key=jax.random.key(...), a new one each call."
        )
    slope = lower
    if key is not None:
        slope = jax.random.uniform(key, input.shape, input.dtype, lower, upper)
    return jnp.where(input <= 0, slope * input, input)


def elu(input: Elements, alpha: float = 1.0) -> Elements:
    r"""Computes :math:`x` above 0 and :math:`\alpha (e^x - 1)` elsewhere.

    The derivative at 0 is :math:`\alpha`.

    Torch: ``torch.nn.functional.elu``; no deviation.

    Source: Clevert et al., "Fast and Accurate Deep Network Learning by ELUs", ICLR 2016.
    """
    return _exponential(input, alpha, 1.0)


def celu(input: Elements, alpha: float = 1.0) -> Elements:
    r"""Computes :math:`x` above 0 and :math:`\alpha (e^{x / \alpha} - 1)` elsewhere.

    Raises:
        ValueError: if `alpha` is 0.

    Torch: ``torch.nn.functional.celu``; no deviation.

    Source: Barron, "Continuously Differentiable Exponential Linear Units", 2017.
    """
    if alpha == 0:
        raise ValueError("celu: alpha: expected another number than 0, got 0. For ReLU call relu.")
    return _exponential(input, alpha, 1 / alpha)


def selu(input: Elements) -> Elements:
    r"""Computes :math:`s\,x` above 0 and :math:`s \alpha (e^x - 1)` elsewhere.

    Here :math:`\alpha = 1.67326...` and :math:`s = 1.05070...`; the derivative at 0 is
    :math:`s \alpha`.

    Torch: ``torch.nn.functional.selu``; no deviation.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.
    """
    return SELU_SCALE * _exponential(input, SELU_ALPHA, 1.0)


def _exponential(input, alpha, rate):
    negative = input <= 0
    return jnp.where(negative, alpha * jnp.expm1(rate * jnp.where(negative, input, 0)), input)


def gelu(input: Elements, approximate: Literal["none", "tanh"] = "none") -> Elements:
    r"""Computes :math:`x\,\Phi(x)` with the normal distribution function :math:`\Phi`.

    Args:
        input: any shape.
        approximate: ``"none"``; or ``"tanh"`` for
            :math:`\frac x 2 (1 + \tanh(\sqrt{2 / \pi} (x + 0.044715 x^3)))`.

    Raises:
        ValueError: if `approximate` is neither.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> round(float(F.gelu(jnp.array(1.0))), 4)
        0.8413

    Torch: ``torch.nn.functional.gelu``; no deviation.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate: expected 'none' or 'tanh', got {approximate!r}.")
    if approximate == "tanh":
        return jax.nn.gelu(input, approximate=True)
    return _slopes.gelu(input)


def glu(input: Float[Array, "..."], dim: int = -1) -> Float[Array, "..."]:
    r"""Computes :math:`a\,\sigma(b)`, where :math:`a` and :math:`b` are `input`'s halves.

    Args:
        input: any shape with an even number of elements along `dim`.
        dim: the axis that is halved.

    Returns:
        A tensor half as long along `dim`.

    Raises:
        ValueError: if `input` has no such axis or the axis is odd.

    Torch: ``torch.nn.functional.glu``; no deviation.

    Source: Dauphin et al., "Language Modeling with Gated Convolutional Networks", ICML 2017.
    """
    if not -input.ndim <= dim < input.ndim:
        raise ValueError(f"glu: dim: expected an axis of shape {input.shape}, got {dim}.")
    if input.shape[dim] % 2:
        raise ValueError(
            f"glu: input: expected an even length along dim={dim}, got shape {input.shape}."
        )
    values, gates = jnp.split(input, 2, dim)
    return values * jax.nn.sigmoid(gates)


def sigmoid(input: Elements) -> Elements:
    r"""Computes :math:`1 / (1 + e^{-x})`.

    Torch: ``torch.nn.functional.sigmoid``; no deviation.
    """
    return jax.nn.sigmoid(input)


def logsigmoid(input: Elements) -> Elements:
    r"""Computes :math:`\log(1 / (1 + e^{-x}))`, without overflow.

    Torch: ``torch.nn.functional.logsigmoid``; no deviation.
    """
    return jax.nn.log_sigmoid(input)


def silu(input: Elements) -> Elements:
    r"""Computes :math:`x\,\sigma(x)`, also called swish.

    Torch: ``torch.nn.functional.silu``; no deviation.
    """
    return jax.nn.silu(input)


def mish(input: Elements) -> Elements:
    r"""Computes :math:`x \tanh(\log(1 + e^x))`.

    Torch: ``torch.nn.functional.mish``; no deviation.

    Source: Misra, "Mish: A Self Regularized Non-Monotonic Activation Function", 2019.
    """
    positive = input > 0
    small = jnp.exp(jnp.where(positive, -input, input))  # tanh(log(n)) is (n^2 - 1) / (n^2 + 1)
    top = jnp.where(positive, 1 + 2 * small, small * (small + 2))
    bottom = top + jnp.where(positive, 2 * small * small, 2)
    return input * (top / bottom)


def softplus(input: Elements, beta: float = 1.0, threshold: float = 20.0) -> Elements:
    r"""Computes :math:`\log(1 + e^{\beta x}) / \beta`, or :math:`x` where it is nearly that.

    Args:
        input: any shape.
        beta: :math:`\beta`.
        threshold: above which :math:`\beta x` the result is :math:`x`.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> [round(float(y), 4) for y in F.softplus(jnp.array([0.0, 21.0]))]
        [0.6931, 21.0]

    Torch: ``torch.nn.functional.softplus``; no deviation.
    """
    linear = beta * input > threshold
    return jnp.where(linear, input, jnp.log1p(jnp.exp(jnp.where(linear, 0, beta * input))) / beta)


def softsign(input: Elements) -> Elements:
    r"""Computes :math:`x / (1 + |x|)`.

    Torch: ``torch.nn.functional.softsign``; no deviation.
    """
    return input / (1 + jnp.abs(input))


def tanh(input: Elements) -> Elements:
    r"""Computes :math:`(e^x - e^{-x}) / (e^x + e^{-x})`.

    The derivative is computed from :math:`x`: from the rounded :math:`y`, :math:`1 - y^2` loses its
    digits where :math:`y` is nearly 1.

    Torch: ``torch.nn.functional.tanh``; no deviation.
    """
    return _slopes.tanh(input)


def tanhshrink(input: Elements) -> Elements:
    r"""Computes :math:`x - \tanh(x)`.

    Torch: ``torch.nn.functional.tanhshrink``; no deviation.
    """
    return input - jnp.tanh(input)


def softshrink(input: Elements, lambd: float = 0.5) -> Elements:
    r"""Moves :math:`x` towards 0 by :math:`\lambda`, but not beyond.

    The derivative is 0 from :math:`-\lambda` to :math:`\lambda`, both included, and 1 elsewhere.

    Raises:
        ValueError: if `lambd` is negative.

    Torch: ``torch.nn.functional.softshrink``; no deviation.
    """
    if lambd < 0:
        raise ValueError(f"softshrink: lambd: expected at least 0, got {lambd}.")
    shrunk = jnp.where(input > 0, input - lambd, input + lambd)
    return jnp.where((input >= -lambd) & (input <= lambd), 0, shrunk)


def hardshrink(input: Elements, lambd: float = 0.5) -> Elements:
    r"""Computes 0 where :math:`-\lambda \le x \le \lambda` and :math:`x` elsewhere.

    Torch: ``torch.nn.functional.hardshrink``; no deviation.
    """
    return jnp.where((input >= -lambd) & (input <= lambd), 0, input)


def hardtanh(input: Elements, min_val: float = -1.0, max_val: float = 1.0) -> Elements:
    r"""Computes :math:`\min(\max(x, l), u)`, with derivative 0 at both bounds and NaN passed on.

    Args:
        input: any shape.
        min_val: :math:`l`.
        max_val: :math:`u`.

    Raises:
        ValueError: if `min_val` is above `max_val`.

    Torch: ``torch.nn.functional.hardtanh``; no deviation.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val: expected at most max_val={max_val}, got {min_val}.")
    return jnp.where(input >= max_val, max_val, jnp.where(input <= min_val, min_val, input))


def hardswish(input: Elements) -> Elements:
    r"""Computes :math:`x \min(\max(x + 3, 0), 6) / 6`, with derivative 0 at -3 and 1 at 3.

    Torch: ``torch.nn.functional.hardswish``; no deviation.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019.
    """
    inside = (input > -3) & (input < 3)
    bent = jnp.where(inside, input, 0)
    return jnp.where(inside, bent * (bent + 3) / 6, jnp.where(input <= -3, input * 0, input))


def hardsigmoid(input: Elements) -> Elements:
    r"""Computes :math:`\min(\max(x + 3, 0), 6) / 6`, with derivative 0 at -3 and 3.

    Torch: ``torch.nn.functional.hardsigmoid``; no deviation. The derivative is torch's in every
    precision, that is :math:`1/6` rounded to 24 bits, 3e-8 too large.
    """
    return _slopes.hardsigmoid(input)


def threshold(input: Elements, threshold: float, value: float) -> Elements:
    r"""Computes :math:`x` above `threshold` and `value` elsewhere, with derivative 0 there.

    Torch: ``torch.nn.functional.threshold``; no deviation.
    """
    return jnp.where(input <= threshold, value, input)
