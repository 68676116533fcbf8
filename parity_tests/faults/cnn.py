"""Faults in a convolutional network with batch norm, pooling and dropout."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn

PICTURES = ("NCHW", "OIHW", "NCHW")


class SamePadded(nn.Conv2d):
    def __call__(self, input):
        output = jax.lax.conv_general_dilated(
            input, self.weight[...], self.stride, "SAME", dimension_numbers=PICTURES
        )
        return output + self.bias[...].reshape(-1, 1, 1)


class Mirrored(nn.Conv2d):
    def __call__(self, input):
        weight = self.weight[...][:, :, ::-1, ::-1]
        return F.conv2d(input, weight, self.bias[...], self.stride, self.padding)


class Turned(nn.Conv2d):
    def __call__(self, input):
        weight = self.weight[...].swapaxes(2, 3)
        return F.conv2d(input, weight, self.bias[...], self.stride, self.padding)


class Reshaped(nn.Conv2d):
    """A kernel in Flax's layout, reshaped where it should be transposed."""

    def __call__(self, input):
        kernel = self.weight[...].transpose(2, 3, 1, 0)
        weight = kernel.reshape(self.weight.shape)
        return F.conv2d(input, weight, self.bias[...], self.stride, self.padding)


class NoBias(nn.Conv2d):
    def __call__(self, input):
        return F.conv2d(input, self.weight[...], None, self.stride, self.padding)


class Epsilon(nn.BatchNorm2d):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, eps=1e-3, **kwargs)


class FlaxMomentum(nn.BatchNorm2d):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, momentum=0.9, **kwargs)


class BiasedVariance(nn.BatchNorm2d):
    def __call__(self, input):
        before = self.running_var[...]
        output = super().__call__(input)
        if self.training:
            self.running_var[...] = 0.9 * before + 0.1 * jnp.var(input, (0, 2, 3))
        return output


class UnbiasedNormalisation(nn.BatchNorm2d):
    def __call__(self, input):
        output = super().__call__(input)
        if not self.training:
            return output
        axes = (0, 2, 3)
        variance = jnp.var(input, axes, keepdims=True, ddof=1)
        y = (input - input.mean(axes, keepdims=True)) / jnp.sqrt(variance + self.eps)
        return y * self.weight[...].reshape(-1, 1, 1) + self.bias[...].reshape(-1, 1, 1)


class AlwaysBatch(nn.BatchNorm2d):
    def __call__(self, input):
        weights = (self.weight[...], self.bias[...])
        if self.training:
            return super().__call__(input)
        return F.batch_norm(input, None, None, *weights, True, eps=self.eps).output


class AlwaysRunning(nn.BatchNorm2d):
    def __call__(self, input):
        statistics = (self.running_mean[...], self.running_var[...])
        if self.training:
            super().__call__(input)
        weights = (self.weight[...], self.bias[...])
        return F.batch_norm(input, *statistics, *weights, False, eps=self.eps).output


class StoppedStatistics(nn.BatchNorm2d):
    def __call__(self, input):
        output = super().__call__(input)
        if not self.training:
            return output
        constant = jax.lax.stop_gradient(input)
        statistics = (constant.mean((0, 2, 3)), constant.var((0, 2, 3)))
        weights = (self.weight[...], self.bias[...])
        return F.batch_norm(input, *statistics, *weights, False, eps=self.eps).output


class NeverCounted(nn.BatchNorm2d):
    def __call__(self, input):
        output = super().__call__(input)
        self.num_batches_tracked[...] = jnp.zeros((), int)
        return output


class SharedTies(nn.MaxPool2d):
    def __call__(self, input):
        n, c, h, w = input.shape
        return input.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


class Average(nn.MaxPool2d):
    def __call__(self, input):
        n, c, h, w = input.shape
        return input.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


class ChannelsLast(nn.Flatten):
    def __call__(self, input):
        return input.transpose(0, 2, 3, 1).reshape(len(input), -1)


class Unscaled(nn.Dropout):
    def __call__(self, input):
        if not self.training:
            return input
        keep = jax.random.bernoulli(self.stream(), 1 - self.p, input.shape)
        return jnp.where(keep, input, 0)


class ScaledByP(nn.Dropout):
    def __call__(self, input):
        return super().__call__(input) * ((1 - self.p) / self.p if self.training else 1.0)


class Missing(nn.Module):
    def __init__(self, *_args: Any, **_kwargs: Any):
        pass

    def __call__(self, input):
        return input


def network(
    conv=nn.Conv2d, norm=nn.BatchNorm2d, pool=nn.MaxPool2d, flatten=nn.Flatten, dropout=nn.Dropout
) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            conv(2, 4, 3, stride=2, padding=1, rngs=rngs),
            norm(4),
            nn.ReLU(),
            pool(2),
            flatten(),
            dropout(0.25, rngs=rngs),
            nn.Linear(16, 3, rngs=rngs),
        )
    )


def twin() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn
    return layers.Sequential(
        layers.Conv2d(2, 4, 3, stride=2, padding=1),
        layers.BatchNorm2d(4),
        layers.ReLU(inplace=True),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Dropout(0.25),
        layers.Linear(16, 3),
    )


def batches() -> list[Any]:
    """Pictures with an empty background, so that there are ties to get wrong."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(3, 8, 2, 8, 8))
    images[..., :4] = 0
    return [(x, generator.integers(0, 3, 8)) for x in images]


def pair(**layers: Any) -> Pair:
    options = {"optimizer": (torch.optim.AdamW, fdl.optim.adamw()), "steps": 2}
    return Pair(twin, network(**layers), batches(), {"loss": "cross_entropy", **options})


def at(name: str, module: str, phase: str, step: int, cause: str, **layers: Any) -> Fault:
    return Fault(name, pair(**layers), module, phase, step, cause)


class Restless(torch.nn.Module):
    """Uses one module twice, adds in place, and takes the ReLU of what it goes on to use."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(2, 2, 3, padding=1)
        self.relu = torch.nn.ReLU(inplace=True)
        self.fc = torch.nn.Linear(128, 3)

    def forward(self, x):
        y = self.relu(self.conv(x))
        z = self.conv(y)
        z += y
        return self.fc(self.relu(z).flatten(1))


class RestlessPort(nn.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv = nn.Conv2d(2, 2, 3, padding=1, rngs=rngs)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(128, 3, rngs=rngs)

    def __call__(self, x):
        y = self.relu(self.conv(x))
        z = self.conv(y) + y
        return self.fc(self.relu(z).reshape(len(z), -1))


class NoShortcut(RestlessPort):
    def __call__(self, x):
        y = self.relu(self.conv(x))
        z = self.conv(y)
        return self.fc(self.relu(z).reshape(len(z), -1))


def restless(port: type) -> Pair:
    options = {"optimizer": (torch.optim.SGD, fdl.optim.sgd()), "steps": 2}
    options["loss"] = "cross_entropy"
    return Pair(Restless, fdl.as_model(lambda rngs: port(rngs)), batches(), options)


PAIRS = {"cnn with batch norm": pair(), "cnn with shared modules": restless(RestlessPort)}

FAULTS = [
    at(
        *("SAME padding at stride 2", "0", "forward", 0, "SAME instead of explicit padding"),
        conv=SamePadded,
    ),
    at("mirrored kernel", "0", "forward", 0, "flipped kernel", conv=Mirrored),
    at("kernel turned", "0", "forward", 0, "transposed weight", conv=Turned),
    at("kernel reshaped", "0", "forward", 0, "permuted weight", conv=Reshaped),
    at("convolution without bias", "0", "forward", 0, "missing bias", conv=NoBias),
    at("batch norm epsilon", "1", "forward", 0, "epsilon", norm=Epsilon),
    at("momentum as Flax has it", "1", "buffer", 1, "momentum convention", norm=FlaxMomentum),
    at("biased running variance", "1", "buffer", 1, "biased variance", norm=BiasedVariance),
    at(
        *("batch normalised by n - 1", "1", "forward", 1, "unbiased variance"),
        norm=UnbiasedNormalisation,
    ),
    at(
        *("batch statistics in evaluation", "1", "forward", 0, "train instead of eval mode"),
        norm=AlwaysBatch,
    ),
    at(
        *("running statistics in training", "1", "forward", 1, "eval instead of train mode"),
        norm=AlwaysRunning,
    ),
    at(
        *("statistics are constants", "1", "backward", 1, "stopped gradient of the statistics"),
        norm=StoppedStatistics,
    ),
    at("batches are not counted", "1", "buffer", 1, "missing count", norm=NeverCounted),
    at("ties share the gradient", "3", "backward", 0, "shared ties", pool=SharedTies),
    at("average pooling", "3", "forward", 0, "pooling", pool=Average),
    at("channels-last flatten", "4", "forward", 0, "flatten order", flatten=ChannelsLast),
    at("dropout not scaled", "5", "forward", 1, "dropout scale", dropout=Unscaled),
    at("dropout scaled by p", "5", "forward", 1, "dropout scale", dropout=ScaledByP),
    at("no dropout", "5", "forward", 1, "missing dropout", dropout=Missing),
    Fault("no shortcut", restless(NoShortcut), "", "forward", 0, "missing connection"),
]
