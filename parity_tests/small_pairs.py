"""Small networks in torch and as plain functions in JAX, for tests of candidates."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fdl
from fdl.parity import tap

GENERATOR = np.random.default_rng(0)
VECTORS = (GENERATOR.normal(size=(8, 4)), GENERATOR.integers(0, 3, 8))
IMAGES = (GENERATOR.normal(size=(4, 2, 6, 6)), GENERATOR.integers(0, 3, 4))


def compared(reference, candidate, batch=VECTORS, **options) -> fdl.parity.Report:
    """Compares in float64; Flax's own layers need the standard promotion."""
    given = {"loss": "cross_entropy", "precisions": ["float64"], **options}
    with jax.numpy_dtype_promotion("standard"):
        return fdl.parity.compare(reference, candidate, [batch], **given)


def shapes(module: torch.nn.Module) -> dict[str, jax.ShapeDtypeStruct]:
    """The trainable tensors of a module, as a function's parameters."""
    return {k: jax.ShapeDtypeStruct(p.shape, "float32") for k, p in module.named_parameters()}


class MLP(torch.nn.Module):
    def __init__(self, rate=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.fc1 = torch.nn.Linear(4, 4)
        self.norm = torch.nn.LayerNorm(4)
        self.dropout = torch.nn.Dropout(rate)
        self.fc2 = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc2(self.dropout(torch.tanh(self.norm(self.fc1(x)))))


class CNN(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(2, 3, 3)
        self.norm = torch.nn.BatchNorm2d(3)
        self.fc = torch.nn.Linear(48, 3)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).flatten(1))


def linear(params, name, x):
    return tap(name, x @ params[f"{name}.weight"].T + params[f"{name}.bias"])


def layer_norm(params, name, x):
    y = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return tap(name, y * params[f"{name}.weight"] + params[f"{name}.bias"])


def plain(params, x):
    return linear(params, "fc2", jnp.tanh(layer_norm(params, "norm", linear(params, "fc1", x))))


def network_with_buffers(params, buffers, x, train):
    kernel, bias = params["conv.weight"], params["conv.bias"]
    x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID") + bias[:, None, None]
    mean, var = buffers["norm.running_mean"], buffers["norm.running_var"]
    if train:
        momentum, seen = 0.1, x.var((0, 2, 3), ddof=1)
        updated = {
            "norm.running_mean": (1 - momentum) * mean + momentum * x.mean((0, 2, 3)),
            "norm.running_var": (1 - momentum) * var + momentum * seen,
        }
        mean, var, buffers = x.mean((0, 2, 3)), x.var((0, 2, 3)), buffers | updated
    x = (x - mean[:, None, None]) / jnp.sqrt(var[:, None, None] + 1e-5)
    x = x * params["norm.weight"][:, None, None] + params["norm.bias"][:, None, None]
    return linear(params, "fc", tap("norm", x).reshape(len(x), -1)), buffers


BUFFERS = {
    f"norm.running_{name}": jax.ShapeDtypeStruct((3,), "float32") for name in ("mean", "var")
}
