"""Dropout, as a function of its key."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from fdl._checks import check_ndim
from fdl.functional.activation import SELU_ALPHA, SELU_SCALE

Elements = Float[Array, "*shape"]
RandomKey = Key[Array, ""] | None


def dropout(
    input: Elements, p: float = 0.5, training: bool = True, *, key: RandomKey = None
) -> Elements:
    r"""Zeroes each element with probability `p` and scales the others by :math:`1 / (1 - p)`.

    Args:
        input: any shape.
        p: probability of an element to be zeroed, from 0 to 1.
        training: if false, `input` is returned as it is.
        key: random key; the same key gives the same mask. Not needed where nothing is dropped.

    Returns:
        A tensor of `input`'s shape and dtype. What is zeroed is multiplied by 0: NaN stays.

    Raises:
        ValueError: if `p` is outside 0 to 1, or a key is needed and missing.

    Example:
        >>> import jax, jax.numpy as jnp, fdl.functional as F
        >>> F.dropout(jnp.ones(3), p=0.5, training=False).tolist()
        [1.0, 1.0, 1.0]

    Torch: ``torch.nn.functional.dropout``; the mask comes from `key` instead of a global
    generator, and nothing happens in place.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 15, 2014.
    """
    return _zeroed("dropout", input, input.shape, p, training, key)


def dropout1d(
    input: Float[Array, "..."], p: float = 0.5, training: bool = True, *, key: RandomKey = None
) -> Float[Array, "..."]:
    r"""Zeroes whole channels of sequences ``(N, C, L)`` or ``(C, L)``; see :func:`dropout`.

    Torch: ``torch.nn.functional.dropout1d``; the mask comes from `key`.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks", CVPR 2015.
    """
    check_ndim("dropout1d", "input", input, expected={3: "(N, C, L)", 2: "(C, L)"})
    return _zeroed("dropout1d", input, _channels(input, input.ndim - 1), p, training, key)


def dropout2d(
    input: Float[Array, "..."], p: float = 0.5, training: bool = True, *, key: RandomKey = None
) -> Float[Array, "..."]:
    r"""Zeroes whole channels of images ``(N, C, H, W)``; see :func:`dropout`.

    Three axes are read as ``(N, C, L)``, not as an image without batch: so torch does, and warns.

    Torch: ``torch.nn.functional.dropout2d``; the mask comes from `key`, and other numbers of axes,
    which torch deprecates, are refused.
    """
    check_ndim("dropout2d", "input", input, expected={4: "(N, C, H, W)", 3: "(N, C, L)"})
    return _zeroed("dropout2d", input, _channels(input, 2), p, training, key)


def dropout3d(
    input: Float[Array, "..."], p: float = 0.5, training: bool = True, *, key: RandomKey = None
) -> Float[Array, "..."]:
    r"""Zeroes whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see :func:`dropout`.

    Torch: ``torch.nn.functional.dropout3d``; the mask comes from `key`, and other numbers of axes,
    which torch deprecates, are refused.
    """
    check_ndim("dropout3d", "input", input, expected={5: "(N, C, D, H, W)", 4: "(C, D, H, W)"})
    return _zeroed("dropout3d", input, _channels(input, input.ndim - 3), p, training, key)


def alpha_dropout(
    input: Elements, p: float = 0.5, training: bool = False, *, key: RandomKey = None
) -> Elements:
    r"""Dropout that keeps mean 0 and variance 1, for networks of :func:`selu`.

    With SELU's limit :math:`m = -s \alpha` and :math:`a = ((1 + p m^2)(1 - p))^{-1/2}`, an element
    becomes :math:`a\,(x - p m)` if it is kept and :math:`a\,(m - p m)` if not.

    Args:
        input: any shape.
        p: probability of an element to be dropped, from 0 to 1. With 1 all is 0, as in torch.
        training: if false, which is the default here as in torch, `input` is returned as it is.
        key: random key; the same key gives the same mask. Not needed where nothing is dropped.

    Returns:
        A tensor of `input`'s shape and dtype.

    Raises:
        ValueError: if `p` is outside 0 to 1, or a key is needed and missing.

    Torch: ``torch.nn.functional.alpha_dropout``; the mask comes from `key`.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", NeurIPS 2017.
    """
    return _saturated("alpha_dropout", input, input.shape, p, training, key)


def feature_alpha_dropout(
    input: Float[Array, "N C *spatial"],
    p: float = 0.5,
    training: bool = False,
    *,
    key: RandomKey = None,
) -> Float[Array, "N C *spatial"]:
    r"""Drops whole channels of ``(N, C, *)`` as :func:`alpha_dropout` drops elements.

    Torch: ``torch.nn.functional.feature_alpha_dropout``; the mask comes from `key`.
    """
    if input.ndim < 2:
        raise ValueError(
            f"feature_alpha_dropout: input: expected shape (N, C, *), got {input.shape}."
        )
    return _saturated("feature_alpha_dropout", input, _channels(input, 2), p, training, key)


def _channels(input, leading):
    """The shape of a mask with one number for each index of the leading axes."""
    return (*input.shape[:leading], *(1,) * (input.ndim - leading))


def _zeroed(function, input, shape, p, training, key):
    keep = _kept(function, shape, p, training, key)
    if keep is None:
        return input * 0 if training and p == 1 else input
    return jnp.where(keep, input / (1 - p), input * 0)


def _saturated(function, input, shape, p, training, key):
    keep = _kept(function, shape, p, training, key)
    if keep is None:
        return input * 0 if training and p == 1 else input
    limit = -SELU_SCALE * SELU_ALPHA
    scale = ((1 + p * limit**2) * (1 - p)) ** -0.5
    shift = scale * p * limit
    return jnp.where(keep, scale * input - shift, input * 0 + (scale * limit - shift))


def _kept(function, shape, p, training, key):
    """The mask, or None where all or nothing is dropped."""
    if not 0 <= p <= 1:
        raise ValueError(f"{function}: p: expected a probability from 0 to 1, got {p}.")
    if not training or p in (0, 1):
        return None
    if key is None:
        raise ValueError(
            f"{function}: key: expected a jax.random.key in training, got None. Pass "
            "key=jax.random.key(...), a new one each call."
        )
    return jax.random.bernoulli(key, 1 - p, shape)
