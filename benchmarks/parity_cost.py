"""What a comparison costs: resnet18, batch 4, 64 x 64, five AdamW steps, both precisions.

``python -m benchmarks.parity_cost`` prints the report and the seconds, compilation included.
"""

import time
from typing import Any

import numpy as np
import torch
from flax import nnx
from rich.console import Console

import fdl
from fdl import nn

WIDTHS = (64, 128, 256, 512)


class TorchBlock(torch.nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        layers = torch.nn
        self.conv1 = layers.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = layers.BatchNorm2d(outputs)
        self.relu = layers.ReLU(inplace=True)
        self.conv2 = layers.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = layers.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            shortcut = layers.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = layers.Sequential(shortcut, layers.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns (N, outputs, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class TorchResNet(torch.nn.Module):
    """Torchvision's resnet18, without its package."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers = torch.nn
        self.conv1 = layers.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = layers.BatchNorm2d(64)
        self.relu = layers.ReLU(inplace=True)
        self.maxpool = layers.MaxPool2d(3, 2, 1)
        inputs = 64
        for number, width in enumerate(WIDTHS, start=1):
            stride = 1 if number == 1 else 2
            blocks = (TorchBlock(inputs, width, stride), TorchBlock(width, width, 1))
            setattr(self, f"layer{number}", layers.Sequential(*blocks))
            inputs = width
        self.fc = layers.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the logits of (N, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


class Block(nn.Module):
    """Counterpart of :class:`TorchBlock`."""

    def __init__(self, inputs: int, outputs: int, stride: int, rngs: nnx.Rngs):
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False, rngs=rngs)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False, rngs=rngs)
        self.bn2 = nn.BatchNorm2d(outputs)
        alike = stride == 1 and inputs == outputs
        self.downsample = None if alike else _shortcut(inputs, outputs, stride, rngs)

    def __call__(self, x: Any) -> Any:
        """Returns (N, outputs, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(inputs: int, outputs: int, stride: int, rngs: nnx.Rngs) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False, rngs=rngs)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """Counterpart of :class:`TorchResNet`."""

    def __init__(self, num_classes: int, rngs: nnx.Rngs):
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False, rngs=rngs)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for number, width in enumerate(WIDTHS, start=1):
            stride = 1 if number == 1 else 2
            blocks = (Block(inputs, width, stride, rngs), Block(width, width, 1, rngs))
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            inputs = width
        self.fc = nn.Linear(512, num_classes, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Returns the logits of (N, 3, H, W)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return self.fc(x.mean((2, 3)))


def main() -> None:
    """Compares, and prints what it took."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    batches = [(generator.normal(size=(4, 3, 64, 64)), generator.integers(0, 10, 4))] * 2
    console, begin = Console(), time.perf_counter()
    report = fdl.parity.compare(
        TorchResNet(10),
        fdl.as_model(lambda rngs: ResNet(10, rngs)),
        batches,
        loss="cross_entropy",
        optimizer=(torch.optim.AdamW, fdl.optim.adamw()),
        steps=5,
    )
    console.print(report)
    console.print(f"{len(report.rows)} tensors in {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
