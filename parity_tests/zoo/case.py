"""What a case is: a network of fdl.models, its counterpart in torch, and one batch for both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

import fdl

ADAMW = (lambda parameters: torch.optim.AdamW(parameters, lr=1e-3), fdl.optim.adamw(1e-3))


def sgd(rate: float) -> tuple[Any, Any]:
    """SGD with momentum on both sides, for deep networks with batch norms.

    Many of their gradients are zero but for rounding, as that of a bias which the next batch norm
    takes away, and Adam divides gradients by their size.

    Args:
        rate: one at which the loss falls. A deep ResNet's gradients are large at its first weights:
            the largest has a root mean square of 10 in ResNet-50, 40 in ResNet-101, 160 in
            ResNet-152. With steps that are too long for them, training is chaotic in torch alone:
            what a unit in the last place of ResNet-101's parameters does to its gradients grows 15
            times with each step at a rate of 1e-5, by half over four steps at 1e-7.
    """
    return (
        lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
        fdl.optim.sgd(rate, momentum=0.9),
    )


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
