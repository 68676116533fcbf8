"""What the tests of layers and models share: one call that proves a module equal to torch's."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import torch
from flax import nnx

import fdl


def squares(output: Any, _target: Any) -> Any:
    """A loss of any output of either framework: it looks at every element of every leaf."""
    leaves = jax.tree.leaves(output)
    return sum((leaf * leaf).mean() + leaf.mean() for leaf in leaves)


def compare_layer(
    reference: torch.nn.Module,
    build: Callable[[nnx.Rngs], nnx.Module],
    *shapes: Sequence[int],
    precision: str = "float64",
    steps: int = 2,
) -> fdl.parity.Report:
    """Compares a layer on normal inputs: outputs, gradients, buffers and some steps of SGD."""
    generator = np.random.default_rng(0)
    batches = [(*(generator.normal(size=shape) for shape in shapes), np.zeros(1)) for _ in range(2)]
    learns = any(True for _ in reference.parameters())
    return fdl.parity.compare(
        reference,
        fdl.as_model(build),
        batches,
        loss=(squares, squares),
        optimizer=(lambda p: torch.optim.SGD(p, lr=0.1), fdl.optim.sgd(0.1)) if learns else None,
        steps=steps if learns else 1,
        precisions=[precision],
    )
