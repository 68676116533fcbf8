"""Faults in a decoder of pictures: transposed convolution, norms, resizing, pooling."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn

PICTURES = ("NCHW", "OIHW", "NCHW")


class Unmirrored(nn.ConvTranspose2d):
    def __call__(self, input):
        weight = self.weight[...][:, :, ::-1, ::-1]
        options = (self.stride, self.padding, self.output_padding)
        return F.conv_transpose2d(input, weight, self.bias[...], *options)


class SameTransposed(nn.ConvTranspose2d):
    """The padding of Flax's default: its output has the size of torch's with output_padding 1."""

    def __call__(self, input):
        y = jax.lax.conv_transpose(
            *(input, self.weight[...], (2, 2), "SAME"),
            dimension_numbers=PICTURES,
            transpose_kernel=True,
        )
        return y + self.bias[...][:, None, None]


class Interleaved(nn.GroupNorm):
    """Groups of every fourth channel, from a reshape to (channels of a group, groups)."""

    def __call__(self, input):
        n, c, h, w = input.shape
        x = input.reshape(n, c // self.num_groups, self.num_groups, h, w)
        centred = x - x.mean((1, 3, 4), keepdims=True)
        y = centred / jnp.sqrt(x.var((1, 3, 4), keepdims=True) + self.eps)
        weight, bias = (t[...][:, None, None] for t in (self.weight, self.bias))
        return y.reshape(input.shape) * weight + bias


class PixelShuffleChannelsLast(nn.PixelShuffle):
    """Channels stand for (row, column, channel), as TensorFlow's depth_to_space reads them."""

    def __call__(self, input):
        n, c, h, w = input.shape
        r = self.upscale_factor
        parts = input.reshape(n, r, r, c // r**2, h, w).transpose(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, c // r**2, h * r, w * r)


class Resized(nn.Upsample):
    """``jax.image.resize`` as it is."""

    def __call__(self, input):
        return jax.image.resize(input, (*input.shape[:2], *self.size), self.mode)


class Aligned(nn.Upsample):
    def __call__(self, input):
        return F.interpolate(input, self.size, mode=self.mode, align_corners=True)


class Nearest(nn.Upsample):
    def __call__(self, input):
        return F.interpolate(input, self.size, mode="nearest")


class Rounded(nn.Upsample):
    """Takes the pixel at the rounded position, where torch cuts it off."""

    def __call__(self, input):
        n, m = input.shape[-1], self.size[-1]
        place = np.clip(np.round(np.arange(m) * n / m).astype(int), 0, n - 1)
        return input[:, :, place][:, :, :, place]


class DividedByAll(nn.AvgPool2d):
    """A window that hangs over the edge counts all its pixels."""

    def __call__(self, input):
        padding = ((0, 0), (0, 0), (1, 2), (1, 2))
        window = ((1, 1, 3, 3), (1, 1, 2, 2))
        return jax.lax.reduce_window(input, 0.0, jax.lax.add, *window, padding) / 9


class EqualWindows(nn.AdaptiveAvgPool2d):
    """The usual formula of a fixed kernel and stride."""

    def __call__(self, input):
        n, m = input.shape[-1], 4
        stride = n // m
        return F.avg_pool2d(input, n - (m - 1) * stride, stride)


class SplitWindows(nn.AdaptiveAvgPool2d):
    """Windows that do not overlap."""

    def __call__(self, input):
        x = input
        for axis in (2, 3):
            ends = [i * x.shape[axis] // 4 for i in range(1, 4)]
            parts = jnp.split(x, ends, axis)
            x = jnp.concatenate([part.mean(axis, keepdims=True) for part in parts], axis)
        return x


class Undivided(nn.LocalResponseNorm):
    def __call__(self, input):
        return F.local_response_norm(input, self.size, self.alpha * self.size, self.beta, self.k)


def network(
    transposed: Any = nn.ConvTranspose2d,
    norm: Any = nn.GroupNorm,
    response: Any = nn.LocalResponseNorm,
    shuffle: Any = nn.PixelShuffle,
    smaller: Any = nn.Upsample,
    larger: Any = nn.Upsample,
    pool: Any = nn.AvgPool2d,
    adaptive: Any = nn.AdaptiveAvgPool2d,
    groups: int = 4,
) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            transposed(4, 8, 3, stride=2, padding=1, output_padding=1, rngs=rngs),
            norm(groups, 8, rngs=rngs),
            response(3, alpha=0.5),
            shuffle(2),
            smaller(size=(9, 9), mode="bilinear"),
            larger(size=(12, 12), mode="nearest"),
            pool(3, 2, padding=1, ceil_mode=True),
            adaptive(4),
            nn.Flatten(),
            nn.Linear(32, 3, rngs=rngs),
        )
    )


def twin() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn
    made = layers.Sequential(
        layers.ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=1),  # 4 to 8 pixels
        layers.GroupNorm(4, 8),
        layers.LocalResponseNorm(3, alpha=0.5),
        layers.PixelShuffle(2),  # 2 channels of 16 pixels
        layers.Upsample(size=(9, 9), mode="bilinear"),
        layers.Upsample(size=(12, 12), mode="nearest"),
        layers.AvgPool2d(3, 2, padding=1, ceil_mode=True),  # 7 pixels
        layers.AdaptiveAvgPool2d(4),
        layers.Flatten(),
        layers.Linear(32, 3),
    )
    for tensor in made[1].parameters():
        torch.nn.init.uniform_(tensor, 0.5, 1.5)
    return made


def batches() -> list[Any]:
    generator = np.random.default_rng(0)
    return [(generator.normal(size=(4, 4, 4, 4)), generator.integers(0, 3, 4)) for _ in range(2)]


def pair(**layers: Any) -> Pair:
    options = {"optimizer": (torch.optim.SGD, fdl.optim.sgd()), "steps": 2}
    return Pair(twin, network(**layers), batches(), {"loss": "cross_entropy", **options})


def at(name: str, module: str, cause: str, **layers: Any) -> Fault:
    return Fault(name, pair(**layers), module, "forward", 0, cause)


SHIFTED = "padding of a transposed convolution"
EPSILON = partial(nn.GroupNorm, eps=1e-6)

PAIRS = {"decoder": pair()}

FAULTS = [
    at("transposed convolution unmirrored", "0", "flipped kernel", transposed=Unmirrored),
    at("transposed convolution padded SAME", "0", SHIFTED, transposed=SameTransposed),
    at("group norm with half the groups", "1", "number of groups", groups=2),
    at("group norm of every fourth channel", "1", "number of groups", norm=Interleaved),
    at("group norm with Flax's epsilon", "1", "epsilon", norm=EPSILON),
    at("response norm's alpha not divided", "2", "local response norm", response=Undivided),
    at(
        *("pixel shuffle with channels last", "3", "order of shuffled channels"),
        shuffle=PixelShuffleChannelsLast,
    ),
    at("bilinear with aligned corners", "4", "align_corners", smaller=Aligned),
    at("bilinear with antialiasing", "4", "antialiasing", smaller=Resized),
    at("nearest for bilinear", "4", "interpolation", smaller=Nearest),
    at("nearest as jax.image has it", "5", "nearest pixel", larger=Resized),
    at("nearest by rounding", "5", "nearest pixel", larger=Rounded),
    at("overhang of a window counted", "6", "pooling", pool=DividedByAll),
    at("adaptive pooling by one kernel", "7", "adaptive windows", adaptive=EqualWindows),
    at("adaptive pooling without overlap", "7", "adaptive windows", adaptive=SplitWindows),
]
