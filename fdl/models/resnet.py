"""Residual networks: torchvision's ResNet."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple, TypedDict, Unpack

import jax.numpy as jnp
from flax import nnx

from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models._vision import Blocks, Images, Logits, draw_convolutions


class ResNetOptions(TypedDict, total=False):
    """What every ResNet takes by name.

    Attributes:
        num_classes: number of logits, 1000 if it is not given.
        zero_init_residual: whether the last norm of each block starts at zero, so that the block
            starts as the identity.
        groups: of the 3x3 convolution of each bottleneck (ResNeXt).
        width_per_group: its channels for each group where the first stage has 64 (Wide ResNet).
        replace_stride_with_dilation: whether the second, third and fourth stage dilate their
            convolutions instead of halving the image.
        remat: whether the backward pass computes blocks again instead of keeping their insides.
    """

    num_classes: int
    zero_init_residual: bool
    groups: int
    width_per_group: int
    replace_stride_with_dilation: Sequence[bool]
    remat: bool


class BlockShape(NamedTuple):
    """What a block is built for."""

    inplanes: int
    planes: int
    stride: int
    dilation: int
    groups: int
    base_width: int


class _Block(nn.Module):
    """A residual block: the identity, or its projection, plus what convolutions make of it."""

    expansion: ClassVar[int]
    downsample: nn.Sequential | None

    def _project(self, shape: BlockShape, rngs: nnx.Rngs) -> nn.Sequential | None:
        """What brings the identity to the size of the output, where that is another."""
        outputs = shape.planes * self.expansion
        if shape.stride == 1 and shape.inplanes == outputs:
            return None
        return nn.Sequential(
            nn.Conv2d(shape.inplanes, outputs, 1, shape.stride, bias=False, rngs=rngs),
            nn.BatchNorm2d(outputs),
        )


class BasicBlock(_Block):
    """Two 3x3 convolutions beside the identity.

    Torch: ``torchvision.models.resnet.BasicBlock``.
    """

    expansion = 1

    def __init__(self, shape: BlockShape, *, rngs: nnx.Rngs):
        if (shape.dilation, shape.groups, shape.base_width) != (1, 1, 64):
            raise ValueError(
                "BasicBlock: groups, width_per_group, replace_stride_with_dilation: expected 1, 64 "
                f"and no dilation, got groups={shape.groups}, width_per_group={shape.base_width}, "
                f"dilation {shape.dilation}. Use resnet50 or a deeper one, which are made of "
                "bottlenecks."
            )
        planes = shape.planes
        self.conv1 = nn.Conv2d(
            shape.inplanes, planes, 3, shape.stride, padding=1, bias=False, rngs=rngs
        )
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False, rngs=rngs)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = self._project(shape, rngs)

    def __call__(self, x: Images) -> Images:
        """Returns ``(N, planes, H / stride, W / stride)``."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + identity)


class Bottleneck(_Block):
    """A 3x3 convolution between two 1x1 ones, beside the identity.

    Torch: ``torchvision.models.resnet.Bottleneck``, with the stride in the 3x3 convolution
    ("v1.5"), where the paper has it in the first.
    """

    expansion = 4

    def __init__(self, shape: BlockShape, *, rngs: nnx.Rngs):
        width = int(shape.planes * (shape.base_width / 64)) * shape.groups
        outputs = shape.planes * self.expansion
        self.conv1 = nn.Conv2d(shape.inplanes, width, 1, bias=False, rngs=rngs)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width,
            width,
            3,
            shape.stride,
            padding=shape.dilation,
            dilation=shape.dilation,
            groups=shape.groups,
            bias=False,
            rngs=rngs,
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False, rngs=rngs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = self._project(shape, rngs)

    def __call__(self, x: Images) -> Images:
        """Returns ``(N, 4 * planes, H / stride, W / stride)``."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + identity)


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, and a linear classifier of their average.

    Torch: ``torchvision.models.ResNet``.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        *,
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] = (False, False, False),
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        if len(replace_stride_with_dilation) != 3:
            raise ValueError(
                "ResNet: replace_stride_with_dilation: expected three booleans, for the second to "
                f"fourth stage, got {replace_stride_with_dilation}."
            )
        shapes = _shapes(
            block.expansion, layers, groups, width_per_group, replace_stride_with_dilation
        )
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False, rngs=rngs)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            Blocks(*(block(shape, rngs=rngs) for shape in stage), remat=remat) for stage in shapes
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes, rngs=rngs)
        draw_convolutions(self, rngs)
        if zero_init_residual:
            _start_as_identity(self)

    def __call__(self, x: Images) -> Logits:
        """Returns the logits of a batch of images."""
        x = self.relu(self.bn1(self.conv1(x)))  # (N, 64, H/2, W/2)
        x = self.maxpool(x)  # (N, 64, H/4, W/4)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.layer3(x)
        x = self.layer4(x)  # (N, 512 * expansion, H/32, W/32)
        x = self.avgpool(x)
        return self.fc(x.reshape(x.shape[0], -1))


def _shapes(
    expansion: int,
    layers: Sequence[int],
    groups: int,
    base_width: int,
    dilate: Sequence[bool],
) -> Iterator[list[BlockShape]]:
    """The blocks of each stage: the first halves the image, or dilates the blocks after it."""
    inplanes, dilation = 64, 1
    for blocks, planes, halve, dilated in zip(
        layers, (64, 128, 256, 512), (False, True, True, True), (False, *dilate), strict=True
    ):
        first = BlockShape(
            inplanes, planes, 1 + (halve and not dilated), dilation, groups, base_width
        )
        inplanes, dilation = planes * expansion, dilation * (1 + dilated)
        rest = first._replace(inplanes=inplanes, stride=1, dilation=dilation)
        yield [first, *[rest] * (blocks - 1)]


def _start_as_identity(network: nnx.Module) -> None:
    for _, block in nnx.iter_modules(network):
        if isinstance(block, BasicBlock | Bottleneck):
            last = block.bn2 if isinstance(block, BasicBlock) else block.bn3
            last.weight = nnx.Param(jnp.zeros(last.num_features))


def resnet18(**options: Unpack[ResNetOptions]) -> Model:
    """Builds ResNet-18: 11.7 million parameters with 1000 classes.

    Args:
        options: as in :class:`ResNetOptions`; its blocks have no groups, widths or dilation.

    Returns:
        A model from images ``(N, 3, H, W)`` of any size to ``(N, num_classes)``. Torchvision's
        weights expect RGB scaled to 0..1, less (0.485, 0.456, 0.406), over (0.229, 0.224, 0.225).

    Raises:
        ValueError: if an option is out of range.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.resnet18(num_classes=10)
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> params["layer2.0.downsample.0.weight"].shape
        (128, 64, 1, 1)

    Torch: ``torchvision.models.resnet18``; no `weights` (:func:`fdl.interop.from_torch` takes a
    ``state_dict``), no `norm_layer`; `remat` is added.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.
    """
    return as_model(lambda rngs: ResNet(BasicBlock, (2, 2, 2, 2), **options, rngs=rngs))


def resnet34(**options: Unpack[ResNetOptions]) -> Model:
    """Builds ResNet-34 (21.8 million parameters); otherwise as :func:`resnet18`.

    Torch: ``torchvision.models.resnet34``; deviations as for :func:`resnet18`.
    """
    return as_model(lambda rngs: ResNet(BasicBlock, (3, 4, 6, 3), **options, rngs=rngs))


def resnet50(**options: Unpack[ResNetOptions]) -> Model:
    """Builds ResNet-50 (25.6 million parameters), of bottlenecks; otherwise as :func:`resnet18`.

    Args:
        options: as in :class:`ResNetOptions`. ``groups=32, width_per_group=4`` is ResNeXt-50 32x4d,
            ``width_per_group=128`` Wide ResNet-50-2.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.resnet50(replace_stride_with_dilation=(False, True, True))
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))
        >>> params["layer4.2.conv2.weight"].shape
        (512, 512, 3, 3)

    Torch: ``torchvision.models.resnet50``; deviations as for :func:`resnet18`.
    """
    return as_model(lambda rngs: ResNet(Bottleneck, (3, 4, 6, 3), **options, rngs=rngs))


def resnet101(**options: Unpack[ResNetOptions]) -> Model:
    """Builds ResNet-101 (44.5 million parameters); otherwise as :func:`resnet50`.

    Torch: ``torchvision.models.resnet101``; deviations as for :func:`resnet18`.
    """
    return as_model(lambda rngs: ResNet(Bottleneck, (3, 4, 23, 3), **options, rngs=rngs))


def resnet152(**options: Unpack[ResNetOptions]) -> Model:
    """Builds ResNet-152 (60.2 million parameters); otherwise as :func:`resnet50`.

    Torch: ``torchvision.models.resnet152``; deviations as for :func:`resnet18`.
    """
    return as_model(lambda rngs: ResNet(Bottleneck, (3, 8, 36, 3), **options, rngs=rngs))
