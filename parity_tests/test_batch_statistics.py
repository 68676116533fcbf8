"""Batch statistics in float32 are as exact as torch's, be the mean large or near zero."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import fdl.functional as F
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

MEANS = (0.0, 1e-3, 1.0, 1e2, 1e4)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("shape", [(2, 2, 512, 512), (2**20, 2), (4, 2, 3, 3)])
def test_running_statistics_are_as_near_as_torchs(shape, mean):
    values = np.random.default_rng(0).normal(mean, size=shape).astype(np.float32)
    axes = (0, *range(2, len(shape)))
    exact = values.astype(np.float64).mean(axes), values.astype(np.float64).var(axes, ddof=1)

    theirs = torch.zeros(2), torch.zeros(2)
    torch.nn.functional.batch_norm(torch.tensor(values), *theirs, training=True, momentum=1.0)
    nothing = jnp.zeros(2)
    _, *ours = jax.jit(lambda x: F.batch_norm(x, nothing, nothing, training=True, momentum=1.0))(
        values
    )
    for got, reference, oracle in zip(ours, theirs, exact, strict=True):
        scale = maximum(oracle)
        allowed = TOLERANCE.float32(distance(reference.numpy(), oracle, scale, maximum))
        assert distance(np.asarray(got), oracle, scale, maximum) <= allowed
