"""MobileNetV2: inverted residuals of depthwise convolutions."""

from collections.abc import Sequence

from flax import nnx

import fdl.functional as F
from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models._vision import Blocks, Images, Logits, draw_convolutions, draw_linears

SETTING = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""The paper's: expansion, channels, repeats and stride of each stage."""


class Conv2dNormActivation(nn.Sequential):
    """A convolution that keeps the size but for its stride, batch norm and ReLU6.

    Torch: ``torchvision.ops.Conv2dNormActivation(activation_layer=nn.ReLU6)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        *,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding=(kernel_size - 1) // 2,
                groups=groups,
                bias=False,
                rngs=rngs,
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """Channels are expanded, filtered one by one, and projected back; the identity is added.

    Torch: ``torchvision.models.mobilenetv2.InvertedResidual``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, expand_ratio: int, *, rngs: nnx.Rngs
    ):
        hidden = round(in_channels * expand_ratio)
        expand = (
            [] if expand_ratio == 1 else [Conv2dNormActivation(in_channels, hidden, 1, rngs=rngs)]
        )
        self.use_res_connect = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            *expand,
            Conv2dNormActivation(hidden, hidden, 3, stride, groups=hidden, rngs=rngs),
            nn.Conv2d(hidden, out_channels, 1, bias=False, rngs=rngs),
            nn.BatchNorm2d(out_channels),
        )

    def __call__(self, x: Images) -> Images:
        """Returns ``(N, out_channels, H / stride, W / stride)``."""
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """A stem, stages of inverted residuals, and a linear classifier of their average.

    Torch: ``torchvision.models.MobileNetV2``.
    """

    def __init__(
        self,
        num_classes: int,
        width_mult: float,
        inverted_residual_setting: Sequence[Sequence[int]],
        round_nearest: int,
        dropout: float,
        *,
        remat: bool,
        rngs: nnx.Rngs,
    ):
        first = divisible(32 * width_mult, round_nearest)
        last = divisible(1280 * max(1.0, width_mult), round_nearest)
        channels = first
        blocks = []
        for expand_ratio, base, repeats, first_stride in inverted_residual_setting:
            outputs = divisible(base * width_mult, round_nearest)
            for stride in (first_stride, *[1] * (repeats - 1)):
                blocks.append(InvertedResidual(channels, outputs, stride, expand_ratio, rngs=rngs))
                channels = outputs
        self.features = Blocks(
            Conv2dNormActivation(3, first, stride=2, rngs=rngs),
            *blocks,
            Conv2dNormActivation(channels, last, kernel_size=1, rngs=rngs),
            remat=remat,
        )
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, rngs=rngs), nn.Linear(last, num_classes, rngs=rngs)
        )
        draw_convolutions(self, rngs)
        draw_linears(self, rngs)

    def __call__(self, x: Images) -> Logits:
        """Returns the logits of a batch of images."""
        x = self.features(x)  # (N, last, H/32, W/32)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(x.reshape(x.shape[0], -1))


def divisible(channels: float, divisor: int) -> int:
    """The multiple of `divisor` that is nearest to `channels`, and not below nine tenths of it."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


def mobilenet_v2(
    *,
    num_classes: int = 1000,
    width_mult: float = 1.0,
    inverted_residual_setting: Sequence[Sequence[int]] = SETTING,
    round_nearest: int = 8,
    dropout: float = 0.2,
    remat: bool = False,
) -> Model:
    """Builds MobileNetV2: 3.5 million parameters with 1000 classes.

    Args:
        num_classes: number of logits.
        width_mult: what the channels of every layer are multiplied by; the last ones only grow.
        inverted_residual_setting: (expansion, channels, repeats, stride) of each stage.
        round_nearest: channels are rounded to multiples of this; 1 leaves them.
        dropout: probability of zeroing an input of the classifier in training.
        remat: whether the backward pass computes blocks again instead of keeping their insides.

    Returns:
        A model from images ``(N, 3, H, W)`` of any size to ``(N, num_classes)``.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.mobilenet_v2(num_classes=10, width_mult=0.5)
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> params["features.1.conv.0.0.weight"].shape, params["classifier.1.weight"].shape
        ((16, 1, 3, 3), (10, 1280))

    Torch: ``torchvision.models.mobilenet_v2``; no `weights` (:func:`fdl.interop.from_torch` takes
    a ``state_dict``), no `block` and `norm_layer`; `remat` is added.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
    """
    if any(len(stage) != 4 for stage in inverted_residual_setting) or not inverted_residual_setting:
        raise ValueError(
            "mobilenet_v2: inverted_residual_setting: expected (expansion, channels, repeats, "
            f"stride) for each of one or more stages, got {inverted_residual_setting}."
        )
    arguments = (num_classes, width_mult, inverted_residual_setting, round_nearest, dropout)
    return as_model(lambda rngs: MobileNetV2(*arguments, remat=remat, rngs=rngs))
