"""Softmax and its kin."""

import operator
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fdl._checks import check_same_dtype


def softmax(
    input: Float[Array, "*shape"], dim: int | None = None, dtype: Any = None
) -> Float[Array, "*shape"]:
    r"""Computes :math:`e^{x_i} / \sum_j e^{x_j}` along an axis.

    Args:
        input: any shape.
        dim: the axis that sums to 1. None warns, and takes axis 0 for 0, 1 and 3 axes, else 1.
        dtype: what `input` is converted to first, or None.

    Returns:
        A tensor of `input`'s shape.

    Raises:
        ValueError: if `input` has no axis `dim`.
        TypeError: if `input` has integers and `dtype` is None.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.softmax(jnp.zeros((2, 4)), dim=-1)[0].tolist()
        [0.25, 0.25, 0.25, 0.25]

    Torch: ``torch.nn.functional.softmax``; no deviation.
    """
    return _along("softmax", jax.nn.softmax, input, dim, dtype)


def softmin(
    input: Float[Array, "*shape"], dim: int | None = None, dtype: Any = None
) -> Float[Array, "*shape"]:
    r"""Computes :math:`e^{-x_i} / \sum_j e^{-x_j}` along an axis; arguments as :func:`softmax`.

    Torch: ``torch.nn.functional.softmin``; no deviation.
    """
    return _along("softmin", lambda x, axis: jax.nn.softmax(-x, axis), input, dim, dtype)


def log_softmax(
    input: Float[Array, "*shape"], dim: int | None = None, dtype: Any = None
) -> Float[Array, "*shape"]:
    r"""Computes :math:`x_i - \log \sum_j e^{x_j}` along an axis; arguments as :func:`softmax`.

    Torch: ``torch.nn.functional.log_softmax``; no deviation.
    """
    return _along("log_softmax", jax.nn.log_softmax, input, dim, dtype)


def gumbel_softmax(
    logits: Float[Array, "*shape"],
    tau: float | Float[Array, ""] = 1,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    key: Key[Array, ""] | None = None,
    noise: Float[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    r"""Samples categories in a way that can be differentiated.

    :math:`y = \mathrm{softmax}((x + g) / \tau)` with :math:`g = -\log(-\log u)`,
    :math:`u \sim U(0, 1)`.

    Args:
        logits: unnormalised log probabilities, any shape.
        tau: temperature :math:`\tau`; the lower, the nearer the samples are to one-hot.
        hard: whether to return one-hot samples, whose gradient is that of :math:`y`.
        eps: has no effect, in torch neither.
        dim: the axis of the categories.
        key: random key; the same key gives the same sample.
        noise: :math:`g`, of `logits`' shape, instead of a key.

    Returns:
        A tensor of `logits`' shape that sums to 1 along `dim`.

    Raises:
        ValueError: if neither or both of `key` and `noise` are given, or the shapes do not fit.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax, jax.numpy as jnp, fdl.functional as F
        >>> sample = F.gumbel_softmax(jnp.zeros((8, 3)), hard=True, key=jax.random.key(0))
        >>> sample.sum(-1).tolist() == [1.0] * 8
        True

    Torch: ``torch.nn.functional.gumbel_softmax``; the noise comes from `key` or is given.

    Source: Jang et al., "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017.
    """
    if key is not None and noise is None:
        noise = jax.random.gumbel(key, logits.shape, logits.dtype)
    elif key is not None or noise is None:
        came = "neither" if noise is None else "both"
        raise ValueError(
            f"gumbel_softmax: key, noise: expected one of them, got {came}. Pass "
            "key=jax.random.key(...), a new one each call."
        )
    check_same_dtype("gumbel_softmax", logits=logits, noise=noise)
    if noise.shape != logits.shape:
        raise ValueError(
            f"gumbel_softmax: noise: expected logits' shape {logits.shape}, got {noise.shape}."
        )
    soft = _along("gumbel_softmax", jax.nn.softmax, (logits + noise) / tau, dim, None)
    if not hard or logits.ndim == 0:
        return soft
    classes = soft.shape[dim]
    one_hot = jax.nn.one_hot(jnp.argmax(soft, dim), classes, dtype=soft.dtype, axis=dim)
    return one_hot - jax.lax.stop_gradient(soft) + soft


def _along(name: str, function: Callable[..., Any], x: Any, dim: int | None, dtype: Any) -> Any:
    """Applies a function of an array and an axis; a scalar counts as one element."""
    x = x if dtype is None else x.astype(dtype)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{name}: input: expected floats, got {x.dtype}. Convert it first.")
    if dim is None:
        dim = 0 if x.ndim in (0, 1, 3) else 1
        warnings.warn(f"{name}: dim: expected an axis, got None, so it is {dim}.", stacklevel=3)
    rank = max(x.ndim, 1)
    if not -rank <= operator.index(dim) < rank:
        raise ValueError(
            f"{name}: dim: expected {-rank} to {rank - 1} for shape {x.shape}, got {dim}."
        )
    return function(x, dim) if x.ndim else function(x[None], 0)[0]
