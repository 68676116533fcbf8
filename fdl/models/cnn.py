"""A small convolutional network for images."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from flax import nnx
from jaxtyping import Array, Float

from fdl import nn
from fdl._model import as_model
from fdl._types import Model


class CNN(nn.Module):
    """Blocks of convolution, batch norm, ReLU and pooling, then a two-layer classifier.

    Torch: the usual ``features`` and ``classifier``, each an ``nn.Sequential``.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        channels: Sequence[int],
        hidden: int,
        dropout: float,
        *,
        rngs: nnx.Rngs,
    ):
        height, width = (size // 2 ** len(channels) for size in image_size)
        self.features = nn.Sequential(*_blocks([in_channels, *channels], rngs))
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[-1] * height * width, hidden, rngs=rngs),
            nn.ReLU(),
            nn.Dropout(dropout, rngs=rngs),
            nn.Linear(hidden, num_classes, rngs=rngs),
        )

    def __call__(self, images: Float[Array, "N C H W"]) -> Float[Array, "N classes"]:
        """Returns the logits of a batch of images."""
        maps = self.features(images)  # (N, channels[-1], H / 2**blocks, W / 2**blocks)
        return self.classifier(maps)


def _blocks(channels: Sequence[int], rngs: nnx.Rngs) -> Iterator[nnx.Module]:
    for inputs, outputs in pairwise(channels):
        yield nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False, rngs=rngs)
        yield nn.BatchNorm2d(outputs)
        yield nn.ReLU()
        yield nn.MaxPool2d(kernel_size=2)


def cnn(
    in_channels: int = 1,
    num_classes: int = 10,
    *,
    image_size: tuple[int, int] = (28, 28),
    channels: Sequence[int] = (32, 64),
    hidden: int = 128,
    dropout: float = 0.25,
) -> Model:
    """Builds a small convolutional classifier.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        image_size: height and width of the images, in pixels.
        channels: output channels of each block; each block halves height and width.
        hidden: features of the classifier's hidden layer.
        dropout: probability of zeroing a hidden feature in training.

    Returns:
        A model from ``(N, in_channels, *image_size)`` to ``(N, num_classes)``.

    Raises:
        ValueError: if the images are too small for that many blocks.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.cnn()
        >>> params, buffers = model.init(jax.random.key(0))
        >>> params["features.0.weight"].shape, buffers["features.1.running_mean"].shape
        ((32, 1, 3, 3), (32,))

    Torch: ``fdl.parity.twins.cnn`` writes it out.
    """
    if not channels or min(image_size) < 2 ** len(channels):
        raise ValueError(
            f"cnn: channels: expected one block or more, each halving the image, got {channels} "
            f"for images of {image_size} pixels. Use fewer blocks or larger images."
        )
    arguments = (in_channels, num_classes, image_size, channels, hidden, dropout)
    return as_model(lambda rngs: CNN(*arguments, rngs=rngs))
