"""U-Net: a network that gives every pixel a class."""

from collections.abc import Sequence
from itertools import pairwise

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl import nn
from fdl._model import as_model
from fdl._types import Model


class DoubleConv(nn.Module):
    """Two convolutions of 3 x 3, each with batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, mid_channels: int, *, rngs: nnx.Rngs):
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, kernel_size=3, padding=1, bias=False, rngs=rngs),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(),
            nn.Conv2d(mid_channels, out_channels, kernel_size=3, padding=1, bias=False, rngs=rngs),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def __call__(self, maps: Float[Array, "N C H W"]) -> Float[Array, "N out H W"]:
        """Returns maps of the same height and width."""
        return self.double_conv(maps)


class Down(nn.Module):
    """Halves height and width, then convolves twice."""

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.maxpool_conv = nn.Sequential(
            nn.MaxPool2d(2), DoubleConv(in_channels, out_channels, out_channels, rngs=rngs)
        )

    def __call__(self, maps: Float[Array, "N C H W"]) -> Float[Array, "N out H2 W2"]:
        """Returns maps of half the size, rounded down."""
        return self.maxpool_conv(maps)


class Up(nn.Module):
    """Doubles height and width, sets the maps of the way down beside, then convolves twice."""

    def __init__(
        self,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        bilinear: bool,
        rngs: nnx.Rngs,
    ):
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        else:
            self.up = nn.ConvTranspose2d(
                in_channels, skip_channels, kernel_size=2, stride=2, rngs=rngs
            )
        self.conv = DoubleConv(2 * skip_channels, out_channels, skip_channels, rngs=rngs)

    def __call__(
        self, maps: Float[Array, "N C H2 W2"], skip: Float[Array, "N skip H W"]
    ) -> Float[Array, "N out H W"]:
        """Returns maps of the size of `skip`; an odd row or column is filled with zeros."""
        maps = self.up(maps)  # (N, skip_channels, 2 * H2, 2 * W2)
        rows, columns = (
            whole - doubled for whole, doubled in zip(skip.shape[2:], maps.shape[2:], strict=True)
        )
        maps = F.pad(maps, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return self.conv(jnp.concatenate([skip, maps], axis=1))


class OutConv(nn.Module):
    """A linear map of each pixel's features."""

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, rngs=rngs)

    def __call__(self, maps: Float[Array, "N C H W"]) -> Float[Array, "N out H W"]:
        """Returns the logits of each pixel."""
        return self.conv(maps)


class UNet(nn.Module):
    """A way down to coarse maps, and a way up again that sees the fine ones."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        features: Sequence[int],
        *,
        bilinear: bool,
        remat: bool,
        rngs: nnx.Rngs,
    ):
        self.depth = len(features)
        self.remat = remat
        deepest = features[-1] if bilinear else 2 * features[-1]
        down = [*features, deepest]
        up = [deepest, *features[-2::-1], features[0]] if bilinear else down[::-1]
        self.inc = DoubleConv(in_channels, features[0], features[0], rngs=rngs)
        for level, (inputs, outputs) in enumerate(pairwise(down), start=1):
            setattr(self, f"down{level}", Down(inputs, outputs, rngs=rngs))
        for level, (inputs, outputs) in enumerate(pairwise(up), start=1):
            block = Up(inputs, features[-level], outputs, bilinear=bilinear, rngs=rngs)
            setattr(self, f"up{level}", block)
        self.outc = OutConv(features[0], num_classes, rngs=rngs)

    def __call__(self, images: Float[Array, "N C H W"]) -> Float[Array, "N classes H W"]:
        """Returns the logits of each pixel."""
        maps = [self._run("inc", images)]
        for level in range(1, self.depth + 1):
            maps.append(self._run(f"down{level}", maps[-1]))  # (N, 2**level features, H / 2**level)
        deep = maps.pop()
        for level in range(1, self.depth + 1):
            deep = self._run(f"up{level}", deep, maps.pop())
        return self.outc(deep)

    def _run(self, name: str, *inputs: jax.Array) -> jax.Array:
        block = getattr(self, name)
        return nn.utils.checkpoint(block, *inputs) if self.remat else block(*inputs)


def unet(
    in_channels: int = 3,
    num_classes: int = 2,
    *,
    features: Sequence[int] = (64, 128, 256, 512),
    bilinear: bool = False,
    remat: bool = False,
) -> Model:
    """Builds a U-Net for segmentation.

    Args:
        in_channels: channels of the images.
        num_classes: logits of each pixel.
        features: channels of the maps before each halving, fine to coarse. After the last halving
            there are ``2 * features[-1]``, or with `bilinear` as many as before it.
        bilinear: whether maps grow by interpolation, and not by a transposed convolution.
        remat: whether the backward pass computes each block again instead of keeping its maps.

    Returns:
        A model from ``(N, in_channels, H, W)`` to ``(N, num_classes, H, W)``, which
        :func:`fdl.functional.cross_entropy` takes with classes ``(N, H, W)``. Height and width are
        free, ``2 ** len(features)`` pixels at least.

    Raises:
        ValueError: if `features` is empty or holds a number below 1.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.unet(3, 5)
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))
        >>> params["down4.maxpool_conv.1.double_conv.0.weight"].shape
        (1024, 512, 3, 3)
        >>> jax.eval_shape(model.apply, params, buffers, jnp.ones((1, 3, 97, 130)))[0].shape
        (1, 5, 97, 130)

    Torch: keys, shapes and results of the U-Net that is most used with PyTorch, milesial's
    ``Pytorch-UNet`` (``n_channels``, ``n_classes``); `features` is fixed there. As there, and
    unlike the paper, convolutions are padded, with batch norm and no bias.

    Source: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", 2015.
    """
    if not features or min(features) < 1:
        raise ValueError(
            "unet: features: expected one or more positive numbers, as in (64, 128, 256, 512), got "
            f"{tuple(features)}."
        )
    channels = tuple(features)
    return as_model(
        lambda rngs: UNet(
            in_channels, num_classes, channels, bilinear=bilinear, remat=remat, rngs=rngs
        )
    )
