"""What a workload is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from fdl._checks import require
from fdl._types import Buffers, Model, Params
from fdl.interop import from_torch

if TYPE_CHECKING:
    import torch

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2  # AdamW's own in torch and in fdl; Optax has another
SEED = 0
WATCHED = "conv1.weight"  # what is compared where the optimizer alone moves resnet18's parameters
PHASES = ("training", "inference")


class Workload(NamedTuple):
    """One network with everything that a training step needs.

    Attributes:
        name: as in :data:`fdl.bench.WORKLOADS`.
        sizes: the network and its batch, in a few words.
        model: the fdl side.
        twin: makes the torch side; needs torch.
        loss: name of a function of both ``fdl.functional`` and ``torch.nn.functional``; None where
            the optimizer alone is timed, on gradients that are drawn once.
        batch: ``(*inputs, target)``.
        flax: name of the network of Flax that computes the same, and its arguments; None if there
            is none.
        output: the attribute of the twin's output that is compared; empty for the output itself.
        dtype: of weights and floating-point inputs.
        draw: 0 for the weights themselves; another number moves each of them by a unit in the last
            place, up or down at random.
    """

    name: str
    sizes: str
    model: Model
    twin: Callable[[], torch.nn.Module]
    loss: str | None
    batch: tuple[np.ndarray, ...]
    flax: tuple[str, Mapping[str, Any]] | None = None
    output: str = ""
    dtype: str = "float32"
    draw: int = 0

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that it has: an optimizer alone does not infer."""
        return PHASES if self.loss else PHASES[:1]

    def module(self) -> torch.nn.Module:
        """The torch side with its initial weights in `dtype`, the same at each call.

        Raises:
            ImportError: if torch, or the package that the network comes from, is missing.
        """
        torch = require("torch", extra="torch", purpose="the torch side of fdl.bench")
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torchvision on its own initialisation
            torch.manual_seed(SEED)
            module = self.twin().to(getattr(torch, self.dtype))
        if self.draw:
            _shift(module, seed=self.draw)
        return module

    def weights(self, module: torch.nn.Module | None) -> tuple[Params, Buffers]:
        """The fdl side's initial weights: `module`'s, or its own without one."""
        if module is None:
            return jax.jit(self.model.init)(jax.random.key(SEED))
        return from_torch(module, like=self.model)

    def arrays(self) -> tuple[jax.Array, ...]:
        """The batch for JAX, floating-point arrays in `dtype`."""
        return tuple(self._converted(array) for array in self.batch)

    def _converted(self, array: np.ndarray) -> jax.Array:
        found = jax.numpy.asarray(array)
        return found.astype(self.dtype) if jax.numpy.issubdtype(found.dtype, np.floating) else found


def _shift(module: torch.nn.Module, *, seed: int) -> None:
    """Moves every weight by a unit in the last place, up or down."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            up = torch.rand(parameter.shape, generator=generator) < 0.5
            limit = torch.where(up, math.inf, -math.inf).to(parameter)
            parameter.copy_(torch.nextafter(parameter, limit))


def gradients(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Gradients of parameters of these shapes, the same at each call."""
    generator = np.random.default_rng(SEED)
    return {
        name: np.float32(0.01) * generator.standard_normal(shape, np.float32)
        for name, shape in sorted(shapes.items())
    }


def check_names(function: str, argument: str, given: Any, known: tuple[str, ...]) -> None:
    """Raises ValueError if no name is given, or one that is not known."""
    if not given or not set(given) <= set(known):
        raise ValueError(
            f"{function}: {argument}: expected some of {', '.join(known)}, got "
            f"{', '.join(map(repr, given)) or 'none'}."
        )
