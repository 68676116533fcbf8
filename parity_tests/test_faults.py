"""A check must be able to fail: each fault, planted in the JAX side, must turn the verdict."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

import fdl
import fdl.functional as F
from fdl import nn


class TransposedLinear(nn.Linear):
    def __call__(self, input):
        return input @ self.weight[...] + self.bias[...]


class BiasedRunningVariance(nn.BatchNorm2d):
    def __call__(self, input):
        before = self.running_var[...]
        output = super().__call__(input)
        if self.training:
            batch = jnp.var(input, (0, 2, 3))
            self.running_var[...] = 0.9 * before + 0.1 * batch
        return output


class UnscaledDropout(nn.Dropout):
    def __call__(self, input):
        if not self.training:
            return input
        keep = jax.random.bernoulli(self.stream(), 1 - self.p, input.shape)
        return jnp.where(keep, input, 0)


class SamePaddedConv(nn.Conv2d):
    def __call__(self, input):
        output = jax.lax.conv_general_dilated(
            input, self.weight[...], self.stride, "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
        return output + self.bias[...].reshape(-1, 1, 1)


class HalfPrecisionLinear(nn.Linear):
    def __call__(self, input):
        rounded = (t.astype(jnp.bfloat16) for t in (input, self.weight[...]))
        return F.linear(*rounded).astype(input.dtype) + self.bias[...]


class LeakyRelu(nn.ReLU):
    def __call__(self, input):
        return jnp.where(input > 0, input, 1e-6 * input)


class SharedTies(nn.MaxPool2d):
    def __call__(self, input):
        n, c, h, w = input.shape
        return input.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


class Layers(NamedTuple):
    """The layers of the network below, each of which a fault may replace."""

    conv: type = nn.Conv2d
    norm: type = nn.BatchNorm2d
    relu: type = nn.ReLU
    pool: type = nn.MaxPool2d
    linear: type = nn.Linear
    dropout: type = nn.Dropout


class Fault(NamedTuple):
    """What is planted, and the kind of tensor that it must show in first."""

    layers: Layers = Layers()
    optimizer: Callable[[], optax.GradientTransformation] = fdl.optim.adamw
    loss: Callable = F.cross_entropy
    first: str = ""


FAULTS = {
    "transposed square weight": Fault(Layers(linear=TransposedLinear), first="output"),
    "biased running variance": Fault(Layers(norm=BiasedRunningVariance), first="buffer"),
    "dropout without 1/(1-p)": Fault(Layers(dropout=UnscaledDropout), first="output"),
    "stride-2 SAME pad": Fault(Layers(conv=SamePaddedConv), first="output"),
    "leaky instead of plain ReLU": Fault(Layers(relu=LeakyRelu), first="output"),
    "pooling that shares ties": Fault(Layers(pool=SharedTies), first="input gradient"),
    "bfloat16 product": Fault(Layers(linear=HalfPrecisionLinear), first="output"),
    "AdamW decay 1e-4 for 1e-2": Fault(
        optimizer=lambda: fdl.optim.adamw(weight_decay=1e-4), first="parameter"
    ),
    "coupled instead of decoupled decay": Fault(
        optimizer=lambda: fdl.optim.adam(weight_decay=1e-2), first="parameter"
    ),
    "epsilon inside the root": Fault(
        optimizer=lambda: optax.adamw(1e-3, eps=0.0, eps_root=1e-16, weight_decay=1e-2),
        first="parameter",
    ),
    "summed loss": Fault(loss=lambda x, t: F.cross_entropy(x, t, reduction="sum"), first="loss"),
    "smoothed labels": Fault(
        loss=lambda x, t: F.cross_entropy(x, t, label_smoothing=1e-6), first="loss"
    ),
    "missing dropout": Fault(Layers(dropout=lambda *_, **__: nn.Flatten()), first="output"),
    "dropout too many": Fault(
        Layers(relu=lambda: nn.Dropout(1e-9, rngs=nnx.Rngs(0))), first="output"
    ),
}


def network(layers: Layers) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            layers.conv(2, 4, 3, stride=2, padding=1, rngs=rngs),
            layers.norm(4),
            layers.relu(),
            layers.pool(2),
            nn.Flatten(),
            layers.linear(16, 16, rngs=rngs),
            nn.Tanh(),
            layers.dropout(0.5, rngs=rngs),
            nn.Linear(16, 3, rngs=rngs),
        )
    )


def twin() -> torch.nn.Module:
    torch.manual_seed(0)
    layers = torch.nn
    return layers.Sequential(
        layers.Conv2d(2, 4, 3, stride=2, padding=1),
        layers.BatchNorm2d(4),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(16, 16),
        layers.Tanh(),
        layers.Dropout(0.5),
        layers.Linear(16, 3),
    )


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures with an empty background, so that there are ties to get wrong."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(3, 16, 2, 8, 8))
    images[..., :4] = 0
    return [(x, generator.integers(0, 3, 16)) for x in images]


def compared(fault: Fault, *precisions: str) -> fdl.parity.Report:
    with jax.numpy_dtype_promotion("standard"):  # Optax's own optimizers need it
        return fdl.parity.compare(
            twin(),
            network(fault.layers),
            batches(),
            loss=(torch.nn.functional.cross_entropy, fault.loss),
            optimizer=(torch.optim.AdamW, fault.optimizer()),
            steps=3,
            precisions=precisions,
        )


def test_without_fault_all_is_equal():
    report = compared(Fault(), "float64", "float32")
    assert report.equal, report
    assert report.first_divergence is None


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_fault_is_found(fault):
    report = compared(fault, "float64")
    assert not report.equal
    assert report.first_divergence is not None
    assert report.first_divergence.kind == fault.first
    assert "DIFFERENT" in str(report)


def test_imprecise_float32_is_found_without_float64():
    """A product in bfloat16 for float32 inputs only: right in meaning, not in precision."""

    class Imprecise(nn.Linear):
        def __call__(self, input):
            precise = input.dtype == jnp.float64
            return (nn.Linear if precise else HalfPrecisionLinear).__call__(self, input)

    report = compared(Fault(Layers(linear=Imprecise)), "float64", "float32")
    assert not report.equal
    assert {row.precision for row in report.rows if not row.equal} == {"float32"}
