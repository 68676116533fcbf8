"""Faults that people make with Flax Linen: its defaults and its layout, against torch's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import linen

import fdl
from faults.table import Fault, Pair

EXPLICIT = ((1, 1), (1, 1))


class ConvNet(torch.nn.Module):
    def __init__(self, width=5):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = torch.nn.Conv2d(2, width, 3, stride=2, padding=1)
        self.bn = torch.nn.BatchNorm2d(width)
        self.relu1 = torch.nn.ReLU()
        self.conv2 = torch.nn.Conv2d(width, width, 3, padding=1)
        self.relu2 = torch.nn.ReLU()
        self.pool = torch.nn.MaxPool2d(2)
        self.fc = torch.nn.Linear(4 * width, 3)
        for tensor in (*self.bn.parameters(), *self.bn.buffers()):
            if tensor.is_floating_point():
                torch.nn.init.uniform_(tensor, 0.5, 1.5)

    def forward(self, x):
        x = self.relu1(self.bn(self.conv1(x)))
        x = self.pool(self.relu2(self.conv2(x)))
        return self.fc(x.flatten(1))


class BatchNorm(linen.Module):
    """Torch's batch norm in Linen, channels last: it keeps the variance of n - 1."""

    use_running_average: bool
    epsilon: float = 1e-5
    momentum: float = 0.9

    @linen.compact
    def __call__(self, x):
        shape = x.shape[-1:]
        scale = self.param("scale", linen.initializers.ones, shape)
        bias = self.param("bias", linen.initializers.zeros, shape)
        means = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variances = self.variable("batch_stats", "var", jnp.ones, shape)
        mean, var = means.value, variances.value
        if not self.use_running_average:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            means.value = self.momentum * means.value + (1 - self.momentum) * mean
            kept = x.var((0, 1, 2), ddof=1)
            variances.value = self.momentum * variances.value + (1 - self.momentum) * kept
        return (x - mean) / jnp.sqrt(var + self.epsilon) * scale + bias


class ConvPort(linen.Module):
    """The network with channels last inside; a fault puts another module in one place."""

    conv1: Callable = partial(linen.Conv, strides=2, padding=EXPLICIT)
    norm: Callable = BatchNorm
    conv2: Callable = partial(linen.Conv, padding=EXPLICIT)
    pool: Callable = linen.max_pool
    channels_first: bool = True
    averaging: Callable = lambda train: not train
    width: int = 5

    @linen.compact
    def __call__(self, x, train):
        x = x.transpose(0, 2, 3, 1)
        x = self.conv1(self.width, (3, 3), name="conv1")(x)
        x = linen.relu(self.norm(use_running_average=self.averaging(train), name="bn")(x))
        x = linen.relu(self.conv2(self.width, (3, 3), name="conv2")(x))
        x = self.pool(x, (2, 2), strides=(2, 2))
        x = x.transpose(0, 3, 1, 2) if self.channels_first else x
        return linen.Dense(3, name="fc")(x.reshape(len(x), -1))


class MLP(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1 = torch.nn.Linear(6, 6)
        self.norm = torch.nn.LayerNorm(6)
        self.gelu = torch.nn.GELU()
        self.dropout = torch.nn.Dropout(0.1)
        self.fc2 = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.fc2(self.dropout(self.gelu(self.norm(self.fc1(x)))))


class MLPPort(linen.Module):
    first: Callable = linen.Dense
    norm: Callable = partial(linen.LayerNorm, epsilon=1e-5)
    gelu: Callable = partial(linen.gelu, approximate=False)
    rate: float = 0.1
    silent: Callable = lambda train: not train

    @linen.compact
    def __call__(self, x, train):
        x = self.first(6, name="fc1")(x)
        x = self.gelu(self.norm(name="norm")(x))
        x = linen.Dropout(self.rate, deterministic=self.silent(train), name="dropout")(x)
        return linen.Dense(3, name="fc2")(x)


class Biasless(linen.Dense):
    """Has a bias, and does not add it."""

    @linen.compact
    def __call__(self, x):
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        self.param("bias", self.bias_init, (self.features,))
        return x @ kernel


class MirroredConv(linen.Module):
    """A convolution in the mathematical sense."""

    features: int
    kernel_size: tuple[int, int]

    @linen.compact
    def __call__(self, x):
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", linen.initializers.lecun_normal(), shape)
        bias = self.param("bias", linen.initializers.zeros, shape[-1:])
        layout = ("NHWC", "HWIO", "NHWC")
        mirrored = kernel[::-1, ::-1]
        return (
            jax.lax.conv_general_dilated(x, mirrored, (1, 1), EXPLICIT, None, None, layout) + bias
        )


def batches(*shape: int) -> list[Any]:
    generator = np.random.default_rng(0)
    return [(generator.normal(size=(8, *shape)), generator.integers(0, 3, 8)) for _ in range(2)]


def trained(optimizer) -> dict[str, Any]:
    return {"optimizer": (torch.optim.AdamW, optimizer), "steps": 2}


def images(port: linen.Module, **given) -> Pair:
    return Pair(ConvNet, port, batches(2, 8, 8), {"loss": "cross_entropy", **given})


def vectors(port: linen.Module, **given) -> Pair:
    return Pair(MLP, port, batches(6), {"loss": "cross_entropy", **given})


def summed(output, target):
    logs = optax.softmax_cross_entropy_with_integer_labels(output, target)
    return logs.sum()


SQUARE = {"params.fc1.kernel": "fc1.weight", "params.fc1.bias": "fc1.bias"}
SQUARE |= {"params.norm.scale": "norm.weight", "params.norm.bias": "norm.bias"}
SQUARE |= {"params.fc2.kernel": ("fc2.weight", (1, 0)), "params.fc2.bias": "fc2.bias"}

PAIRS = {
    "Linen convolutions and BatchNorm": images(ConvPort(), **trained(fdl.optim.adamw())),
    "Linen, as many channels as pixels in a row": Pair(
        partial(ConvNet, 4), ConvPort(width=4), batches(2, 8, 8), {"loss": "cross_entropy"}
    ),
    "Linen MLP": vectors(MLPPort(), **trained(fdl.optim.adamw())),
}

FAULTS = [
    Fault(
        "Linen: LayerNorm's default epsilon",
        vectors(MLPPort(norm=linen.LayerNorm)),
        "norm",
        "forward",
        0,
        "epsilon",
    ),
    Fault(
        "Linen: GELU's default form",
        vectors(MLPPort(gelu=linen.gelu)),
        "gelu",
        "forward",
        0,
        "GELU",
    ),
    Fault(
        "Linen: bias not added",
        vectors(MLPPort(first=Biasless)),
        "fc1",
        "forward",
        0,
        "missing bias",
    ),
    Fault(
        "Linen: square kernel named without its transpose",
        vectors(MLPPort(), names=SQUARE),
        "fc1",
        "forward",
        0,
        "transposed weight",
    ),
    Fault(
        "Linen: dropout of rate 0.5",
        vectors(MLPPort(rate=0.5)),
        "dropout",
        "forward",
        1,
        "dropout rate",
    ),
    Fault(
        "Linen: dropout always deterministic",
        vectors(MLPPort(silent=lambda train: True)),
        "dropout",
        "forward",
        1,
        "missing dropout",
    ),
    Fault(
        "Linen: Optax's default decay",
        vectors(MLPPort(), **trained(optax.adamw(1e-3))),
        "fc1",
        "update",
        1,
        "weight decay",
    ),
    Fault(
        "Linen: summed loss",
        vectors(MLPPort(), loss=(torch.nn.functional.cross_entropy, summed)),
        "",
        "loss",
        0,
        "reduction",
    ),
    Fault(
        "Linen: default padding SAME at stride 2",
        images(ConvPort(conv1=partial(linen.Conv, strides=2))),
        "conv1",
        "forward",
        0,
        "SAME instead of explicit padding",
    ),
    Fault(
        "Linen: kernel mirrored",
        images(ConvPort(conv2=MirroredConv)),
        "conv2",
        "forward",
        0,
        "flipped kernel",
    ),
    Fault(
        "Linen: mean pooling",
        images(ConvPort(pool=linen.avg_pool)),
        "pool",
        "forward",
        0,
        "pooling",
    ),
    Fault(
        "Linen: flattened with channels last",
        images(ConvPort(channels_first=False)),
        "",
        "forward",
        0,
        "flatten order",
    ),
    Fault(
        "Linen: BatchNorm epsilon 1e-3",
        images(ConvPort(norm=partial(BatchNorm, epsilon=1e-3))),
        "bn",
        "forward",
        0,
        "epsilon",
    ),
    Fault(
        "Linen: the batch's statistics in evaluation",
        images(ConvPort(averaging=lambda train: False)),
        "bn",
        "forward",
        0,
        "train instead of eval mode",
    ),
    Fault(
        "Linen: running statistics in training",
        images(ConvPort(averaging=lambda train: True)),
        "bn",
        "forward",
        1,
        "eval instead of train mode",
    ),
    Fault(
        "Linen: BatchNorm's default momentum",
        images(ConvPort(norm=linen.BatchNorm)),
        "bn",
        "buffer",
        1,
        "momentum convention",
    ),
    Fault(
        "Linen: BatchNorm keeps the biased variance",
        images(ConvPort(norm=partial(linen.BatchNorm, momentum=0.9))),
        "bn",
        "buffer",
        1,
        "biased variance",
    ),
]
