"""The one table of tolerances: nothing else in fdl or its tests names one."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

import numpy as np

from fdl.parity._record import Quantity


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
        multiple: how many times PyTorch's own float32 error, measured against PyTorch in float64,
            the float32 error may be.
        floor: errors below so many float32 epsilons pass whatever PyTorch's own error is.
        draws: how many float32 runs, some units in the last place apart, an error is looked for in.
        noise: share of the largest tensor of a kind below which a tensor is rounding.
        factors: by pattern (``"*.running_var"`` for names, ``"gradient *"`` with the kind), what
            budgets are multiplied by; the first that fits counts.
    """

    float64: float
    multiple: float
    floor: float
    draws: int
    noise: float
    factors: Mapping[str, float]

    def factor(self, quantity: Quantity) -> float:
        """What the budget of a tensor is multiplied by."""
        names = (quantity.name, f"{quantity.kind} {quantity.name}")
        fitting = (
            factor
            for pattern, factor in self.factors.items()
            if any(fnmatchcase(name, pattern) for name in names)
        )
        return next(fitting, 1.0)

    def float32(self, reference_error: float) -> float:
        """Largest error in float32, given PyTorch's own."""
        epsilon = float(np.finfo(np.float32).eps)
        return max(self.multiple * reference_error, self.floor * epsilon)


TOLERANCE = Tolerance(float64=1e-10, multiple=4, floor=16, draws=5, noise=1e-4, factors={})
