"""The networks of the workloads as one writes them in Flax Linen: NHWC, its own layers.

A name ending in a number stands for an entry of a list; torch's names where there is a choice.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fdl.models import BertConfig
from fdl.models.mobilenet_v2 import SETTING

CLASSES = 10
IMAGENET = 1000
conv3x3 = partial(nn.Conv, kernel_size=(3, 3), padding=1, use_bias=False)


class MLP(nn.Module):
    """Dense layers with ReLU between them."""

    sizes: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the last layer's output."""
        for index, size in enumerate(self.sizes[1:]):
            x = nn.Dense(size, name=f"_{2 * index}")(x if index == 0 else nn.relu(x))
        return x


class Autoencoder(nn.Module):
    """Perceptrons to the code and back."""

    sizes: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the reconstruction."""
        code = MLP(self.sizes, name="encoder")(x, train)
        return nn.sigmoid(MLP(self.sizes[::-1], name="decoder")(code, train))


class ConvAutoencoder(nn.Module):
    """Strided convolutions down, transposed ones up."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the reconstruction."""
        down = partial(nn.Conv, kernel_size=(3, 3), strides=2, padding=1)
        up = partial(nn.ConvTranspose, kernel_size=(3, 3), strides=(2, 2), padding=((1, 2), (1, 2)))
        x = nn.relu(down(16, name="encoder_0")(x))
        x = nn.relu(down(32, name="encoder_2")(x))
        x = nn.relu(up(16, name="decoder_0")(x))
        return nn.sigmoid(up(1, name="decoder_2")(x))


class CNN(nn.Module):
    """Two convolutional blocks and two dense layers."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the logits."""
        for block, channels in enumerate((32, 64)):
            x = conv3x3(channels, name=f"features_{4 * block}")(x)
            x = nn.relu(norm(train, name=f"features_{4 * block + 1}")(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.relu(nn.Dense(128, name="classifier_1")(flatten(x)))
        return nn.Dense(CLASSES, name="classifier_4")(x)


class AlexNet(nn.Module):
    """Five convolutions and three dense layers, for images of 224 x 224."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the logits."""
        pool = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))
        x = nn.relu(nn.Conv(64, (11, 11), 4, padding=2, name="features_0")(x))
        x = nn.relu(nn.Conv(192, (5, 5), padding=2, name="features_3")(pool(x)))
        x = nn.relu(nn.Conv(384, (3, 3), padding=1, name="features_6")(pool(x)))
        x = nn.relu(nn.Conv(256, (3, 3), padding=1, name="features_8")(x))
        x = nn.relu(nn.Conv(256, (3, 3), padding=1, name="features_10")(x))
        x = nn.relu(nn.Dense(4096, name="classifier_1")(flatten(pool(x))))
        x = nn.relu(nn.Dense(4096, name="classifier_4")(x))
        return nn.Dense(IMAGENET, name="classifier_6")(x)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the identity."""

    outputs: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the maps of the next block."""
        identity = x
        if self.stride != 1 or x.shape[-1] != self.outputs:
            project = nn.Conv(
                self.outputs, (1, 1), self.stride, use_bias=False, name="downsample_0"
            )
            identity = norm(train, name="downsample_1")(project(x))
        x = conv3x3(self.outputs, strides=self.stride, name="conv1")(x)
        x = nn.relu(norm(train, name="bn1")(x))
        x = conv3x3(self.outputs, name="conv2")(x)
        return nn.relu(norm(train, name="bn2")(x) + identity)


class ResNet18(nn.Module):
    """A stem, four stages of two blocks, and a classifier of their average."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the logits."""
        x = nn.Conv(64, (7, 7), 2, padding=3, use_bias=False, name="conv1")(x)
        x = nn.relu(norm(train, name="bn1")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, outputs in enumerate((64, 128, 256, 512), start=1):
            x = BasicBlock(outputs, 1 if stage == 1 else 2, name=f"layer{stage}_0")(x, train)
            x = BasicBlock(outputs, 1, name=f"layer{stage}_1")(x, train)
        return nn.Dense(IMAGENET, name="fc")(x.mean((1, 2)))


class ConvNormReLU6(nn.Module):
    """Convolution, batch norm and ReLU6."""

    outputs: int
    size: int = 3
    stride: int = 1
    groups: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the maps of the next layer."""
        conv = partial(nn.Conv, feature_group_count=self.groups, padding=self.size // 2)
        x = conv(self.outputs, (self.size, self.size), self.stride, use_bias=False, name="_0")(x)
        return nn.relu6(norm(train, name="_1")(x))


class InvertedResidual(nn.Module):
    """Channels are expanded, filtered one by one, and projected back."""

    outputs: int
    stride: int
    expand: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the maps of the next block."""
        inputs = x.shape[-1]
        hidden, at, out = inputs * self.expand, int(self.expand > 1), x
        if self.expand > 1:
            out = ConvNormReLU6(hidden, 1, name="conv_0")(out, train)
        out = ConvNormReLU6(hidden, 3, self.stride, hidden, name=f"conv_{at}")(out, train)
        out = nn.Conv(self.outputs, (1, 1), use_bias=False, name=f"conv_{at + 1}")(out)
        out = norm(train, name=f"conv_{at + 2}")(out)
        return x + out if self.stride == 1 and inputs == self.outputs else out


class MobileNetV2(nn.Module):
    """A stem, stages of inverted residuals, and a classifier of their average."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the logits."""
        x = ConvNormReLU6(32, stride=2, name="features_0")(x, train)
        block = 1
        for expand, outputs, repeats, first_stride in SETTING:
            for stride in (first_stride, *[1] * (repeats - 1)):
                x = InvertedResidual(outputs, stride, expand, name=f"features_{block}")(x, train)
                block += 1
        x = ConvNormReLU6(1280, 1, name=f"features_{block}")(x, train)
        return nn.Dense(IMAGENET, name="classifier_1")(x.mean((1, 2)))


class Recurrent(nn.Module):
    """Recurrent layers and a linear classifier of their last output."""

    cell: str
    features: int
    hidden: int
    layers: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns the logits."""
        make = {"rnn": nn.SimpleCell, "gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}[self.cell]
        for layer in range(self.layers):
            over_time: Any = nn.RNN(make(self.hidden, name=f"stack_{layer}"))
            x = over_time(x)
        return nn.Dense(CLASSES, name="fc")(x[:, -1])


class BertLayer(nn.Module):
    """Attention, then a feed-forward network for each token."""

    config: BertConfig

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns a tensor as `x`."""
        config = self.config
        norm = partial(nn.LayerNorm, epsilon=config.layer_norm_eps)
        attend: Any = nn.MultiHeadDotProductAttention(config.num_attention_heads, name="attention")
        x = norm(name="attention_norm")(x + attend(x))
        wide = nn.Dense(config.intermediate_size, name="intermediate")(x)
        wide = nn.gelu(wide, approximate=False)
        return norm(name="output_norm")(x + nn.Dense(config.hidden_size, name="output")(wide))


class Bert(nn.Module):
    """BERT with a classifier of sequences."""

    config: BertConfig

    @nn.compact
    def __call__(self, ids: jax.Array, train: bool) -> jax.Array:
        """Returns the logits."""
        config, size = self.config, self.config.hidden_size
        places = jnp.arange(ids.shape[1])[None]
        x = nn.Embed(config.vocab_size, size, name="words")(ids)
        x = x + nn.Embed(config.type_vocab_size, size, name="types")(jnp.zeros_like(ids))
        x = x + nn.Embed(config.max_position_embeddings, size, name="positions")(places)
        x = nn.LayerNorm(epsilon=config.layer_norm_eps, name="norm")(x)
        for layer in range(config.num_hidden_layers):
            x = BertLayer(config, name=f"blocks_{layer}")(x, train)
        x = nn.tanh(nn.Dense(size, name="pooler")(x[:, 0]))
        return nn.Dense(config.num_labels, name="classifier")(x)


def norm(train: bool, *, name: str) -> nn.BatchNorm:
    """Batch norm with torch's momentum and epsilon."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, name=name)


def flatten(x: jax.Array) -> jax.Array:
    """Rows of features."""
    return x.reshape(x.shape[0], -1)


NETWORKS: dict[str, Callable[..., Any]] = {
    "mlp": MLP,
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
