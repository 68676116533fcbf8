"""U-Net beside its usual form in torch, and MTCNN's three networks beside facenet-pytorch's."""

from collections.abc import Callable
from typing import Any

import faces_reference
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

import fdl
from zoo.case import Case, regressed


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, mid_channels=None):
        super().__init__()
        mid_channels = mid_channels or out_channels
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class Down(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels))

    def forward(self, x):
        return self.maxpool_conv(x)


class Up(nn.Module):
    def __init__(self, in_channels, out_channels, bilinear):
        super().__init__()
        half = in_channels // 2
        if bilinear:
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = DoubleConv(in_channels, out_channels, half)
        else:
            self.up = nn.ConvTranspose2d(in_channels, half, 2, stride=2)
            self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x, skip):
        x = self.up(x)
        high, wide = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = nn.functional.pad(x, [wide // 2, wide - wide // 2, high // 2, high - high // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class OutConv(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x):
        return self.conv(x)


class UNet(nn.Module):
    """The usual U-Net; it has 64 channels at first, doubled by each of four halvings."""

    def __init__(self, in_channels, num_classes, first=64, halvings=4, *, bilinear=False):
        super().__init__()
        half = 2 if bilinear else 1
        self.halvings = halvings
        self.inc = DoubleConv(in_channels, first)
        for level in range(1, halvings + 1):
            wide = first * 2**level
            last = level == halvings
            self.add_module(f"down{level}", Down(wide // 2, wide // half if last else wide))
        for level in range(1, halvings + 1):
            wide = first * 2 ** (halvings + 1 - level)
            out = first if level == halvings else wide // 2 // half
            self.add_module(f"up{level}", Up(wide, out, bilinear))
        self.outc = OutConv(first, num_classes)

    def forward(self, x):
        maps = [self.inc(x)]
        for level in range(1, self.halvings + 1):
            maps.append(getattr(self, f"down{level}")(maps[-1]))
        x = maps.pop()
        for level in range(1, self.halvings + 1):
            x = getattr(self, f"up{level}")(x, maps.pop())
        return self.outc(x)


def unet(
    shape: tuple[int, ...],
    first: int = 4,
    halvings: int = 2,
    *,
    heavy: bool = False,
    **options: Any,
) -> Case:
    """A U-Net for three classes, on images of a shape."""
    features = tuple(first * 2**level for level in range(halvings))
    bilinear = options.get("bilinear", False)
    generator = np.random.default_rng(0)
    batch = generator.normal(size=shape), generator.integers(0, 3, (shape[0], *shape[2:]))
    return Case(
        lambda: fdl.models.unet(shape[1], 3, features=features, **options),
        lambda: UNet(shape[1], 3, first, halvings, bilinear=bilinear),
        "cross_entropy",
        batch,
        "the usual U-Net, written out",
        heavy=heavy,
    )


def joined(concatenate: Callable, mse_loss: Callable) -> Callable[[Any, Any], Any]:
    """The squared error of all outputs, set beside each other."""
    return lambda outputs, target: mse_loss(concatenate(outputs, 1), target)


def faces(name: str, shape: tuple[int, ...], out: tuple[int, ...]) -> Case:
    """One network of the cascade."""
    network = getattr(faces_reference, name)
    return Case(
        getattr(fdl.models, name.lower()),
        lambda: network(pretrained=False),
        (
            joined(torch.cat, nn.functional.mse_loss),
            joined(jnp.concatenate, fdl.functional.mse_loss),
        ),
        regressed(shape, out),
        f"facenet_pytorch.models.mtcnn.{name}",
    )


CASES = {
    "unet": unet((2, 3, 8, 12)),
    "unet, four halvings": unet((2, 3, 32, 48), 4, 4),
    "unet, odd sizes": unet((2, 1, 13, 11)),
    "unet, bilinear, odd sizes": unet((2, 3, 11, 14), bilinear=True),
    "unet, rematerialised": unet((2, 3, 9, 8), remat=True),
    "unet, full size": unet((2, 3, 32, 33), 64, 4, heavy=True),
    "pnet": faces("PNet", (2, 3, 15, 18), (2, 6, 3, 4)),
    "rnet": faces("RNet", (3, 3, 24, 24), (3, 6)),
    "onet": faces("ONet", (3, 3, 48, 48), (3, 16)),
}
