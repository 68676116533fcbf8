"""EfficientNet-Lite: inverted residuals with TensorFlow's padding."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx

from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models._vision import Blocks, Images, Logits
from fdl.models.mobilenet_v2 import divisible


class Stage(NamedTuple):
    """Blocks that follow each other, of which the first may halve the image.

    Attributes:
        repeats: number of blocks.
        kernel_size: of the depthwise convolutions.
        stride: of the first block.
        expand_ratio: what the depthwise convolution has more channels by.
        channels: of the output, before the width's coefficient.
    """

    repeats: int
    kernel_size: int
    stride: int
    expand_ratio: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""EfficientNet-B0's, which all Lite networks scale."""


Norm = Callable[[int], nn.BatchNorm2d]
"""Makes the batch norm of so many channels."""


class SameConv2d(nn.Conv2d):
    """A convolution without bias, padded so that its output has ``ceil(size / stride)`` pixels.

    An odd pixel of padding goes to the high side, so that it depends on the image's size.

    Torch: ``efficientnet_lite_pytorch.utils.Conv2dDynamicSamePadding``, as TensorFlow's ``SAME``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        *,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, stride, groups=groups, bias=False, rngs=rngs
        )

    def __call__(self, input: Images) -> Images:
        """Maps ``(N, in_channels, H, W)``."""
        axes = zip(input.shape[2:], self.kernel_size, self.stride, strict=True)
        totals = [max((math.ceil(n / s) - 1) * s + k - n, 0) for n, k, s in axes]
        pads = [(total // 2, total - total // 2) for total in totals]
        return super().__call__(jnp.pad(input, [(0, 0), (0, 0), *pads]))


class DropConnect(nn.Dropout):
    """Zeroes whole examples at random in training, and scales up the others (stochastic depth).

    Torch: ``efficientnet_lite_pytorch.utils.drop_connect``; `rngs` instead of a global generator.
    """

    def __call__(self, input: Images) -> Images:
        """Drops examples in training, is the identity in evaluation."""
        return input * super().__call__(jnp.ones((input.shape[0], 1, 1, 1), input.dtype))


class MBConvBlock(nn.Module):
    """Channels are expanded, filtered one by one, and projected back; the identity is added.

    Torch: ``efficientnet_lite_pytorch.model.MBConvBlock`` without squeeze and excitation.
    """

    def __init__(
        self, inputs: int, stage: Stage, norm: Norm, drop_connect_rate: float, *, rngs: nnx.Rngs
    ):
        hidden, outputs = inputs * stage.expand_ratio, stage.channels
        self.expands = stage.expand_ratio != 1
        self.skips = stage.stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv2d(inputs, hidden, 1, rngs=rngs)
            self._bn0 = norm(hidden)
        self._depthwise_conv = SameConv2d(
            hidden, hidden, stage.kernel_size, stage.stride, groups=hidden, rngs=rngs
        )
        self._bn1 = norm(hidden)
        self._project_conv = SameConv2d(hidden, outputs, 1, rngs=rngs)
        self._bn2 = norm(outputs)
        self._swish = nn.ReLU6()
        self.drop_connect = DropConnect(drop_connect_rate, rngs=rngs)

    def __call__(self, x: Images) -> Images:
        """Returns ``(N, stage.channels, H / stride, W / stride)``."""
        out = x
        if self.expands:
            out = self._swish(self._bn0(self._expand_conv(out)))
        out = self._swish(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        return self.drop_connect(out) + x if self.skips else out


class EfficientNetLite(nn.Module):
    """A stem, stages of inverted residuals, and a linear classifier of their average.

    Torch: ``efficientnet_lite_pytorch.EfficientNet``.
    """

    def __init__(
        self,
        num_classes: int,
        stages: Sequence[Stage],
        norm: Norm,
        dropout_rate: float,
        drop_connect_rate: float,
        *,
        remat: bool,
        rngs: nnx.Rngs,
    ):
        blocks = [block for stage in stages for block in _alone(stage)]
        rates = [drop_connect_rate * i / len(blocks) for i in range(len(blocks))]
        inputs = [32, *(block.channels for block in blocks)]
        self._conv_stem = SameConv2d(3, 32, kernel_size=3, stride=2, rngs=rngs)
        self._bn0 = norm(32)
        self._blocks = Blocks(
            *(
                MBConvBlock(channels, block, norm, rate, rngs=rngs)
                for channels, block, rate in zip(inputs, blocks, rates, strict=False)
            ),
            remat=remat,
        )
        self._conv_head = SameConv2d(inputs[-1], 1280, kernel_size=1, rngs=rngs)
        self._bn1 = norm(1280)
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(dropout_rate, rngs=rngs)
        self._fc = nn.Linear(1280, num_classes, rngs=rngs)
        self._swish = nn.ReLU6()

    def __call__(self, x: Images) -> Logits:
        """Returns the logits of a batch of images."""
        x = self._swish(self._bn0(self._conv_stem(x)))  # (N, 32, H/2, W/2)
        x = self._blocks(x)  # (N, 320, H/32, W/32)
        x = self._swish(self._bn1(self._conv_head(x)))
        x = self._avg_pooling(x)
        return self._fc(self._dropout(x.reshape(x.shape[0], -1)))


def _alone(stage: Stage) -> list[Stage]:
    """The blocks of a stage, each as a stage of its own."""
    first = stage._replace(repeats=1)
    return [first, *[first._replace(stride=1)] * (stage.repeats - 1)]


def _scaled(width: float, depth: float) -> Iterator[Stage]:
    """All stages with more channels and repeats; the first and the last are not repeated more."""
    for position, stage in enumerate(STAGES):
        at_end = position in (0, len(STAGES) - 1)
        yield stage._replace(
            channels=divisible(stage.channels * width, 8),
            repeats=stage.repeats if at_end else math.ceil(stage.repeats * depth),
        )


def efficientnet_lite0(
    *,
    num_classes: int = 1000,
    width_coefficient: float = 1.0,
    depth_coefficient: float = 1.0,
    dropout_rate: float = 0.2,
    drop_connect_rate: float = 0.2,
    batch_norm_momentum: float = 0.99,
    batch_norm_epsilon: float = 1e-3,
    remat: bool = False,
) -> Model:
    """Builds EfficientNet-Lite0: 4.7 million parameters with 1000 classes.

    Lite1 to Lite4 have the coefficients (width, depth) (1.0, 1.1), (1.1, 1.2), (1.2, 1.4) and
    (1.4, 1.8), and from Lite2 on a `dropout_rate` of 0.3.

    Args:
        num_classes: number of logits.
        width_coefficient: what the channels of all blocks are multiplied by.
        depth_coefficient: what the number of blocks in all stages but the first and the last is.
        dropout_rate: probability of zeroing an input of the classifier in training.
        drop_connect_rate: probability of skipping the last block in training; it grows linearly
            from the first on, which is never skipped.
        batch_norm_momentum: weight of the old running statistics, as TensorFlow has it: torch's
            momentum is one less it.
        batch_norm_epsilon: added to the variances.
        remat: whether the backward pass computes blocks again instead of keeping their insides.

    Returns:
        A model from images ``(N, 3, H, W)`` of any size, 224 in training, to ``(N, num_classes)``.
        Published weights expect RGB scaled to -1..1: pixels less 127, over 128.

    Raises:
        ValueError: if a rate is no probability.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.efficientnet_lite0(num_classes=10)
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> params["_blocks.1._expand_conv.weight"].shape, params["_fc.weight"].shape
        ((96, 16, 1, 1), (10, 1280))

    Torch: ``efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0")``; padding
    follows the image's size at hand, as there with ``image_size=None``; `remat` is added.

    Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    ICML 2019; without squeeze and excitation, ReLU6 for swish, as in TensorFlow's "lite" models.
    """
    stages = tuple(_scaled(width_coefficient, depth_coefficient))
    norm = partial(nn.BatchNorm2d, eps=batch_norm_epsilon, momentum=1 - batch_norm_momentum)
    arguments = (num_classes, stages, norm, dropout_rate, drop_connect_rate)
    return as_model(lambda rngs: EfficientNetLite(*arguments, remat=remat, rngs=rngs))
