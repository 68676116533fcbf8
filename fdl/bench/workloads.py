"""What is timed: one network of each family, its torch twin, a loss and a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from fdl import models
from fdl._checks import require
from fdl._types import Buffers, Model, Params
from fdl.interop import from_torch

if TYPE_CHECKING:
    import torch

LEARNING_RATE = 1e-3
SEED = 0


class Workload(NamedTuple):
    """One network with everything that a training step needs.

    Attributes:
        name: of the family.
        sizes: the network and its batch, in a few words.
        model: the fdl side.
        twin: makes the torch side; needs torch.
        loss: name of a function of both ``fdl.functional`` and ``torch.nn.functional``.
        batch: ``(*inputs, target)``.
    """

    name: str
    sizes: str
    model: Model
    twin: Callable[[], torch.nn.Module]
    loss: str
    batch: tuple[np.ndarray, ...]

    def module(self) -> torch.nn.Module:
        """The torch side with its initial weights, the same at each call.

        Raises:
            ImportError: without torch.
        """
        torch = require("torch", extra="torch", purpose="the torch side of fdl.bench")
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            return self.twin()

    def weights(self, module: torch.nn.Module | None) -> tuple[Params, Buffers]:
        """The fdl side's initial weights: `module`'s, or its own without one."""
        if module is None:
            return jax.jit(self.model.init)(jax.random.key(SEED))
        return from_torch(module, like=self.model)


def workload(name: str) -> Workload:
    """Builds one of the four workloads.

    Args:
        name: ``"mlp"``, ``"cnn"``, ``"lstm"`` or ``"autoencoder"``.

    Returns:
        The workload, with inputs drawn from a seeded generator.

    Raises:
        ValueError: if there is no such workload.

    Example:
        >>> import fdl.bench
        >>> fdl.bench.workload("mlp").sizes
        '784-512-512-10, batch 128'
    """
    check_names("workload", "name", [name], WORKLOADS)
    return _FAMILIES[name](np.random.default_rng(SEED))


def check_names(function: str, argument: str, given: Any, known: tuple[str, ...]) -> None:
    """Raises ValueError if no name is given, or one that is not known."""
    if not given or not set(given) <= set(known):
        raise ValueError(
            f"{function}: {argument}: expected some of {', '.join(known)}, got "
            f"{', '.join(map(repr, given)) or 'none'}."
        )


def _mlp(generator: np.random.Generator) -> Workload:
    sizes, rows = [784, 512, 512, 10], 128
    batch = _normal(generator, rows, sizes[0]), generator.integers(0, sizes[-1], rows)
    twin = _twin("mlp", sizes)
    described = f"{'-'.join(map(str, sizes))}, batch {rows}"
    return Workload("mlp", described, models.mlp(sizes), twin, "cross_entropy", batch)


def _cnn(generator: np.random.Generator) -> Workload:
    rows = 64
    batch = _normal(generator, rows, 1, 28, 28), generator.integers(0, 10, rows)
    model, twin = models.cnn(dropout=0.0), _twin("cnn", dropout=0.0)  # masks differ by framework
    described = f"two convolutions, 28x28, batch {rows}"
    return Workload("cnn", described, model, twin, "cross_entropy", batch)


def _lstm(generator: np.random.Generator) -> Workload:
    steps, features, hidden, classes, layers, rows = 28, 28, 128, 10, 2, 64
    batch = _normal(generator, rows, steps, features), generator.integers(0, classes, rows)
    model = models.lstm(features, hidden, classes, num_layers=layers)
    twin = _twin("lstm", features, hidden, classes, num_layers=layers)
    described = f"{layers} layers of {hidden}, {steps} steps of {features}, batch {rows}"
    return Workload("lstm", described, model, twin, "cross_entropy", batch)


def _autoencoder(generator: np.random.Generator) -> Workload:
    sizes, rows = [784, 256, 64], 128
    images = generator.random((rows, sizes[0]), np.float32)
    model, twin = models.autoencoder(sizes), _twin("autoencoder", sizes)
    described = f"{'-'.join(map(str, sizes))} and back, batch {rows}"
    return Workload("autoencoder", described, model, twin, "mse_loss", (images, images))


def _normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape, np.float32)


def _twin(family: str, *args: Any, **kwargs: Any) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        twins = require("fdl.parity.twins", extra="torch", purpose="the torch side of fdl.bench")
        return getattr(twins, family)(*args, **kwargs)

    return make


_FAMILIES = {"mlp": _mlp, "cnn": _cnn, "lstm": _lstm, "autoencoder": _autoencoder}

WORKLOADS = tuple(_FAMILIES)
"""Names of all workloads."""
