"""A benchmark that takes no time: a workload of a few weights, a machine measured in no time."""

from functools import partial

import numpy as np

from fdl import models
from fdl.bench import Workload, roofline, suite, timing, variants
from fdl.bench.variants import Built
from fdl.parity import twins

SIZES = [6, 4, 3]


def small_workload():
    """A perceptron, and five rows."""
    generator = np.random.default_rng(0)
    batch = generator.standard_normal((5, 6), np.float32), generator.integers(0, 3, 5)
    model, twin = models.mlp(SIZES), partial(twins.mlp, SIZES)
    return Workload("mlp", "tiny", model, twin, "cross_entropy", batch, ("mlp", {"sizes": SIZES}))


def make_brief(monkeypatch):
    """Blocks of one call and small products, wherever a real clock is read."""
    brief = partial(timing.interleaved, min_block_seconds=0.0)
    monkeypatch.setattr(suite, "interleaved", brief)
    monkeypatch.setattr(roofline, "interleaved", brief)
    monkeypatch.setattr(roofline, "SIZES", (8,))
    monkeypatch.setattr(roofline, "VECTOR", 64)


def failing(variant):
    """In place of `build`: one variant's calls fail."""

    def build(workload, phase, name):
        if name != variant:
            return variants.build(workload, phase, name)

        def call():
            raise RuntimeError("no C++ compiler [found]\nand more lines")

        return Built(call)

    return build
