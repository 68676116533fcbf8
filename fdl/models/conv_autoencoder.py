"""Convolutional autoencoder."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from flax import nnx
from jaxtyping import Array, Float

from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models.mlp import Activation


class ConvAutoencoder(nn.Module):
    """Strided convolutions to a small map of many channels, and transposed ones back.

    Torch: a module with ``encoder`` and ``decoder``, each an ``nn.Sequential``.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        channels: Sequence[int],
        activation: Activation,
        output_activation: Activation | None,
        *,
        rngs: nnx.Rngs,
    ):
        self.encoder = nn.Sequential(*_downward(channels, activation, rngs))
        last = [] if output_activation is None else [output_activation()]
        self.decoder = nn.Sequential(*_upward(channels, image_size, activation, rngs), *last)

    def __call__(self, images: Float[Array, "N C H W"]) -> Float[Array, "N C H W"]:
        """Returns the reconstruction."""
        code = self.encoder(images)  # (N, channels[-1], H / 2**blocks, W / 2**blocks), rounded up
        return self.decoder(code)


def _downward(
    channels: Sequence[int], activation: Activation, rngs: nnx.Rngs
) -> Iterator[nnx.Module]:
    for inputs, outputs in pairwise(channels):
        yield nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, rngs=rngs)
        yield activation()


def _upward(
    channels: Sequence[int], image_size: tuple[int, int], activation: Activation, rngs: nnx.Rngs
) -> Iterator[nnx.Module]:
    """Undoes :func:`_downward`, from the smallest maps to `image_size`."""
    blocks = range(len(channels) - 1)
    for block in reversed(blocks):
        height, width = (-(-size // 2**block) for size in image_size)  # halved, rounded up
        yield nn.ConvTranspose2d(
            channels[block + 1],
            channels[block],
            kernel_size=3,
            stride=2,
            padding=1,
            output_padding=(1 - height % 2, 1 - width % 2),
            rngs=rngs,
        )
        if block > 0:
            yield activation()


def conv_autoencoder(
    in_channels: int = 1,
    *,
    image_size: tuple[int, int] = (28, 28),
    channels: Sequence[int] = (16, 32),
    activation: Activation = nn.ReLU,
    output_activation: Activation | None = nn.Sigmoid,
) -> Model:
    """Builds a convolutional autoencoder for images of one size.

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels; any, odd ones too.
        channels: output channels of each block of the encoder; each halves height and width,
            rounded up. The decoder goes the same way back.
        activation: makes the activation after each convolution but the last.
        output_activation: makes the activation after the last, or None for none. The default suits
            values from 0 to 1.

    Returns:
        A model from ``(N, in_channels, *image_size)`` to its reconstruction.
        ``model.trace(...)["encoder"]`` is the code.

    Raises:
        ValueError: if there is no block, or a size is below 1.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.conv_autoencoder()
        >>> params, buffers = model.init(jax.random.key(0))
        >>> model.trace(params, buffers, jnp.ones((8, 1, 28, 28)))["encoder"].shape
        (8, 32, 7, 7)

    Torch: ``encoder`` of ``nn.Conv2d(..., 3, stride=2, padding=1)`` and ``nn.ReLU``,
    ``decoder`` of ``nn.ConvTranspose2d(..., 3, stride=2, padding=1, output_padding=1)``, or 0
    where the larger map is odd, and ``nn.ReLU``, at its end ``nn.Sigmoid``.
    Source: Masci et al., "Stacked Convolutional Auto-Encoders for Hierarchical Feature
    Extraction", 2011, with strides in place of pooling.
    """
    if not channels or min(in_channels, *channels, *image_size) < 1:
        raise ValueError(
            "conv_autoencoder: in_channels, channels, image_size: expected one block or more and "
            f"positive numbers, got {in_channels}, {tuple(channels)} and {image_size}."
        )
    arguments = (image_size, (in_channels, *channels), activation, output_activation)
    return as_model(lambda rngs: ConvAutoencoder(*arguments, rngs=rngs))
