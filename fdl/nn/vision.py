"""Layers that resize images, or move their pixels."""

from collections.abc import Sequence

from jaxtyping import Array, Float, Shaped

import fdl.functional as F
from fdl.nn._module import Module

Factor = float | tuple[float, ...]


class Upsample(Module):
    """Resizes signals, images or volumes; see :func:`fdl.functional.interpolate`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> layer = fdl.nn.Upsample(scale_factor=2, mode="bilinear")
        >>> layer(jnp.ones((8, 3, 16, 16))).shape
        (8, 3, 32, 32)

    Torch: ``torch.nn.Upsample``; no deviation.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: Factor | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ):
        self.size = tuple(size) if isinstance(size, Sequence) else size
        self.scale_factor = (
            tuple(scale_factor) if isinstance(scale_factor, Sequence) else scale_factor
        )
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def __call__(self, input: Float[Array, "N C *spatial"]) -> Float[Array, "N C *resized"]:
        """Maps ``(N, C, ...)`` with one, two or three spatial axes."""
        return F.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )


class UpsamplingNearest2d(Upsample):
    """:class:`Upsample` with ``mode="nearest"``.

    Torch: ``torch.nn.UpsamplingNearest2d``; no deviation.
    """

    def __init__(self, size: int | Sequence[int] | None = None, scale_factor: Factor | None = None):
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """:class:`Upsample` with ``mode="bilinear"`` and ``align_corners=True``.

    Torch: ``torch.nn.UpsamplingBilinear2d``; no deviation.
    """

    def __init__(self, size: int | Sequence[int] | None = None, scale_factor: Factor | None = None):
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class PixelShuffle(Module):
    """Moves channels into space; see :func:`fdl.functional.pixel_shuffle`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.PixelShuffle(2)(jnp.ones((8, 12, 16, 16))).shape
        (8, 3, 32, 32)

    Torch: ``torch.nn.PixelShuffle``; no deviation.
    """

    def __init__(self, upscale_factor: int):
        self.upscale_factor = upscale_factor

    def __call__(self, input: Shaped[Array, "*N C H W"]) -> Shaped[Array, "*N C_out H_out W_out"]:
        """Maps images ``(..., C r^2, H, W)``."""
        return F.pixel_shuffle(input, self.upscale_factor)


class PixelUnshuffle(Module):
    """Moves space into channels; see :func:`fdl.functional.pixel_unshuffle`.

    Torch: ``torch.nn.PixelUnshuffle``; no deviation.
    """

    def __init__(self, downscale_factor: int):
        self.downscale_factor = downscale_factor

    def __call__(self, input: Shaped[Array, "*N C H W"]) -> Shaped[Array, "*N C_out H_out W_out"]:
        """Maps images ``(..., C, H r, W r)``."""
        return F.pixel_unshuffle(input, self.downscale_factor)


class ChannelShuffle(Module):
    """Interleaves groups of channels; see :func:`fdl.functional.channel_shuffle`.

    Torch: ``torch.nn.ChannelShuffle``; no deviation.
    """

    def __init__(self, groups: int):
        self.groups = groups

    def __call__(self, input: Shaped[Array, "N C *spatial"]) -> Shaped[Array, "N C *spatial"]:
        """Maps ``(N, C, ...)``."""
        return F.channel_shuffle(input, self.groups)
