"""Activation layers."""

from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.nn._module import Dtype, Module, draw_key, forked_stream

Elements = Float[Array, "*shape"]


class ReLU(Module):
    r"""Computes :math:`\max(x, 0)`.

    Torch: ``torch.nn.ReLU``; nothing happens in place, so there is no `inplace`, here and below.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.relu(input)


class ReLU6(Module):
    r"""Computes :math:`\min(\max(x, 0), 6)`.

    Torch: ``torch.nn.ReLU6``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.relu6(input)


class LeakyReLU(Module):
    """Scales what is negative by `negative_slope`; see :func:`fdl.functional.leaky_relu`.

    Torch: ``torch.nn.LeakyReLU``; no deviation.
    """

    def __init__(self, negative_slope: float = 0.01):
        self.negative_slope = negative_slope

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.leaky_relu(input, self.negative_slope)


class PReLU(Module):
    """Scales what is negative by a learnt slope; see :func:`fdl.functional.prelu`.

    Parameter: ``weight (num_parameters,)``, at first `init`.

    Args:
        num_parameters: 1, or the number of channels (axis 1 of the input).
        init: initial slope.
        dtype: dtype of the slope.
        rngs: not used.

    Raises:
        ValueError: if `num_parameters` is less than 1.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.PReLU()(jnp.array([-1.0, 2.0])).tolist()
        [-0.25, 2.0]

    Torch: ``torch.nn.PReLU``; no deviation.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        if num_parameters < 1:
            raise ValueError(f"PReLU: num_parameters: expected at least 1, got {num_parameters}.")
        self.num_parameters = num_parameters
        self.init = init
        self.weight = nnx.Param(jnp.full((num_parameters,), float(init), dtype))

    def __call__(self, input: Float[Array, "..."]) -> Float[Array, "..."]:
        """Maps each element."""
        return F.prelu(input, self.weight[...])


class RReLU(Module):
    """Scales what is negative by slopes drawn in training; see :func:`fdl.functional.rrelu`.

    Raises:
        ValueError: if `lower` is above `upper`, when called.

    Torch: ``torch.nn.RReLU``; `rngs` instead of a global generator.
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, *, rngs: nnx.Rngs):
        self.lower = lower
        self.upper = upper
        self.stream = forked_stream(rngs, upper - lower)

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        key = draw_key(self.stream, self.training)
        return F.rrelu(input, self.lower, self.upper, self.training, key=key)


class ELU(Module):
    """The exponential linear unit; see :func:`fdl.functional.elu`.

    Torch: ``torch.nn.ELU``; no deviation.
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.elu(input, self.alpha)


class CELU(Module):
    """The continuously differentiable ELU; see :func:`fdl.functional.celu`.

    Raises:
        ValueError: if `alpha` is 0, when called.

    Torch: ``torch.nn.CELU``; no deviation.
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.celu(input, self.alpha)


class SELU(Module):
    """The self-normalising ELU; see :func:`fdl.functional.selu`.

    Torch: ``torch.nn.SELU``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.selu(input)


class GELU(Module):
    """The Gaussian error linear unit; see :func:`fdl.functional.gelu`.

    Raises:
        ValueError: if `approximate` is neither ``"none"`` nor ``"tanh"``, when called.

    Torch: ``torch.nn.GELU``; no deviation.
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none"):
        self.approximate: Literal["none", "tanh"] = approximate

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.gelu(input, self.approximate)


class GLU(Module):
    """Gates one half of the input by the other; see :func:`fdl.functional.glu`.

    Raises:
        ValueError: if the axis `dim` is missing or odd, when called.

    Torch: ``torch.nn.GLU``; no deviation.
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def __call__(self, input: Float[Array, "..."]) -> Float[Array, "..."]:
        """Halves the input along `dim`."""
        return F.glu(input, self.dim)


class Sigmoid(Module):
    r"""Computes :math:`1 / (1 + e^{-x})`.

    Torch: ``torch.nn.Sigmoid``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.sigmoid(input)


class LogSigmoid(Module):
    r"""Computes :math:`\log(1 / (1 + e^{-x}))`.

    Torch: ``torch.nn.LogSigmoid``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.logsigmoid(input)


class SiLU(Module):
    r"""Computes :math:`x / (1 + e^{-x})`, also called swish.

    Torch: ``torch.nn.SiLU``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.silu(input)


class Mish(Module):
    r"""Computes :math:`x \tanh(\log(1 + e^x))`.

    Torch: ``torch.nn.Mish``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.mish(input)


class Softplus(Module):
    """A smooth ReLU; see :func:`fdl.functional.softplus`.

    Torch: ``torch.nn.Softplus``; no deviation.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta = beta
        self.threshold = threshold

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.softplus(input, self.beta, self.threshold)


class Softsign(Module):
    """Computes :math:`x / (1 + |x|)`.

    Torch: ``torch.nn.Softsign``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.softsign(input)


class Tanh(Module):
    r"""Computes the hyperbolic tangent.

    Torch: ``torch.nn.Tanh``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.tanh(input)


class Tanhshrink(Module):
    r"""Computes :math:`x - \tanh(x)`.

    Torch: ``torch.nn.Tanhshrink``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.tanhshrink(input)


class Softshrink(Module):
    """Moves elements towards 0 by `lambd`; see :func:`fdl.functional.softshrink`.

    Raises:
        ValueError: if `lambd` is negative, when called.

    Torch: ``torch.nn.Softshrink``; no deviation.
    """

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.softshrink(input, self.lambd)


class Hardshrink(Module):
    """Zeroes elements within `lambd` of 0; see :func:`fdl.functional.hardshrink`.

    Torch: ``torch.nn.Hardshrink``; no deviation.
    """

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.hardshrink(input, self.lambd)


class Hardtanh(Module):
    """Clips elements; see :func:`fdl.functional.hardtanh`.

    Raises:
        ValueError: if `max_val` is not above `min_val`.

    Torch: ``torch.nn.Hardtanh``; without the deprecated `min_value` and `max_value`.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0):
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: max_val: expected above min_val={min_val}, got {max_val}.")
        self.min_val = min_val
        self.max_val = max_val

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.hardtanh(input, self.min_val, self.max_val)


class Hardswish(Module):
    r"""Computes :math:`x \min(\max(x + 3, 0), 6) / 6`.

    Torch: ``torch.nn.Hardswish``; no deviation.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.hardswish(input)


class Hardsigmoid(Module):
    r"""Computes :math:`\min(\max(x + 3, 0), 6) / 6`.

    Torch: ``torch.nn.Hardsigmoid``; no deviation, see :func:`fdl.functional.hardsigmoid`.
    """

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.hardsigmoid(input)


class Threshold(Module):
    """Replaces elements that are not above `threshold` by `value`.

    Torch: ``torch.nn.Threshold``; no deviation.
    """

    def __init__(self, threshold: float, value: float):
        self.threshold = threshold
        self.value = value

    def __call__(self, input: Elements) -> Elements:
        """Maps each element."""
        return F.threshold(input, self.threshold, self.value)
