"""The networks of the workloads as one writes them in Flax NNX: NHWC, its own layers.

Attributes have torch's names where Flax leaves the choice.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fdl.models import BertConfig
from fdl.models.mobilenet_v2 import SETTING

CLASSES = 10
IMAGENET = 1000
conv3x3 = partial(nnx.Conv, kernel_size=(3, 3), padding=1, use_bias=False)


def mlp(sizes: Sequence[int], *, rngs: nnx.Rngs) -> nnx.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[Callable] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nnx.Linear(inputs, outputs, rngs=rngs), nnx.relu]
    return nnx.Sequential(*layers[:-1])


class Autoencoder(nnx.Module):
    """Perceptrons to the code and back."""

    def __init__(self, sizes: Sequence[int], *, rngs: nnx.Rngs):
        self.encoder = mlp(sizes, rngs=rngs)
        self.decoder = mlp(sizes[::-1], rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the reconstruction."""
        return nnx.sigmoid(self.decoder(self.encoder(x)))


class ConvAutoencoder(nnx.Module):
    """Strided convolutions down, transposed ones up."""

    def __init__(self, *, rngs: nnx.Rngs):
        down = partial(nnx.Conv, kernel_size=(3, 3), strides=2, padding=1, rngs=rngs)
        up = partial(
            nnx.ConvTranspose, kernel_size=(3, 3), strides=(2, 2), padding=((1, 2), (1, 2))
        )
        self.encoder = nnx.Sequential(down(1, 16), nnx.relu, down(16, 32), nnx.relu)
        self.decoder = nnx.Sequential(up(32, 16, rngs=rngs), nnx.relu, up(16, 1, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the reconstruction."""
        return nnx.sigmoid(self.decoder(self.encoder(x)))


class CNN(nnx.Module):
    """Two convolutional blocks and two dense layers."""

    def __init__(self, *, rngs: nnx.Rngs):
        pool = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
        blocks: list[Callable] = []
        for inputs, outputs in ((1, 32), (32, 64)):
            blocks += [
                conv3x3(inputs, outputs, rngs=rngs),
                nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs),
                nnx.relu,
                pool,
            ]
        self.features = nnx.Sequential(*blocks)
        self.classifier = nnx.Sequential(
            flatten,
            nnx.Linear(7 * 7 * 64, 128, rngs=rngs),
            nnx.relu,
            nnx.Dropout(0.0, rngs=rngs),
            nnx.Linear(128, CLASSES, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the logits."""
        return self.classifier(self.features(x))


class AlexNet(nnx.Module):
    """Five convolutions and three dense layers, for images of 224 x 224."""

    def __init__(self, *, rngs: nnx.Rngs):
        pool = partial(nnx.max_pool, window_shape=(3, 3), strides=(2, 2))
        conv = partial(nnx.Conv, rngs=rngs)
        self.features = nnx.Sequential(
            conv(3, 64, kernel_size=(11, 11), strides=4, padding=2),
            nnx.relu,
            pool,
            conv(64, 192, kernel_size=(5, 5), padding=2),
            nnx.relu,
            pool,
            conv(192, 384, kernel_size=(3, 3), padding=1),
            nnx.relu,
            conv(384, 256, kernel_size=(3, 3), padding=1),
            nnx.relu,
            conv(256, 256, kernel_size=(3, 3), padding=1),
            nnx.relu,
            pool,
        )
        self.classifier = nnx.Sequential(
            nnx.Dropout(0.0, rngs=rngs),
            nnx.Linear(6 * 6 * 256, 4096, rngs=rngs),
            nnx.relu,
            nnx.Dropout(0.0, rngs=rngs),
            nnx.Linear(4096, 4096, rngs=rngs),
            nnx.relu,
            nnx.Linear(4096, IMAGENET, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the logits."""
        return self.classifier(flatten(self.features(x)))


class BasicBlock(nnx.Module):
    """Two 3x3 convolutions beside the identity."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, rngs: nnx.Rngs):
        norm = partial(nnx.BatchNorm, outputs, momentum=0.9, rngs=rngs)
        self.conv1 = conv3x3(inputs, outputs, strides=stride, rngs=rngs)
        self.bn1 = norm()
        self.conv2 = conv3x3(outputs, outputs, rngs=rngs)
        self.bn2 = norm()
        self.downsample = nnx.data(None)
        if stride != 1 or inputs != outputs:
            project = nnx.Conv(inputs, outputs, (1, 1), stride, use_bias=False, rngs=rngs)
            self.downsample = nnx.Sequential(project, norm())

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the maps of the next block."""
        identity = x if self.downsample is None else self.downsample(x)
        out = nnx.relu(self.bn1(self.conv1(x)))
        return nnx.relu(self.bn2(self.conv2(out)) + identity)


class ResNet18(nnx.Module):
    """A stem, four stages of two blocks, and a classifier of their average."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(3, 64, (7, 7), 2, padding=3, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(64, momentum=0.9, rngs=rngs)
        for stage, (inputs, outputs) in enumerate(pairwise([64, 64, 128, 256, 512]), start=1):
            blocks = nnx.Sequential(
                BasicBlock(inputs, outputs, 1 if stage == 1 else 2, rngs=rngs),
                BasicBlock(outputs, outputs, 1, rngs=rngs),
            )
            setattr(self, f"layer{stage}", blocks)
        self.fc = nnx.Linear(512, IMAGENET, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the logits."""
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((1, 2)))


class ConvNormReLU6(nnx.Sequential):
    """Convolution, batch norm and ReLU6."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        stride: int = 1,
        groups: int = 1,
        *,
        rngs: nnx.Rngs,
    ):
        conv = partial(nnx.Conv, feature_group_count=groups, padding=size // 2, use_bias=False)
        super().__init__(
            conv(inputs, outputs, kernel_size=(size, size), strides=stride, rngs=rngs),
            nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs),
            nnx.relu6,
        )


class InvertedResidual(nnx.Module):
    """Channels are expanded, filtered one by one, and projected back."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int, *, rngs: nnx.Rngs):
        hidden = inputs * expand
        widen = [] if expand == 1 else [ConvNormReLU6(inputs, hidden, 1, rngs=rngs)]
        self.residual = stride == 1 and inputs == outputs
        self.conv = nnx.Sequential(
            *widen,
            ConvNormReLU6(hidden, hidden, 3, stride, hidden, rngs=rngs),
            nnx.Conv(hidden, outputs, (1, 1), use_bias=False, rngs=rngs),
            nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the maps of the next block."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nnx.Module):
    """A stem, stages of inverted residuals, and a classifier of their average."""

    def __init__(self, *, rngs: nnx.Rngs):
        blocks: list[nnx.Module] = [ConvNormReLU6(3, 32, stride=2, rngs=rngs)]
        inputs = 32
        for expand, outputs, repeats, first_stride in SETTING:
            for stride in (first_stride, *[1] * (repeats - 1)):
                blocks.append(InvertedResidual(inputs, outputs, stride, expand, rngs=rngs))
                inputs = outputs
        self.features = nnx.Sequential(*blocks, ConvNormReLU6(inputs, 1280, 1, rngs=rngs))
        self.classifier = nnx.Sequential(
            nnx.Dropout(0.0, rngs=rngs), nnx.Linear(1280, IMAGENET, rngs=rngs)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the logits."""
        return self.classifier(self.features(x).mean((1, 2)))


class Recurrent(nnx.Module):
    """Recurrent layers and a linear classifier of their last output."""

    def __init__(self, cell: str, features: int, hidden: int, layers: int, *, rngs: nnx.Rngs):
        make = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell}[cell]
        sizes = [features, *[hidden] * layers]
        self.stack = nnx.List(
            [nnx.RNN(make(inputs, outputs, rngs=rngs)) for inputs, outputs in pairwise(sizes)]
        )
        self.fc = nnx.Linear(hidden, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the logits."""
        for layer in self.stack:
            x = layer(x)
        return self.fc(x[:, -1])


class BertLayer(nnx.Module):
    """Attention, then a feed-forward network for each token."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        size, wide = config.hidden_size, config.intermediate_size
        norm = partial(nnx.LayerNorm, size, epsilon=config.layer_norm_eps, rngs=rngs)
        heads = config.num_attention_heads
        self.attention = nnx.MultiHeadAttention(heads, size, decode=False, rngs=rngs)
        self.attention_norm = norm()
        self.intermediate = nnx.Linear(size, wide, rngs=rngs)
        self.output = nnx.Linear(wide, size, rngs=rngs)
        self.output_norm = norm()

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns a tensor as `x`."""
        x = self.attention_norm(x + self.attention(x))
        wide = nnx.gelu(self.intermediate(x), approximate=False)
        return self.output_norm(x + self.output(wide))


class Bert(nnx.Module):
    """BERT with a classifier of sequences."""

    def __init__(self, config: BertConfig, *, rngs: nnx.Rngs):
        size = config.hidden_size
        embed = partial(nnx.Embed, features=size, rngs=rngs)
        self.words = embed(config.vocab_size)
        self.positions = embed(config.max_position_embeddings)
        self.types = embed(config.type_vocab_size)
        self.norm = nnx.LayerNorm(size, epsilon=config.layer_norm_eps, rngs=rngs)
        self.blocks = nnx.Sequential(
            *[BertLayer(config, rngs=rngs) for _ in range(config.num_hidden_layers)]
        )
        self.pooler = nnx.Linear(size, size, rngs=rngs)
        self.classifier = nnx.Linear(size, config.num_labels, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Returns the logits."""
        places = self.positions(jnp.arange(ids.shape[1])[None])
        x = self.norm(self.words(ids) + self.types(jnp.zeros_like(ids)) + places)
        return self.classifier(nnx.tanh(self.pooler(self.blocks(x)[:, 0])))


def flatten(x: jax.Array) -> jax.Array:
    """Rows of features."""
    return x.reshape(x.shape[0], -1)


NETWORKS: dict[str, Callable[..., Any]] = {
    "mlp": mlp,
    "autoencoder": Autoencoder,
    "conv_autoencoder": ConvAutoencoder,
    "cnn": CNN,
    "alexnet": AlexNet,
    "resnet18": ResNet18,
    "mobilenet_v2": MobileNetV2,
    "recurrent": Recurrent,
    "bert": Bert,
}
"""By the name that a workload gives."""
