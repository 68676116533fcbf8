"""The one table of tolerances: nothing else in fdl or its tests names one."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """When two tensors count as equal.

    An error is ``norm(x - oracle) / scale`` against PyTorch in float64: the root mean square in
    float64, the maximum in float32. The scale is the oracle's own norm, or `noise` times the
    largest norm among the tensors of its kind (all parameter gradients, say) if that is more: a
    tensor that is zero but for rounding, as the gradient of a bias before batch norm, is judged on
    the scale of what it was computed from. In float64 that comes to some fifty epsilons of the
    largest tensor.

    Attributes:
        float64: largest error in float64, where only the meaning can differ.
        factors: for each kind of quantity, how many times PyTorch's own float32 error, measured
            against PyTorch in float64, the float32 error may be.
        floor: errors below so many float32 epsilons pass whatever PyTorch's own error is.
        draws: how many float32 runs, a unit in the last place apart, an error is looked for in.
        noise: share of the largest tensor of a kind below which a tensor is rounding.
    """

    float64: float
    factors: Mapping[str, float]
    floor: float
    draws: int
    noise: float

    def float32(self, quantity: str, reference_error: float) -> float:
        """Largest error in float32, given PyTorch's own."""
        epsilon = float(np.finfo(np.float32).eps)
        return max(self.factors[quantity] * reference_error, self.floor * epsilon)


TOLERANCE = Tolerance(
    float64=1e-10,
    factors={
        "output": 4,
        "loss": 4,
        "gradient": 4,
        "input gradient": 4,
        "buffer": 4,
        "parameter": 4,
        "mask": 0,
    },
    floor=16,
    draws=5,
    noise=1e-4,
)
