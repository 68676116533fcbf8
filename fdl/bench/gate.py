"""Equality before speed: a variant is timed only if it computes what torch computes in float64."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from fdl.bench._workload import WATCHED, Workload
from fdl.parity import TOLERANCE

if TYPE_CHECKING:
    import torch

CHECKED_CALLS = 3


class Verdict(NamedTuple):
    """How near a variant is to torch in float64.

    Attributes:
        error: ``max|x - x64| / max|x64|`` over the results of the first calls.
        budget: the largest allowed error, from torch's own in the same dtype.
    """

    error: float
    budget: float


class UnequalError(ValueError):
    """A variant that does not compute what torch computes."""


class Gate:
    """Runs torch in float64 and in the workload's dtype, and judges variants against both."""

    def __init__(self, workload: Workload, phase: str) -> None:
        from fdl.bench import _torch_variants  # needs torch

        self.make = {
            "training": _torch_variants.training,
            "inference": _torch_variants.inference,
        }[phase]
        self.workload = workload
        self.place = f"{workload.name}, {phase}"
        training = "loss" if workload.loss else WATCHED
        self.training = phase == "training"
        self.quantity = training if phase == "training" else "output"
        self.exact = self._first(workload.module().double())
        self.rounded: np.ndarray | None = None
        self.draws = 0
        self.budget = 0.0
        self._draw()

    def check(
        self,
        variant: str,
        results: Sequence[Any],
        again: Callable[[Workload], Sequence[Any]] | None = None,
    ) -> Verdict:
        """Judges the results of a variant's first calls, in order.

        Where they are beyond what torch's own error allows, torch is run again from weights that
        are a unit in the last place apart, as often as :data:`fdl.parity.TOLERANCE` says: deep
        networks with batch norm magnify rounding by luck. Then the variant is, twice, and the
        median of its errors counts: where one gradient is next to nothing, AdamW moves its weight
        up or down by luck, which can take AlexNet's third loss 1.8e-4 off. Flax's variants may also
        agree with a float64 run of torch whose learning rates are off as far as Optax's are.

        Args:
            variant: how an error calls it.
            results: of the first :data:`CHECKED_CALLS` calls.
            again: of a workload with other weights, the results of the variant's first calls.

        Raises:
            UnequalError: if they are not within budget.
        """
        error = self._error_of(variant, results)
        while not error <= self.budget and math.isfinite(error) and self.draws < TOLERANCE.draws:
            self._draw()
        unlucky = not error <= self.budget and math.isfinite(error) and self.training
        if unlucky and again is not None:
            others = [again(self.workload._replace(draw=draw)) for draw in (1, 2)]
            error = statistics.median([error, *(self._error_of(variant, r) for r in others)])
        if not error <= self.budget:
            raise UnequalError(
                f"{self.place}: {variant}: expected the {self.quantity} of the first "
                f"{CHECKED_CALLS} calls within {self.budget:.1e} of torch in float64, got an error "
                f"of {error:.1e}. It computes something else, so it is not timed; "
                "fdl.parity.compare finds where it differs."
            )
        return Verdict(error, self.budget)

    def _error_of(self, variant: str, results: Sequence[Any]) -> float:
        found = np.stack([read(r) for r in results])
        error = self._error(found)
        if error > self.budget and variant.startswith("flax") and self.training:
            return min(error, self._error(found, self._as_optax_rounds()))
        return error

    def _draw(self) -> None:
        """Widens the budget to what torch's next float32 run allows."""
        module = self.workload._replace(draw=self.draws).module()
        error = self._error(self._first(module))
        floor = TOLERANCE.floor * float(jnp.finfo(self.workload.dtype).eps)
        self.budget = max(self.budget, TOLERANCE.multiple * error, floor)
        self.draws += 1

    def _first(self, module: torch.nn.Module, **options: Any) -> np.ndarray:
        candidate = self.make(self.workload, module, compiled=False, **options)
        return np.stack([read(candidate()) for _ in range(CHECKED_CALLS)])

    def _as_optax_rounds(self) -> np.ndarray:
        """Torch in float64 with Optax's bias corrections: ``1 - b ** t`` in float32."""
        if self.rounded is None:
            factors = [optax_factor(step) for step in range(1, CHECKED_CALLS + 1)]
            self.rounded = self._first(self.workload.module().double(), lr_factors=factors)
        return self.rounded

    def _error(self, results: np.ndarray, exact: np.ndarray | None = None) -> float:
        """``max|x - x64| / max|x64|``, infinite for another shape."""
        exact = self.exact if exact is None else exact
        if results.shape != exact.shape:
            return math.inf
        return float(np.abs(results - exact).max() / np.abs(exact).max())


def optax_factor(step: int) -> float:
    """What rounding makes of Adam's learning rate at a step in Optax, 1 - 3e-5 at the first."""
    first, second = (
        (1 - decay**step) * float(optax.tree.bias_correction(jnp.float32(1), decay, step))
        for decay in (0.9, 0.999)
    )
    return first / math.sqrt(second)


def read(result: Any) -> np.ndarray:
    """A copy of what either framework returned, before a later call may reuse its memory."""
    if hasattr(result, "cpu"):
        return result.detach().cpu().double().numpy().copy()
    return np.array(result, dtype=np.float64)
