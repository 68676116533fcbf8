"""Pooling layers with windows at random distances."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.functional._spatial import Size, per_axis, positive_per_axis
from fdl.functional.fractional_pool import Ratio
from fdl.nn._module import Buffer, Module, value_or_none


class _FractionalMaxPool(Module):
    _dims: int

    def __init__(
        self,
        kernel_size: Size,
        output_size: Size | None = None,
        output_ratio: Ratio | None = None,
        return_indices: bool = False,
        _random_samples: jax.Array | None = None,
        *,
        rngs: nnx.Rngs | None = None,
    ):
        name, dims = type(self).__name__, self._dims
        if (output_size is None) == (output_ratio is None):
            raise ValueError(
                f"{name}: output_size, output_ratio: expected one of them, got {output_size} and "
                f"{output_ratio}."
            )
        if _random_samples is None and rngs is None:
            raise ValueError(f"{name}: rngs: expected nnx.Rngs or _random_samples, got None.")
        self.kernel_size = positive_per_axis(name, "kernel_size", kernel_size, dims)
        self.return_indices = return_indices
        self.output_size = (
            None if output_size is None else per_axis(name, "output_size", output_size, dims)
        )
        self.output_ratio = None if output_ratio is None else _ratios(name, output_ratio, dims)
        self._random_samples = None if _random_samples is None else Buffer(_random_samples)
        draws = _random_samples is None and rngs is not None
        self.stream = rngs.dropout.fork() if draws else None

    def _pooled(self, function: Callable[..., Any], input: jax.Array) -> Any:
        return function(
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            value_or_none(self._random_samples),
            key=None if self.stream is None else self.stream(),
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """Takes maxima at random distances; see :func:`fdl.functional.fractional_max_pool2d`.

    Attributes:
        _random_samples: buffer ``(N, C, 2)`` if it was given, else None: then every call draws its
            own, in training and in evaluation.

    Raises:
        ValueError: if sizes do not fit, or neither `rngs` nor samples are given.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.FractionalMaxPool2d(2, output_ratio=0.7, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((8, 3, 32, 32))).shape
        (8, 3, 22, 22)

    Torch: ``torch.nn.FractionalMaxPool2d``; indices are int32; `rngs` instead of a global
    generator: a :class:`fdl.Model` that evaluates without a key draws the same windows each time.

    Source: Graham, "Fractional Max-Pooling", 2014.
    """

    _dims = 2

    def __call__(self, input: Float[Array, "*N C H W"]) -> Any:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        return self._pooled(F.fractional_max_pool2d, input)


class FractionalMaxPool3d(_FractionalMaxPool):
    """Takes maxima at random distances; see :class:`FractionalMaxPool2d`.

    Torch: ``torch.nn.FractionalMaxPool3d``; as there, and windows may just fit, which torch refuses
    in three dimensions.
    """

    _dims = 3

    def __call__(self, input: Float[Array, "*N C D H W"]) -> Any:
        """Maps volumes ``(N, C, D, H, W)``, or one volume ``(C, D, H, W)``."""
        return self._pooled(F.fractional_max_pool3d, input)


def _ratios(name: str, given: Ratio, dims: int) -> tuple[float, ...]:
    ratios = (given,) * dims if isinstance(given, int | float) else tuple(given)
    if len(ratios) != dims or not all(0 < ratio < 1 for ratio in ratios):
        raise ValueError(
            f"{name}: output_ratio: expected one number or {dims}, between 0 and 1, got {given}."
        )
    return ratios
