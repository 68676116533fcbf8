"""Runs torch and fdl side by side, one stage at a time."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from fdl._types import Model
from fdl.parity._jax_side import JaxSide
from fdl.parity._masks import sample
from fdl.parity._record import Batch, Record, cast, nudged
from fdl.parity._torch_side import TorchSide
from fdl.parity.judge import Judge
from fdl.parity.report import Row
from fdl.parity.tolerance import Tolerance


class Stage(NamedTuple):
    """One pass or step as each side recorded it; `reference` is torch in float32.

    `masks` has a row where the two do not draw the same dropout masks.
    """

    oracle: Record
    reference: Record
    candidate: Record
    masks: list[Row]


class Run:
    """Everything that a comparison runs, and may run again from nudged parameters."""

    def __init__(
        self,
        reference: torch.nn.Module,
        model: Model,
        losses: tuple[Any, Any],
        optimizer: tuple[Any, Any] | None,
        batches: Sequence[Batch],
        steps: int,
        seed: int,
    ) -> None:
        self.reference = reference
        self.model = model
        self.losses = losses
        self.factory, self.transform = optimizer or (None, None)
        self.batches = batches
        self.steps = steps
        self.seed = seed

    def float64(self, tolerance: Tolerance) -> list[Row]:
        """Judges the meaning, in one run."""
        judge = Judge(tolerance)
        candidate = JaxSide(self.model, self.losses[1], self.transform, "float64")
        oracle = self._torch("float64")
        candidate.start(oracle.module)
        rows = []
        for stage in self._stages(oracle, oracle, candidate, draw=0):
            rows += judge.float64(stage.oracle, stage.candidate) + stage.masks
        return rows

    def float32(self, tolerance: Tolerance, draws: int) -> list[Row]:
        """Judges the precision, over as many draws as it takes, up to `draws`.

        Where a ReLU or a maximum is within rounding of its kink, one float32 run falls on one side
        and the next on the other, and its error jumps a thousandfold. So the error is judged over
        draws that move parameters and inputs by one unit in the last place: the candidate's least
        error must be within the budget that torch's largest sets. More draws can only help, so
        they are made only while a tensor is beyond its budget.
        """
        candidate = JaxSide(self.model, self.losses[1], self.transform, "float32")
        rows = self._draw(candidate, tolerance, 0)
        for draw in range(1, draws):
            if all(row.equal for row in rows):
                break
            again = self._draw(candidate, tolerance, draw)
            rows = [_pooled(*pair, tolerance) for pair in zip(rows, again, strict=True)]
        return rows

    def _draw(self, candidate: JaxSide, tolerance: Tolerance, draw: int) -> list[Row]:
        judge = Judge(tolerance)
        oracle, reference = self._torch("float64"), self._torch("float32")
        if draw > 0:
            reference.nudge(np.random.default_rng([self.seed, draw]))
        candidate.start(reference.module)
        rows = []
        for stage in self._stages(oracle, reference, candidate, draw):
            rows += judge.float32(stage.oracle, stage.reference, stage.candidate)
            rows += stage.masks
        return rows

    def _torch(self, dtype: str) -> TorchSide:
        return TorchSide(self.reference, self.losses[0], self.factory, dtype)

    def _stages(
        self, oracle: TorchSide, reference: TorchSide, candidate: JaxSide, draw: int
    ) -> Iterator[Stage]:
        """Evaluation, every training step, and evaluation of what was learnt."""
        yield self._evaluated(oracle, reference, candidate, 0, draw)
        generator = np.random.default_rng(self.seed)
        for step in range(1, self.steps + 1):
            exact, single = self._batch(step - 1, candidate.dtype, draw)
            masks = sample(candidate.wanted_masks(single), generator)
            got = candidate.train(single, masks, step)
            expected, dropouts = oracle.train(exact, masks, step)
            own = expected if oracle is reference else reference.train(single, masks, step)[0]
            yield Stage(expected, own, got, _mask_rows(masks, dropouts, candidate.dtype, step))
        if self.factory is not None:
            yield self._evaluated(oracle, reference, candidate, self.steps, draw)

    def _evaluated(
        self, oracle: TorchSide, reference: TorchSide, candidate: JaxSide, step: int, draw: int
    ) -> Stage:
        exact, single = self._batch(0, candidate.dtype, draw)
        expected = oracle.evaluate(exact, step)
        own = expected if oracle is reference else reference.evaluate(single, step)
        return Stage(expected, own, candidate.evaluate(single, step), [])

    def _batch(self, index: int, dtype: str, draw: int) -> tuple[list, list]:
        """The batch as the oracle sees it, and in `dtype`, its inputs nudged after draw 0."""
        batch = self.batches[index % len(self.batches)]
        *inputs, target = cast(batch, dtype)
        if draw > 0:
            generator = np.random.default_rng([self.seed, draw, index])
            inputs = [nudged(array, generator) for array in inputs]
        return cast(batch, "float64"), [*inputs, target]


def _pooled(row: Row, again: Row, tolerance: Tolerance) -> Row:
    """Joins two draws of one tensor: the candidate's least error, torch's largest."""
    if row.reference_error is None or again.reference_error is None:
        return row
    own = max(row.reference_error, again.reference_error)
    budget = tolerance.float32(row.kind, own) if row.budget > 0 else 0.0
    return row._replace(error=min(row.error, again.error), reference_error=own, budget=budget)


def _mask_rows(
    masks: Sequence[np.ndarray], dropouts: Sequence[tuple[int, ...]], precision: str, step: int
) -> list[Row]:
    """A row that is different, if the two sides do not drop out alike."""
    drawn = [mask.shape for mask in masks]
    if drawn == list(dropouts):
        return []
    note = f"the candidate drops out {drawn}, the reference {list(dropouts)}"
    return [Row(precision, "train", "mask", step, "", math.inf, None, 0.0, note)]
