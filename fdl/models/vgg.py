"""VGG: stages of 3x3 convolutions, in torchvision's form."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypedDict, Unpack

from flax import nnx

from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models._vision import Images, Logits, draw_convolutions, draw_linears

CHANNELS = (64, 128, 256, 512, 512)
"""Of each stage."""


class Features(nn.Sequential):
    """Convolutions in stages that end by halving the image; with `remat` each is computed again.

    Torch: ``torchvision.models.vgg.make_layers``; one flat ``nn.Sequential``.
    """

    def __init__(
        self, convolutions: Sequence[int], *, batch_norm: bool, remat: bool, rngs: nnx.Rngs
    ):
        super().__init__(*_layers(convolutions, batch_norm, rngs))
        self.remat = remat

    def __call__(self, input: Images) -> Images:
        """Returns ``(N, 512, H/32, W/32)``."""
        if not self.remat:
            return super().__call__(input)
        ends = [i + 1 for i, layer in enumerate(self) if isinstance(layer, nn.MaxPool2d)]
        output = input
        for start, end in pairwise([0, *ends]):
            output = nn.utils.checkpoint(self[start:end], output)
        return output


def _layers(convolutions: Sequence[int], batch_norm: bool, rngs: nnx.Rngs) -> Iterator[nnx.Module]:
    inputs = 3
    for repeats, outputs in zip(convolutions, CHANNELS, strict=True):
        for _ in range(repeats):
            yield nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, rngs=rngs)
            if batch_norm:
                yield nn.BatchNorm2d(outputs)
            yield nn.ReLU()
            inputs = outputs
        yield nn.MaxPool2d(kernel_size=2, stride=2)


class VGG(nn.Module):
    """Stages of convolutions, then three linear layers.

    Torch: ``torchvision.models.VGG``.
    """

    def __init__(self, features: Features, num_classes: int, dropout: float, *, rngs: nnx.Rngs):
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096, rngs=rngs),
            nn.ReLU(),
            nn.Dropout(dropout, rngs=rngs),
            nn.Linear(4096, 4096, rngs=rngs),
            nn.ReLU(),
            nn.Dropout(dropout, rngs=rngs),
            nn.Linear(4096, num_classes, rngs=rngs),
        )
        draw_convolutions(self, rngs)
        draw_linears(self, rngs)

    def __call__(self, x: Images) -> Logits:
        """Returns the logits of a batch of images."""
        x = self.features(x)  # (N, 512, 7, 7) for images of 224 pixels
        x = self.avgpool(x)
        return self.classifier(x.reshape(x.shape[0], -1))


class VGGOptions(TypedDict, total=False):
    """What every VGG takes by name.

    Attributes:
        num_classes: number of logits, 1000 if it is not given.
        dropout: probability of zeroing a feature between the linear layers in training, 0.5 if it
            is not given.
        remat: whether the backward pass computes stages again instead of keeping their insides.
    """

    num_classes: int
    dropout: float
    remat: bool


def _vgg(
    convolutions: Sequence[int],
    *,
    batch_norm: bool,
    num_classes: int = 1000,
    dropout: float = 0.5,
    remat: bool = False,
) -> Model:
    def build(rngs: nnx.Rngs) -> VGG:
        features = Features(convolutions, batch_norm=batch_norm, remat=remat, rngs=rngs)
        return VGG(features, num_classes, dropout, rngs=rngs)

    return as_model(build)


def vgg11(**options: Unpack[VGGOptions]) -> Model:
    """Builds VGG-11 (configuration A): 132.9 million parameters with 1000 classes.

    Args:
        options: as in :class:`VGGOptions`.

    Returns:
        A model from images ``(N, 3, H, W)`` of 32 pixels or more to ``(N, num_classes)``.
        Torchvision's weights expect RGB scaled to 0..1, less (0.485, 0.456, 0.406), over
        (0.229, 0.224, 0.225).

    Raises:
        ValueError: if `dropout` is no probability.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.vgg11(num_classes=10)
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> params["features.3.weight"].shape, params["classifier.0.weight"].shape
        ((128, 64, 3, 3), (4096, 25088))

    Torch: ``torchvision.models.vgg11``; no `weights` (:func:`fdl.interop.from_torch` takes a
    ``state_dict``), no `init_weights`; `remat` is added.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015.
    """
    return _vgg((1, 1, 2, 2, 2), batch_norm=False, **options)


def vgg11_bn(**options: Unpack[VGGOptions]) -> Model:
    """Builds VGG-11 with batch norm after each convolution; otherwise as :func:`vgg11`.

    Torch: ``torchvision.models.vgg11_bn``; deviations as for :func:`vgg11`.
    """
    return _vgg((1, 1, 2, 2, 2), batch_norm=True, **options)


def vgg13(**options: Unpack[VGGOptions]) -> Model:
    """Builds VGG-13 (configuration B, 133.1 million parameters); otherwise as :func:`vgg11`.

    Torch: ``torchvision.models.vgg13``; deviations as for :func:`vgg11`.
    """
    return _vgg((2, 2, 2, 2, 2), batch_norm=False, **options)


def vgg13_bn(**options: Unpack[VGGOptions]) -> Model:
    """Builds VGG-13 with batch norm after each convolution; otherwise as :func:`vgg13`.

    Torch: ``torchvision.models.vgg13_bn``; deviations as for :func:`vgg11`.
    """
    return _vgg((2, 2, 2, 2, 2), batch_norm=True, **options)


def vgg16(**options: Unpack[VGGOptions]) -> Model:
    """Builds VGG-16 (configuration D, 138.4 million parameters); otherwise as :func:`vgg11`.

    Torch: ``torchvision.models.vgg16``; deviations as for :func:`vgg11`.
    """
    return _vgg((2, 2, 3, 3, 3), batch_norm=False, **options)


def vgg16_bn(**options: Unpack[VGGOptions]) -> Model:
    """Builds VGG-16 with batch norm after each convolution; otherwise as :func:`vgg16`.

    Torch: ``torchvision.models.vgg16_bn``; deviations as for :func:`vgg11`.
    """
    return _vgg((2, 2, 3, 3, 3), batch_norm=True, **options)


def vgg19(**options: Unpack[VGGOptions]) -> Model:
    """Builds VGG-19 (configuration E, 143.7 million parameters); otherwise as :func:`vgg11`.

    Torch: ``torchvision.models.vgg19``; deviations as for :func:`vgg11`.
    """
    return _vgg((2, 2, 4, 4, 4), batch_norm=False, **options)


def vgg19_bn(**options: Unpack[VGGOptions]) -> Model:
    """Builds VGG-19 with batch norm after each convolution; otherwise as :func:`vgg19`.

    Torch: ``torchvision.models.vgg19_bn``; deviations as for :func:`vgg11`.
    """
    return _vgg((2, 2, 4, 4, 4), batch_norm=True, **options)
