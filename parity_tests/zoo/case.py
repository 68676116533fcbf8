"""What a case is: a network of fdl.models, its counterpart in torch, and one batch for both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

import fdl

ADAMW = (lambda parameters: torch.optim.AdamW(parameters, lr=1e-3), fdl.optim.adamw(1e-3))
SGD = (
    lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9),
    fdl.optim.sgd(1e-3, momentum=0.9),
)
"""For deep networks with batch norms: many of their gradients are zero but for rounding, as that of
a bias which the next batch norm takes away, and Adam divides gradients by their size."""


GENTLE = (
    lambda parameters: torch.optim.SGD(parameters, lr=1e-5, momentum=0.9),
    fdl.optim.sgd(1e-5, momentum=0.9),
)
"""For the deepest of them, whose training on a few small images is chaotic at usual rates: a change
of ResNet-50's parameters by one unit in the last place of a float64 is 10^16 times as large after
20 steps at a rate of 1e-3, in torch alone."""


class Case(NamedTuple):
    """A model and its counterpart.

    Attributes:
        model: makes the fdl side.
        twin: makes the torch side: torchvision's or transformers' own class where they have it.
        loss: as :func:`fdl.parity.compare` takes it.
        batch: ``(*inputs, target)``, small.
        counterpart: what the twin is, for the page of models: ``"torchvision.models.resnet18"``.
        steps: training steps that are compared.
        optimizer: torch's and fdl's, that take them.
        heavy: whether the training steps are compared in the nightly run only.
    """

    model: Callable[[], fdl.Model]
    twin: Callable[[], torch.nn.Module]
    loss: Any
    batch: tuple[np.ndarray, ...]
    counterpart: str
    steps: int = 20
    optimizer: tuple[Any, Any] = ADAMW
    heavy: bool = False


def classified(*shape: int, classes: int = 10) -> tuple[np.ndarray, ...]:
    """Normal inputs of a shape, and a class for each."""
    generator = np.random.default_rng(0)
    return generator.normal(size=shape), generator.integers(0, classes, shape[0])


def regressed(shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Uniform inputs of a shape, and targets of another."""
    generator = np.random.default_rng(0)
    return generator.uniform(size=shape), generator.uniform(size=out)
