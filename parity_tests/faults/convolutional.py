"""Faults in the blocks of published convolutional networks: torchvision's blocks and ours."""

from typing import Any

import numpy as np
import torch
from flax import nnx
from torchvision.models.mobilenetv2 import InvertedResidual as TorchInvertedResidual
from torchvision.models.resnet import BasicBlock as TorchBasicBlock
from torchvision.models.resnet import Bottleneck as TorchBottleneck

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn
from fdl.models.mobilenet_v2 import InvertedResidual
from fdl.models.resnet import BasicBlock, BlockShape, Bottleneck

CHANNELS = 8
CLASSES = 3


def torchs(block: torch.nn.Module, channels: int) -> torch.nn.Module:
    """A block between a stem and a classifier, with statistics that are not those of the start."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, CHANNELS, 3, padding=1, bias=False),
        block,
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(channels, CLASSES),
    )
    network(torch.randn(16, 3, 8, 8))
    return network


def ours(make: Any, channels: int) -> fdl.Model:
    def network(rngs: nnx.Rngs) -> nnx.Module:
        return nn.Sequential(
            nn.Conv2d(3, CHANNELS, 3, padding=1, bias=False, rngs=rngs),
            make(rngs),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, CLASSES, rngs=rngs),
        )

    return fdl.as_model(network)


def batches(scale: float = 1.0) -> list[Any]:
    generator = np.random.default_rng(0)
    images = scale * generator.normal(size=(2, 6, 3, 8, 8))
    return [(x, generator.integers(0, CLASSES, 6)) for x in images]


def pair(twin: Any, make: Any, channels: int, scale: float = 1.0) -> Pair:
    options = {"loss": "cross_entropy", "optimizer": (torch.optim.AdamW, fdl.optim.adamw())}
    candidate = ours(make, channels)
    return Pair(
        lambda: torchs(twin(), channels), candidate, batches(scale), {**options, "steps": 2}
    )


def halved(channels: int) -> torch.nn.Module:
    """Torchvision's projection of the identity."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(CHANNELS, channels, 1, 2, bias=False), torch.nn.BatchNorm2d(channels)
    )


def torch_basic() -> torch.nn.Module:
    return TorchBasicBlock(CHANNELS, 6, stride=2, downsample=halved(6))


def torch_bottleneck() -> torch.nn.Module:
    return TorchBottleneck(CHANNELS, 3, stride=2, downsample=halved(12))


def torch_dilated() -> torch.nn.Module:
    return TorchBottleneck(CHANNELS, 2, dilation=2)


BASIC = BlockShape(CHANNELS, 6, 2, 1, 1, 64)
BOTTLENECK = BlockShape(CHANNELS, 3, 2, 1, 1, 64)
DILATED = BlockShape(CHANNELS, 2, 1, 2, 1, 64)


class ActivatedTwice(BasicBlock):
    """ReLU on the branch already."""

    def __call__(self, x):
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(F.relu(branch) + self.downsample(x))


class NotProjected(BasicBlock):
    """The shortcut without its norm."""

    def __call__(self, x):
        branch = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(branch + self.downsample[0](x))


class NoShortcut(BasicBlock):
    def __call__(self, x):
        self.downsample(x)  # its statistics move all the same
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


class StrideFirst(Bottleneck):
    """The paper's bottleneck: the stride is in the first convolution."""

    def __init__(self, shape: BlockShape, *, rngs: nnx.Rngs):
        super().__init__(shape, rngs=rngs)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


class Dense(Bottleneck):
    """No dilation, and the padding of a dense kernel."""

    def __init__(self, shape: BlockShape, *, rngs: nnx.Rngs):
        super().__init__(shape._replace(dilation=1), rngs=rngs)


class NoIdentity(InvertedResidual):
    def __call__(self, x):
        return self.conv(x)


class Unbounded(InvertedResidual):
    """ReLU instead of ReLU6."""

    def __init__(self, *sizes: int, rngs: nnx.Rngs):
        super().__init__(*sizes, rngs=rngs)
        self.conv[0][2] = nn.ReLU()


class TensorFlowNorm(InvertedResidual):
    """TensorFlow's epsilon."""

    def __init__(self, *sizes: int, rngs: nnx.Rngs):
        super().__init__(*sizes, rngs=rngs)
        self.conv[3].eps = 1e-3


def basic(block: type[BasicBlock] = BasicBlock) -> Pair:
    return pair(torch_basic, lambda rngs: block(BASIC, rngs=rngs), 6)


def bottleneck(block: type[Bottleneck] = Bottleneck) -> Pair:
    return pair(torch_bottleneck, lambda rngs: block(BOTTLENECK, rngs=rngs), 12)


def dilated(block: type[Bottleneck] = Bottleneck) -> Pair:
    return pair(torch_dilated, lambda rngs: block(DILATED, rngs=rngs), CHANNELS)


def inverted(block: type[InvertedResidual] = InvertedResidual) -> Pair:
    sizes = (CHANNELS, CHANNELS, 1, 2)

    def make(rngs: nnx.Rngs) -> nnx.Module:
        return block(*sizes, rngs=rngs)

    return pair(lambda: TorchInvertedResidual(*sizes), make, CHANNELS, scale=12.0)


def ceiled(ceil_mode: bool = True) -> Pair:
    """A pool whose last windows overhang, as MTCNN's."""

    def make(rngs: nnx.Rngs) -> nnx.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=ceil_mode)

    return pair(lambda: torch.nn.MaxPool2d(3, 2, ceil_mode=True), make, CHANNELS)


PAIRS = {
    "residual block": basic(),
    "bottleneck": bottleneck(),
    "dilated bottleneck": dilated(),
    "inverted residual": inverted(),
    "overhanging pool": ceiled(),
}

FAULTS = [
    Fault(
        "residual block: ReLU before the sum",
        basic(ActivatedTwice),
        "1",
        "forward",
        0,
        "activation before the sum",
    ),
    Fault(
        "residual block: shortcut without its norm",
        basic(NotProjected),
        "1.downsample.1",
        "forward",
        0,
        "missing normalisation",
    ),
    Fault(
        "residual block: no shortcut", basic(NoShortcut), "1", "forward", 0, "missing connection"
    ),
    Fault(
        "bottleneck: stride in the first convolution",
        bottleneck(StrideFirst),
        "1.conv1",
        "forward",
        0,
        "stride",
    ),
    Fault("bottleneck: not dilated", dilated(Dense), "1.conv2", "forward", 0, "dilation"),
    Fault(
        "inverted residual: no identity",
        inverted(NoIdentity),
        "1",
        "forward",
        0,
        "missing connection",
    ),
    Fault(
        "inverted residual: ReLU instead of ReLU6",
        inverted(Unbounded),
        "1.conv.0.2",
        "forward",
        0,
        "another activation",
    ),
    Fault(
        "inverted residual: TensorFlow's epsilon",
        inverted(TensorFlowNorm),
        "1.conv.3",
        "forward",
        0,
        "epsilon",
    ),
    Fault("pool: overhanging windows left out", ceiled(False), "1", "forward", 0, "pooling"),
]
