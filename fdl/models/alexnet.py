"""AlexNet, in torchvision's form."""

from flax import nnx

from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models._vision import Images, Logits


class AlexNet(nn.Module):
    """Five convolutions, then three linear layers.

    Torch: ``torchvision.models.AlexNet``.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5, *, rngs: nnx.Rngs):
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2, rngs=rngs),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2, rngs=rngs),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1, rngs=rngs),
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1, rngs=rngs),
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1, rngs=rngs),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout, rngs=rngs),
            nn.Linear(256 * 6 * 6, 4096, rngs=rngs),
            nn.ReLU(),
            nn.Dropout(dropout, rngs=rngs),
            nn.Linear(4096, 4096, rngs=rngs),
            nn.ReLU(),
            nn.Linear(4096, num_classes, rngs=rngs),
        )

    def __call__(self, x: Images) -> Logits:
        """Returns the logits of a batch of images."""
        x = self.features(x)  # (N, 256, 6, 6) for images of 224 pixels
        x = self.avgpool(x)
        return self.classifier(x.reshape(x.shape[0], -1))


def alexnet(*, num_classes: int = 1000, dropout: float = 0.5) -> Model:
    """Builds AlexNet: 61.1 million parameters with 1000 classes.

    Args:
        num_classes: number of logits.
        dropout: probability of zeroing an input of the first two linear layers in training.

    Returns:
        A model from images ``(N, 3, H, W)`` of 63 pixels or more to ``(N, num_classes)``.

    Raises:
        ValueError: if `dropout` is no probability.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.alexnet(num_classes=10)
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))  # shapes alone
        >>> params["features.0.weight"].shape, params["classifier.6.weight"].shape
        ((64, 3, 11, 11), (10, 4096))

    Torch: ``torchvision.models.alexnet``; no `weights`: :func:`fdl.interop.from_torch` takes a
    ``state_dict``.

    Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.
    """
    return as_model(lambda rngs: AlexNet(num_classes, dropout, rngs=rngs))
