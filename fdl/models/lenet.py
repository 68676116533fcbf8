"""LeNet-5, in the form it is taught today."""

from flax import nnx

from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models._vision import Images, Logits
from fdl.models.mlp import Activation


class LeNet5(nn.Module):
    """Two convolutions with pooling, then three linear layers.

    Torch: a module with ``features`` and ``classifier``, each an ``nn.Sequential``.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        padding: int,
        activation: Activation,
        *,
        rngs: nnx.Rngs,
    ):
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, kernel_size=5, padding=padding, rngs=rngs),
            activation(),
            nn.MaxPool2d(kernel_size=2),
            nn.Conv2d(6, 16, kernel_size=5, rngs=rngs),
            activation(),
            nn.MaxPool2d(kernel_size=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120, rngs=rngs),
            activation(),
            nn.Linear(120, 84, rngs=rngs),
            activation(),
            nn.Linear(84, num_classes, rngs=rngs),
        )

    def __call__(self, images: Images) -> Logits:
        """Returns the logits of a batch of images."""
        maps = self.features(images)  # (N, 16, 5, 5)
        return self.classifier(maps)


def lenet5(
    in_channels: int = 1,
    num_classes: int = 10,
    *,
    padding: int = 2,
    activation: Activation = nn.ReLU,
) -> Model:
    """Builds LeNet-5 with 61,706 parameters, for images of 28 pixels.

    The sizes of all layers are the paper's. As in today's textbooks, rectifiers stand for its
    scaled tanh, maximum pooling for its trained subsampling, a full second convolution for its
    partial one, and a linear layer for its distances to drawn characters.

    Args:
        in_channels: channels of the images.
        num_classes: number of logits.
        padding: pixels around the images, which have 32 with them: 2 for MNIST's 28 pixels, 0 for
            images of 32.
        activation: makes the activation after each layer but the last.

    Returns:
        A model from ``(N, in_channels, 32 - 2 * padding, 32 - 2 * padding)`` to
        ``(N, num_classes)``.

    Raises:
        ValueError: if `padding` is negative or 16 or more.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.lenet5()
        >>> params, buffers = model.init(jax.random.key(0))
        >>> model.apply(params, buffers, jnp.ones((8, 1, 28, 28)))[0].shape
        (8, 10)

    Torch: ``fdl.parity.twins.lenet5`` writes it out.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    if not 0 <= padding < 16:
        raise ValueError(
            f"lenet5: padding: expected 0 to 15, got {padding}. Use 2 for images of 28 pixels, 0 "
            "for images of 32."
        )
    arguments = (in_channels, num_classes, padding, activation)
    return as_model(lambda rngs: LeNet5(*arguments, rngs=rngs))
