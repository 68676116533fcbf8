"""Pooling by a power mean's root: from the sum of absolute values to the maximum."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdl.functional._spatial import Size, positive_per_axis
from fdl.functional._windows import check_floating
from fdl.functional.avg_pool import avg_pool1d, avg_pool2d, avg_pool3d
from fdl.functional.max_pool import max_pool1d, max_pool2d, max_pool3d

_AVERAGE = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}
_MAXIMUM = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}


def lp_pool1d(
    input: Float[Array, "*N C L"],
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
) -> Float[Array, "*N C L2"]:
    """Takes a power mean's root over windows of ``(N, C, L)``; see :func:`lp_pool2d`.

    Torch: ``torch.nn.functional.lp_pool1d``; no deviation.
    """
    return _lp_pool("lp_pool1d", input, norm_type, kernel_size, stride, ceil_mode, dims=1)


def lp_pool2d(
    input: Float[Array, "*N C H W"],
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
) -> Float[Array, "*N C H2 W2"]:
    r"""Takes the root of the sum of powers over sliding windows.

    :math:`y = \sqrt[p]{\sum_{x \in window} x^p}`, where :math:`x` keeps its sign; the derivative
    is 0 where the sum is 0. Infinite :math:`p` gives the largest absolute value, and minus
    infinity the smallest. A window that hangs over the edge is scaled up to a full one.

    Args:
        input: ``(N, C, H, W)``, or one image ``(C, H, W)``.
        norm_type: the power :math:`p`.
        kernel_size: window, in pixels: one number, or (height, width).
        stride: step of the window; `kernel_size` if None.
        ceil_mode: keep a last window that hangs over the edge.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image; NaN where a root of a negative number
        is asked for.

    Raises:
        ValueError: if shape or window do not fit, or `norm_type` is 0.
        TypeError: if the input is not floating.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.lp_pool2d(jnp.asarray([[[3.0, 4.0]]]), 2, (1, 2)).tolist()
        [[[5.0]]]

    Torch: ``torch.nn.functional.lp_pool2d``; no deviation.
    """
    return _lp_pool("lp_pool2d", input, norm_type, kernel_size, stride, ceil_mode, dims=2)


def lp_pool3d(
    input: Float[Array, "*N C D H W"],
    norm_type: float,
    kernel_size: Size,
    stride: Size | None = None,
    ceil_mode: bool = False,
) -> Float[Array, "*N C D2 H2 W2"]:
    """Takes a power mean's root over windows of ``(N, C, D, H, W)``; see :func:`lp_pool2d`.

    Torch: ``torch.nn.functional.lp_pool3d``; a window may be larger than the input.
    """
    return _lp_pool("lp_pool3d", input, norm_type, kernel_size, stride, ceil_mode, dims=3)


def _lp_pool(
    function: str,
    input: jax.Array,
    norm_type: float,
    kernel_size: Size,
    stride: Size | None,
    ceil_mode: bool,
    dims: int,
) -> jax.Array:
    check_floating(function, input)
    if norm_type == 0:
        raise ValueError(f"{function}: norm_type: expected a number but 0, got {norm_type}.")
    kernel = positive_per_axis(function, "kernel_size", kernel_size, dims)
    if math.isinf(norm_type):
        size = input * jnp.sign(input)  # unlike jnp.abs, flat at 0, as in torch
        sign = math.copysign(1.0, norm_type)
        options = {"ceil_mode": ceil_mode, "return_indices": True}
        return sign * _MAXIMUM[dims](sign * size, kernel, stride, **options)[0]
    mean = _AVERAGE[dims](_power(input, norm_type), kernel, stride, ceil_mode=ceil_mode)
    zero = mean == 0
    total = jnp.where(zero, jnp.ones_like(mean), mean * math.prod(kernel))
    root = total if norm_type == 1 else total ** (1.0 / norm_type)
    return jnp.where(zero, jnp.full_like(mean, 0.0 if norm_type > 0 else math.inf), root)


def _power(input: jax.Array, exponent: float) -> jax.Array:
    if float(exponent).is_integer():
        return lax.integer_pow(input, int(exponent))
    return input**exponent
