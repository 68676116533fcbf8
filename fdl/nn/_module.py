"""The base of every layer."""

from typing import Any

import jax
from flax import nnx

Dtype = Any
"""A dtype of new parameters; None is JAX's default float (float32, or float64 with x64)."""


class Module(nnx.Module):
    """A Flax NNX module with torch's ``training`` flag, true at first as in torch.

    Flax's own ``module.train()`` and ``module.eval()`` reach the flag at any depth, because it is
    also there under Flax's name ``deterministic``.

    Torch: ``torch.nn.Module``; for networks of your own, subclass this or ``flax.nnx.Module``.
    """

    training: bool = True

    @property
    def deterministic(self) -> bool:
        """Flax's name for ``not training``."""
        return not self.training

    @deterministic.setter
    def deterministic(self, value: bool) -> None:
        self.training = not value


class Buffer(nnx.Variable):
    """A tensor that torch registers as a buffer, if it is no running statistic."""


def parameter(key: jax.Array, initializer: Any, shape: tuple[int, ...], dtype: Dtype) -> nnx.Param:
    """Draws a parameter; `initializer` is as in :mod:`fdl.nn.init`."""
    return nnx.Param(initializer(key, shape, dtype))


def value_or_none(variable: nnx.Variable | None) -> jax.Array | None:
    """The array inside an optional parameter."""
    return None if variable is None else variable[...]


def forked_stream(rngs: nnx.Rngs, p: float) -> nnx.RngStream | None:
    """A random stream of its own for a layer that drops with probability `p`; None if it never."""
    return rngs.dropout.fork() if p > 0 else None


def draw_key(stream: nnx.RngStream | None, training: bool) -> jax.Array | None:
    """The next key of a layer's stream, or None where nothing is dropped."""
    return stream() if training and stream is not None else None
