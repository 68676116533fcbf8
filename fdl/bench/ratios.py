"""How fdl's jitted program stands to the others: below 1, fdl is faster."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from fdl.bench.report import Measurement
from fdl.bench.variants import MANY

JIT = "jax jit"
TORCH = ("torch eager", "torch.compile")
NNX, LINEN = "flax nnx", "flax linen"


class Ratios(NamedTuple):
    """One measurement's; None where one of the two has no time.

    Attributes:
        torch: ``jax jit`` over the better of torch eager and torch.compile, median over median.
        better: which of the two that was.
        nnx: ``jax jit`` over Flax NNX.
        linen: ``jax jit`` over Flax Linen.
        many: many steps in one call over the better torch.
        memory: peak memory of a training step, ``jax jit`` over torch eager.
    """

    torch: float | None
    better: str
    nnx: float | None
    linen: float | None
    many: float | None
    memory: float | None

    @property
    def best(self) -> float | None:
        """The better of one and of many steps in one call over the better torch."""
        there = [ratio for ratio in (self.torch, self.many) if ratio is not None]
        return min(there, default=None)


def ratios(measurement: Measurement) -> Ratios:
    """All ratios of a measurement."""
    jit, many = (_median(measurement, name) for name in (JIT, MANY))
    medians = {name: _median(measurement, name) for name in TORCH}
    found = {name: median for name, median in medians.items() if median is not None}
    better = min(found, key=lambda name: found[name], default="")
    torch = found.get(better)
    return Ratios(
        _over(jit, torch),
        better,
        _over(jit, _median(measurement, NNX)),
        _over(jit, _median(measurement, LINEN)),
        _over(many, torch),
        _over(measurement.memory.get(JIT), measurement.memory.get(TORCH[0])),
    )


def geometric_mean(values: Sequence[float | None]) -> float | None:
    """Of the values that there are; None without any."""
    there = [value for value in values if value is not None]
    return math.exp(sum(map(math.log, there)) / len(there)) if there else None


def _median(measurement: Measurement, variant: str) -> float | None:
    timing = measurement.timing(variant)
    return timing.median if timing else None


def _over(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or not theirs else ours / theirs
