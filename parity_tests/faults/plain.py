"""Faults in a convolutional network of plain functions, with taps and without any."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

import fdl
from faults.table import Fault, Pair
from fdl.parity import tap

LAYOUT = ("NCHW", "OIHW", "NCHW")
EXPLICIT = [(1, 1), (1, 1)]


class ConvNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = torch.nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.bn1 = torch.nn.BatchNorm2d(4)
        self.relu1 = torch.nn.ReLU()
        self.conv2 = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.relu2 = torch.nn.ReLU()
        self.pool = torch.nn.MaxPool2d(2)
        self.fc = torch.nn.Linear(16, 3)
        for tensor in (*self.bn1.parameters(), *self.bn1.buffers()):
            if tensor.is_floating_point():
                torch.nn.init.uniform_(tensor, 0.5, 1.5)

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.pool(self.relu2(self.conv2(x)))
        return self.fc(x.flatten(1))


def conv(x, weight, bias, stride=1, padding=EXPLICIT):
    y = lax.conv_general_dilated(x, weight, (stride, stride), padding, dimension_numbers=LAYOUT)
    return y + bias[:, None, None]


def batch_norm(params, buffers, name, x, train, *, epsilon=1e-5, momentum=0.1, ddof=1):
    """Normalises, and returns the buffers as they are afterwards."""
    mean, var = buffers[f"{name}.running_mean"], buffers[f"{name}.running_var"]
    if train:
        batch = (x.mean((0, 2, 3)), x.var((0, 2, 3)))
        kept = (batch[0], x.var((0, 2, 3), ddof=ddof))
        buffers = buffers | {
            f"{name}.running_mean": (1 - momentum) * mean + momentum * kept[0],
            f"{name}.running_var": (1 - momentum) * var + momentum * kept[1],
            f"{name}.num_batches_tracked": buffers[f"{name}.num_batches_tracked"] + 1,
        }
        mean, var = batch
    y = (x - mean[:, None, None]) / jnp.sqrt(var[:, None, None] + epsilon)
    weight, bias = params[f"{name}.weight"], params[f"{name}.bias"]
    return y * weight[:, None, None] + bias[:, None, None], buffers


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def mean_pool(x):
    return lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 2, 2), "VALID") / 4


def flatten(x):
    return x.reshape(len(x), -1)


def linear(x, weight, bias):
    return x @ weight.T + bias


class Parts(NamedTuple):
    """What the port is made of; a fault puts another function in one place."""

    conv1: Callable = partial(conv, stride=2)
    batch_norm: Callable = batch_norm
    relu1: Callable = jax.nn.relu
    conv2: Callable = conv
    relu2: Callable = jax.nn.relu
    pool: Callable = max_pool
    flatten: Callable = flatten
    linear: Callable = linear


def silent(name, x):
    return x


def port(tap: Callable = tap, **changed) -> Callable:
    """The network in JAX, as a function of torch's tensors: `tap` may be one that says nothing."""
    part = Parts(**changed)

    def network(params, buffers, x, train):
        x = tap("conv1", part.conv1(x, params["conv1.weight"], params["conv1.bias"]))
        x, buffers = part.batch_norm(params, buffers, "bn1", x, train)
        x = tap("relu1", part.relu1(tap("bn1", x)))
        x = tap("conv2", part.conv2(x, params["conv2.weight"], params["conv2.bias"]))
        x = tap("pool", part.pool(tap("relu2", part.relu2(x))))
        return tap(
            "fc", part.linear(part.flatten(x), params["fc.weight"], params["fc.bias"])
        ), buffers

    return network


def flipped(x, weight, bias):
    return conv(x, weight[:, :, ::-1, ::-1], bias)


def exchanged(x, weight, bias):
    return conv(x, weight.swapaxes(2, 3), bias)


def pixels_first(x):
    return x.transpose(0, 2, 3, 1).reshape(len(x), -1)


def never_training(params, buffers, name, x, train):
    return batch_norm(params, buffers, name, x, train=False)


def always_training(params, buffers, name, x, train):
    return batch_norm(params, buffers, name, x, train=True)[0], buffers


def stopped_statistics(params, buffers, name, x, train):
    if not train:
        return batch_norm(params, buffers, name, x, train)
    fixed = lax.stop_gradient(x)
    _, updated = batch_norm(params, buffers, name, fixed, train)
    now = {
        f"{name}.running_mean": fixed.mean((0, 2, 3)),
        f"{name}.running_var": fixed.var((0, 2, 3)),
    }
    return batch_norm(params, now, name, x, train=False)[0], updated


def kinked(x):
    return jnp.where(x > 0, x, 0.01 * x)


@jax.custom_jvp
def kinked_alone(x):
    """Right with gradients, and so in training."""
    return kinked(x)


@kinked_alone.defjvp
def _kinked_alone_jvp(primals, tangents):
    return jax.jvp(jax.nn.relu, primals, tangents)


@jax.custom_vjp
def kinked_unpulled(x):
    """The same, by a rule that pulls back."""
    return kinked(x)


kinked_unpulled.defvjp(partial(jax.vjp, jax.nn.relu), lambda pull, cotangent: pull(cotangent))


def batches() -> list[Any]:
    generator = np.random.default_rng(0)
    return [(generator.normal(size=(4, 2, 8, 8)), generator.integers(0, 3, 4)) for _ in range(2)]


def torch_sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def pair(optimizer=None, **changed) -> Pair:
    twin = ConvNet()
    like = {k: jax.ShapeDtypeStruct(t.shape, "float32") for k, t in twin.state_dict().items()}
    params = {key: like[key] for key, _ in twin.named_parameters()}
    buffers = {key: like[key] for key, _ in twin.named_buffers()}
    options = {"loss": "cross_entropy", "params": params, "buffers": buffers}
    if optimizer is not None:
        options |= {"optimizer": (torch_sgd, optimizer), "steps": 2}
    return Pair(ConvNet, port(**changed), batches(), options)


untapped = partial(pair, tap=silent)

PAIRS = {
    "plain functions with taps": pair(fdl.optim.sgd(0.1, momentum=0.9)),
    "plain functions without taps": untapped(fdl.optim.sgd(0.1, momentum=0.9)),
}

SAME = partial(conv, stride=2, padding="SAME")

FAULTS = [
    Fault(
        "tapped: SAME padding at stride 2",
        pair(conv1=SAME),
        "conv1",
        "forward",
        0,
        "SAME instead of explicit padding",
    ),
    Fault(
        "tapped: pixels flattened before channels",
        pair(flatten=pixels_first),
        "",
        "forward",
        0,
        "flatten order",
    ),
    Fault("tapped: kernel mirrored", pair(conv2=flipped), "conv2", "forward", 0, "flipped kernel"),
    Fault("tapped: leaky ReLU", pair(relu1=kinked), "relu1", "forward", 0, "negative slope"),
    Fault(
        "tapped: leaky ReLU where nothing is derived",
        pair(relu1=kinked_alone),
        "relu1",
        "forward",
        0,
        "custom derivative",
    ),
    Fault(
        "untapped: leaky ReLU where nothing is derived",
        untapped(relu2=kinked_unpulled),
        "",
        "forward",
        0,
        "custom derivative",
    ),
    Fault(
        "tapped: leaky ReLU where nothing is derived, in float32",
        pair(relu2=kinked_unpulled),
        "relu2",
        "forward",
        0,
        "custom derivative",
        ("float32",),
    ),
    Fault(
        "tapped: mean pooling for max pooling",
        pair(pool=mean_pool),
        "pool",
        "forward",
        0,
        "pooling",
    ),
    Fault(
        "tapped: BatchNorm epsilon 1e-3",
        pair(batch_norm=partial(batch_norm, epsilon=1e-3)),
        "bn1",
        "forward",
        0,
        "epsilon",
    ),
    Fault(
        "tapped: BatchNorm always with the batch's statistics",
        pair(batch_norm=always_training),
        "bn1",
        "forward",
        0,
        "train instead of eval mode",
    ),
    Fault(
        "tapped: BatchNorm without gradient of its statistics",
        pair(batch_norm=stopped_statistics),
        "bn1",
        "backward",
        1,
        "stopped gradient of the statistics",
    ),
    Fault(
        "tapped: running variance of n",
        pair(batch_norm=partial(batch_norm, ddof=0)),
        "bn1",
        "buffer",
        1,
        "biased variance",
    ),
    Fault(
        "untapped: pixels flattened before channels",
        untapped(flatten=pixels_first),
        "",
        "forward",
        0,
        "flatten order",
    ),
    Fault(
        "untapped: kernel mirrored",
        untapped(conv2=flipped),
        "conv2",
        "forward",
        0,
        "flipped kernel",
    ),
    Fault(
        "untapped: kernel's height and width exchanged",
        untapped(conv2=exchanged),
        "conv2",
        "forward",
        0,
        "transposed weight",
    ),
    Fault(
        "untapped: ReLU missing",
        untapped(relu2=lambda x: x),
        "relu2",
        "forward",
        0,
        "another activation",
    ),
    Fault(
        "untapped: BatchNorm epsilon 1e-3",
        untapped(batch_norm=partial(batch_norm, epsilon=1e-3)),
        "bn1",
        "forward",
        0,
        "epsilon",
    ),
    Fault(
        "untapped: BatchNorm in evaluation mode",
        untapped(batch_norm=never_training),
        "bn1",
        "forward",
        1,
        "eval instead of train mode",
    ),
    Fault(
        "untapped: running variance of n",
        untapped(batch_norm=partial(batch_norm, ddof=0)),
        "bn1",
        "buffer",
        1,
        "biased variance",
    ),
    Fault(
        "untapped: momentum of the old statistics",
        untapped(batch_norm=partial(batch_norm, momentum=0.9)),
        "bn1",
        "buffer",
        1,
        "momentum convention",
    ),
    Fault(
        "untapped: momentum 0.5",
        untapped(fdl.optim.sgd(0.1, momentum=0.5)),
        "conv1",
        "update",
        2,
        "momentum",
    ),
]
