"""Normalisation layers without running statistics."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.functional.layer_normalization import as_shape, check_groups
from fdl.nn._module import Dtype, Module, value_or_none


class LayerNorm(Module):
    """Normalises over the last axes; see :func:`fdl.functional.layer_norm`.

    Attributes:
        weight: scale, of `normalized_shape`, or None with ``elementwise_affine=False``.
        bias: shift, of `normalized_shape`, or None, also with ``bias=False``.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.LayerNorm(3)(jnp.ones((8, 5, 3))).shape
        (8, 5, 3)

    Torch: ``torch.nn.LayerNorm``; no deviation.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        del rngs  # nothing is drawn; taken so that all layers are made alike
        shape = as_shape(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.weight = nnx.Param(jnp.ones(shape, dtype)) if elementwise_affine else None
        self.bias = nnx.Param(jnp.zeros(shape, dtype)) if elementwise_affine and bias else None

    def __call__(self, input: Float[Array, "*batch_and_shape"]) -> Float[Array, "*batch_and_shape"]:
        """Normalises ``(..., *normalized_shape)``."""
        weight, bias = value_or_none(self.weight), value_or_none(self.bias)
        return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class RMSNorm(Module):
    """Divides by the root mean square over the last axes; see :func:`fdl.functional.rms_norm`.

    Attributes:
        weight: scale, of `normalized_shape`, or None with ``elementwise_affine=False``.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.RMSNorm(3)(jnp.ones((8, 5, 3))).shape
        (8, 5, 3)

    Torch: ``torch.nn.RMSNorm``; no deviation.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        del rngs  # nothing is drawn; taken so that all layers are made alike
        shape = as_shape(normalized_shape)
        self.normalized_shape = shape
        self.eps = eps
        self.weight = nnx.Param(jnp.ones(shape, dtype)) if elementwise_affine else None

    def __call__(self, x: Float[Array, "*batch_and_shape"]) -> Float[Array, "*batch_and_shape"]:
        """Normalises ``(..., *normalized_shape)``."""
        return F.rms_norm(x, self.normalized_shape, value_or_none(self.weight), self.eps)


class GroupNorm(Module):
    """Normalises groups of neighbouring channels; see :func:`fdl.functional.group_norm`.

    Attributes:
        weight: scale ``(num_channels,)``, or None with ``affine=False``.
        bias: shift ``(num_channels,)``, or None, also with ``bias=False``.

    Raises:
        ValueError: if `num_groups` does not divide `num_channels`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.GroupNorm(3, 6)(jnp.ones((8, 6, 4, 4))).shape
        (8, 6, 4, 4)

    Torch: ``torch.nn.GroupNorm``; no deviation.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        del rngs  # nothing is drawn; taken so that all layers are made alike
        check_groups("GroupNorm", num_groups, num_channels)
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.weight = nnx.Param(jnp.ones(num_channels, dtype)) if affine else None
        self.bias = nnx.Param(jnp.zeros(num_channels, dtype)) if affine and bias else None

    def __call__(self, input: Float[Array, "N C *spatial"]) -> Float[Array, "N C *spatial"]:
        """Normalises ``(N, C, ...)``."""
        weight, bias = value_or_none(self.weight), value_or_none(self.bias)
        return F.group_norm(input, self.num_groups, weight, bias, self.eps)


class LocalResponseNorm(Module):
    """Normalises by neighbouring channels; see :func:`fdl.functional.local_response_norm`.

    Torch: ``torch.nn.LocalResponseNorm``; no deviation.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def __call__(self, input: Float[Array, "N C *spatial"]) -> Float[Array, "N C *spatial"]:
        """Normalises ``(N, C, L, ...)``."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)
