"""Dropout layers."""

from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.nn._module import Module, draw_key, forked_stream

Elements = Float[Array, "*shape"]
Channels = Float[Array, "..."]


class _Dropping(Module):
    """What the kinds of dropout share: a probability and a random stream."""

    def __init__(self, p: float = 0.5, *, rngs: nnx.Rngs):
        if not 0 <= p <= 1:
            name = type(self).__name__
            raise ValueError(f"{name}: p: expected a probability from 0 to 1, got {p}.")
        self.p = p
        self.stream = forked_stream(rngs, p)

    def _key(self):
        return draw_key(self.stream, self.training)


class Dropout(_Dropping):
    """Zeroes elements at random in training; see :func:`fdl.functional.dropout`.

    Raises:
        ValueError: if `p` is outside 0 to 1.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.Dropout(0.5, rngs=nnx.Rngs(0))
        >>> layer.eval()
        >>> layer(jnp.ones(3)).tolist()
        [1.0, 1.0, 1.0]

    Torch: ``torch.nn.Dropout``; `rngs` instead of a global generator, no `inplace`.
    """

    def __call__(self, input: Elements) -> Elements:
        """Drops elements in training, is the identity in evaluation."""
        return F.dropout(input, self.p, self.training, key=self._key())


class Dropout1d(_Dropping):
    """Zeroes whole channels of ``(N, C, L)`` or ``(C, L)`` in training.

    Torch: ``torch.nn.Dropout1d``; `rngs` instead of a global generator, no `inplace`.
    """

    def __call__(self, input: Channels) -> Channels:
        """Drops channels in training, is the identity in evaluation."""
        return F.dropout1d(input, self.p, self.training, key=self._key())


class Dropout2d(_Dropping):
    """Zeroes whole channels of ``(N, C, H, W)`` in training; see :func:`fdl.functional.dropout2d`.

    Torch: ``torch.nn.Dropout2d``; `rngs` instead of a global generator, no `inplace`.
    """

    def __call__(self, input: Channels) -> Channels:
        """Drops channels in training, is the identity in evaluation."""
        return F.dropout2d(input, self.p, self.training, key=self._key())


class Dropout3d(_Dropping):
    """Zeroes whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` in training.

    Torch: ``torch.nn.Dropout3d``; `rngs` instead of a global generator, no `inplace`.
    """

    def __call__(self, input: Channels) -> Channels:
        """Drops channels in training, is the identity in evaluation."""
        return F.dropout3d(input, self.p, self.training, key=self._key())


class AlphaDropout(_Dropping):
    """Dropout for networks of SELU, in training; see :func:`fdl.functional.alpha_dropout`.

    Torch: ``torch.nn.AlphaDropout``; `rngs` instead of a global generator, no `inplace`.
    """

    def __call__(self, input: Elements) -> Elements:
        """Drops elements in training, is the identity in evaluation."""
        return F.alpha_dropout(input, self.p, self.training, key=self._key())


class FeatureAlphaDropout(_Dropping):
    """Drops whole channels of ``(N, C, *)`` as :class:`AlphaDropout` drops elements.

    Torch: ``torch.nn.FeatureAlphaDropout``; `rngs` instead of a global generator, no `inplace`.
    """

    def __call__(self, input: Channels) -> Channels:
        """Drops channels in training, is the identity in evaluation."""
        return F.feature_alpha_dropout(input, self.p, self.training, key=self._key())
