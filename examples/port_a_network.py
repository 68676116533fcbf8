"""Finds three mistakes in a port of a PyTorch network to Flax Linen, one after another.

The port was written as one would write it: with Linen's padding, Linen's batch norm, and Adam with
weight decay put together from Optax's parts. `fdl.parity.compare` names the first place that leaves
PyTorch, and why; that is mended, and asked again, until both are equal.

Run: python examples/port_a_network.py (needs PyTorch)
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import linen

import fdl


class TorchNet(torch.nn.Module):
    """What is ported: two convolutions, batch norm, a linear layer, for digits of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        self.conv2 = torch.nn.Conv2d(8, 16, 3, padding=1)
        self.fc = torch.nn.Linear(16 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns ``(N, 10)`` logits for ``(N, 1, 8, 8)`` pixels."""
        x = torch.relu(self.norm(self.conv1(x)))
        x = torch.relu(self.conv2(x))
        return self.fc(x.flatten(1))


class Port(linen.Module):
    """The same in Linen, channels last inside; its names are torch's, its defaults are Flax's."""

    padding: Any = "SAME"
    norm: Callable[..., linen.Module] = partial(linen.BatchNorm, momentum=0.9)

    @linen.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns ``(N, 10)`` logits for ``(N, 1, 8, 8)`` pixels."""
        x = x.transpose(0, 2, 3, 1)
        x = linen.Conv(8, (3, 3), strides=2, padding=self.padding, name="conv1")(x)
        x = linen.relu(self.norm(use_running_average=not train, name="norm")(x))
        x = linen.relu(linen.Conv(16, (3, 3), name="conv2")(x))
        x = x.transpose(0, 3, 1, 2)  # torch flattens channels first
        return linen.Dense(10, name="fc")(x.reshape(len(x), -1))


class TorchBatchNorm(linen.Module):
    """Batch norm whose running variance is that of n - 1 values, as torch keeps it."""

    use_running_average: bool

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises ``(N, H, W, C)`` over all but the last axis."""
        channels = x.shape[-1:]
        scale = self.param("scale", linen.initializers.ones, channels)
        bias = self.param("bias", linen.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        mean, var = running_mean.value, running_var.value
        if not self.use_running_average:
            axes = (0, 1, 2)
            running_mean.value = 0.9 * mean + 0.1 * x.mean(axes)
            running_var.value = 0.9 * var + 0.1 * x.var(axes, ddof=1)
            mean, var = x.mean(axes), x.var(axes)
        return (x - mean) / jnp.sqrt(var + 1e-5) * scale + bias


class Attempt(NamedTuple):
    """A state of the port: what was just mended, the network, its optimizer."""

    mended: str
    network: Port
    optimizer: optax.GradientTransformation


COUPLED = optax.chain(optax.add_decayed_weights(1e-2), optax.adam(1e-3))
PADDED = Port(padding=((1, 1), (1, 1)))
NORMED = Port(padding=((1, 1), (1, 1)), norm=TorchBatchNorm)

ATTEMPTS = [
    Attempt("the port as first written", Port(), COUPLED),
    Attempt("conv1 pads one pixel on every side", PADDED, COUPLED),
    Attempt("norm keeps the variance of n - 1 values", NORMED, COUPLED),
    Attempt("weight decay is AdamW's", NORMED, fdl.optim.adamw(1e-3, weight_decay=1e-2)),
]


def digits(count: int, size: int = 16) -> list[tuple[np.ndarray, np.ndarray]]:
    """The first batches of scikit-learn's digits."""
    dataset = fdl.data.digits()
    starts = range(0, count * size, size)
    return [(dataset.images[i : i + size], dataset.labels[i : i + size]) for i in starts]


def compared(attempt: Attempt, steps: int, *precisions: str) -> fdl.parity.Report:
    """Compares an attempt with torch: forward, backward, buffers and AdamW's updates."""
    torch.manual_seed(0)
    return fdl.parity.compare(
        TorchNet(),
        attempt.network,
        digits(2),
        loss="cross_entropy",
        optimizer=(partial(torch.optim.AdamW, lr=1e-3, weight_decay=1e-2), attempt.optimizer),
        steps=steps,
        precisions=precisions,
    )


def main() -> None:
    """Compares, mends, and compares again; leaves one page for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/port"))
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the tensors are small: more threads wait for each other

    for number, attempt in enumerate(ATTEMPTS, start=1):
        print(f"{number}. {attempt.mended}")
        last = attempt is ATTEMPTS[-1]
        precisions = ("float64", "float32") if last else ("float64",)
        report = compared(attempt, arguments.steps, *precisions)
        print(report.headline())
        if report.first_divergence is not None:
            print(f"first: {report.first_divergence}")
            print(f"cause: {report.first_divergence.cause}")
        print(f"page:  {report.save(arguments.out / f'report_{number}.html')}\n")


if __name__ == "__main__":
    main()
