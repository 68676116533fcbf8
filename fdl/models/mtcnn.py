"""The three small networks that find faces together; :func:`fdl.models.detect_faces` runs them."""

import jax
from flax import nnx
from jaxtyping import Array, Float

from fdl import nn
from fdl._model import as_model
from fdl._types import Model


class PNet(nn.Module):
    """Proposes faces of 12 x 12 pixels, at every second pixel of an image."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv1 = nn.Conv2d(3, 10, kernel_size=3, rngs=rngs)
        self.prelu1 = nn.PReLU(10)
        self.pool1 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(10, 16, kernel_size=3, rngs=rngs)
        self.prelu2 = nn.PReLU(16)
        self.conv3 = nn.Conv2d(16, 32, kernel_size=3, rngs=rngs)
        self.prelu3 = nn.PReLU(32)
        self.conv4_1 = nn.Conv2d(32, 2, kernel_size=1, rngs=rngs)
        self.softmax4_1 = nn.Softmax(1)
        self.conv4_2 = nn.Conv2d(32, 4, kernel_size=1, rngs=rngs)

    def __call__(
        self, images: Float[Array, "N 3 H W"]
    ) -> tuple[Float[Array, "N 4 H2 W2"], Float[Array, "N 2 H2 W2"]]:
        """Returns offsets of each box, and the probabilities of no face and of a face."""
        maps = self.pool1(self.prelu1(self.conv1(images)))
        maps = self.prelu2(self.conv2(maps))
        maps = self.prelu3(self.conv3(maps))
        return self.conv4_2(maps), self.softmax4_1(self.conv4_1(maps))


class RNet(nn.Module):
    """Judges a proposal of 24 x 24 pixels, and moves its box."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv1 = nn.Conv2d(3, 28, kernel_size=3, rngs=rngs)
        self.prelu1 = nn.PReLU(28)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(28, 48, kernel_size=3, rngs=rngs)
        self.prelu2 = nn.PReLU(48)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(48, 64, kernel_size=2, rngs=rngs)
        self.prelu3 = nn.PReLU(64)
        self.dense4 = nn.Linear(576, 128, rngs=rngs)
        self.prelu4 = nn.PReLU(128)
        self.dense5_1 = nn.Linear(128, 2, rngs=rngs)
        self.softmax5_1 = nn.Softmax(1)
        self.dense5_2 = nn.Linear(128, 4, rngs=rngs)

    def __call__(
        self, images: Float[Array, "N 3 24 24"]
    ) -> tuple[Float[Array, "N 4"], Float[Array, "N 2"]]:
        """Returns offsets of each box, and the probabilities of no face and of a face."""
        maps = self.pool1(self.prelu1(self.conv1(images)))
        maps = self.pool2(self.prelu2(self.conv2(maps)))
        maps = self.prelu3(self.conv3(maps))  # (N, 64, 3, 3)
        features = self.prelu4(self.dense4(_flattened(maps)))
        return self.dense5_2(features), self.softmax5_1(self.dense5_1(features))


class ONet(nn.Module):
    """Judges a proposal of 48 x 48 pixels, moves its box, and finds eyes, nose and mouth."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, rngs=rngs)
        self.prelu1 = nn.PReLU(32)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, rngs=rngs)
        self.prelu2 = nn.PReLU(64)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv3 = nn.Conv2d(64, 64, kernel_size=3, rngs=rngs)
        self.prelu3 = nn.PReLU(64)
        self.pool3 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.conv4 = nn.Conv2d(64, 128, kernel_size=2, rngs=rngs)
        self.prelu4 = nn.PReLU(128)
        self.dense5 = nn.Linear(1152, 256, rngs=rngs)
        self.prelu5 = nn.PReLU(256)
        self.dense6_1 = nn.Linear(256, 2, rngs=rngs)
        self.softmax6_1 = nn.Softmax(1)
        self.dense6_2 = nn.Linear(256, 4, rngs=rngs)
        self.dense6_3 = nn.Linear(256, 10, rngs=rngs)

    def __call__(
        self, images: Float[Array, "N 3 48 48"]
    ) -> tuple[Float[Array, "N 4"], Float[Array, "N 10"], Float[Array, "N 2"]]:
        """Returns offsets of each box, five x and five y, and the probabilities as the others."""
        maps = self.pool1(self.prelu1(self.conv1(images)))
        maps = self.pool2(self.prelu2(self.conv2(maps)))
        maps = self.pool3(self.prelu3(self.conv3(maps)))
        maps = self.prelu4(self.conv4(maps))  # (N, 128, 3, 3)
        features = self.prelu5(self.dense5(_flattened(maps)))
        probabilities = self.softmax6_1(self.dense6_1(features))
        return self.dense6_2(features), self.dense6_3(features), probabilities


def _flattened(maps: jax.Array) -> jax.Array:
    """Features in the order (W, H, C), which the published weights of dense layers are for."""
    return maps.transpose(0, 3, 2, 1).reshape(maps.shape[0], -1)


def pnet() -> Model:
    """Builds the proposal network of MTCNN.

    Returns:
        A model from images ``(N, 3, H, W)``, scaled from [0, 255] to about [-1, 1], to offsets
        ``(N, 4, H', W')`` and probabilities ``(N, 2, H', W')`` of windows of 12 x 12 pixels, two
        pixels apart. Offsets are those of left, top, right and bottom, in sizes of the box.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.pnet()
        >>> params, buffers = jax.eval_shape(model.init, jax.random.key(0))
        >>> images = jnp.ones((1, 3, 12, 14))
        >>> offsets, probabilities = jax.eval_shape(model.apply, params, buffers, images)[0]
        >>> offsets.shape, probabilities.shape
        ((1, 4, 1, 2), (1, 2, 1, 2))

    Torch: ``facenet_pytorch.models.mtcnn.PNet``; its ``data/pnet.pt`` loads.

    Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
    Convolutional Networks", 2016.
    """
    return as_model(lambda rngs: PNet(rngs=rngs))


def rnet() -> Model:
    """Builds the refinement network of MTCNN.

    Returns:
        A model from crops ``(N, 3, 24, 24)``, scaled from [0, 255] to about [-1, 1], to offsets
        ``(N, 4)`` and probabilities ``(N, 2)``, as in :func:`pnet`.

    Example:
        >>> import fdl, jax
        >>> params, _ = jax.eval_shape(fdl.models.rnet().init, jax.random.key(0))
        >>> params["dense4.weight"].shape
        (128, 576)

    Torch: ``facenet_pytorch.models.mtcnn.RNet``; its ``data/rnet.pt`` loads.
    """
    return as_model(lambda rngs: RNet(rngs=rngs))


def onet() -> Model:
    """Builds the output network of MTCNN.

    Returns:
        A model from crops ``(N, 3, 48, 48)``, scaled from [0, 255] to about [-1, 1], to offsets
        ``(N, 4)``, landmarks ``(N, 10)`` and probabilities ``(N, 2)``. Landmarks are the five x and
        then the five y of left eye, right eye, nose, and left and right corner of the mouth, in
        sizes of the box from its top left corner.

    Example:
        >>> import fdl, jax
        >>> params, _ = jax.eval_shape(fdl.models.onet().init, jax.random.key(0))
        >>> params["dense6_3.weight"].shape
        (10, 256)

    Torch: ``facenet_pytorch.models.mtcnn.ONet``; its ``data/onet.pt`` loads.
    """
    return as_model(lambda rngs: ONet(rngs=rngs))
