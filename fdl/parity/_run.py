"""Runs torch and fdl through the same stages, and judges one against the other."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fdl._types import Model
from fdl.parity._jax_side import JaxSide
from fdl.parity._masks import sample
from fdl.parity._record import Batch, Record, Recording, cast, nudged
from fdl.parity._torch_side import TorchSide
from fdl.parity.judge import Judge
from fdl.parity.report import Row
from fdl.parity.tolerance import Tolerance


class Run:
    """Everything that a comparison runs, and may run again from nudged parameters.

    The stages are evaluation, every training step, and with an optimizer evaluation of what was
    learnt. Torch in float64 goes through them once; what it computed is kept in a folder.
    """

    def __init__(
        self,
        reference: torch.nn.Module,
        model: Model,
        losses: tuple[Any, Any],
        optimizer: tuple[Any, Any] | None,
        batches: Sequence[Batch],
        steps: int,
        seed: int,
        folder: Path,
    ) -> None:
        self.reference = reference
        self.model = model
        self.losses = losses
        self.factory, self.transform = optimizer or (None, None)
        self.batches = batches
        self.steps = steps
        self.seed = seed
        self.masks: list[list[np.ndarray]] = []
        self.recording = Recording(folder)

    def float64(self, tolerance: Tolerance) -> list[Row]:
        """Judges the meaning, in one run."""
        judge = Judge(tolerance)
        candidate = self._candidate("float64")
        candidate.start(self._torch("float64").module)
        stages = zip(self._oracle(candidate), self._stages(candidate), strict=True)
        return [row for expected, got in stages for row in judge.float64(expected, got)]

    def float32(self, tolerance: Tolerance, draws: int) -> list[Row]:
        """Judges the precision, over as many draws as it takes, up to `draws`.

        Where a ReLU or a maximum is within rounding of its kink, one float32 run falls on one side
        and the next on the other, and its error jumps a thousandfold. So the error is judged over
        draws that move parameters and inputs by one unit in the last place: the candidate's least
        error must be within the budget that torch's largest sets. More draws can only help, so
        they are made only while a tensor is beyond its budget.
        """
        candidate = self._candidate("float32")
        rows = self._draw(candidate, tolerance, 0)
        for draw in range(1, draws):
            if all(row.equal for row in rows):
                break
            again = self._draw(candidate, tolerance, draw)
            rows = [_pooled(*pair, tolerance) for pair in zip(rows, again, strict=True)]
        return rows

    def _draw(self, candidate: JaxSide, tolerance: Tolerance, draw: int) -> list[Row]:
        judge = Judge(tolerance)
        reference = self._torch("float32")
        if draw > 0:
            reference.nudge(np.random.default_rng([self.seed, draw]))
        candidate.start(reference.module)
        sides = (self._oracle(candidate), self._stages(reference, draw))
        stages = zip(*sides, self._stages(candidate, draw), strict=True)
        return [row for stage in stages for row in judge.float32(*stage)]

    def _torch(self, dtype: str) -> TorchSide:
        return TorchSide(self.reference, self.losses[0], self.factory, dtype)

    def _candidate(self, dtype: str) -> JaxSide:
        return JaxSide(self.model, self.losses[1], self.transform, dtype)

    def _oracle(self, candidate: JaxSide) -> Iterator[Record]:
        """Torch in float64: computed at the first request, read back at the next."""
        if self.recording:
            yield from self.recording
            return
        self._draw_masks(candidate)
        for record in self._stages(self._torch("float64")):
            self.recording.append(record)
            yield record

    def _draw_masks(self, candidate: JaxSide) -> None:
        generator = np.random.default_rng(self.seed)
        wanted = {}
        for step in range(self.steps):
            batch = self._batch(step, candidate.dtype, draw=0)
            shapes = tuple(array.shape for array in batch)
            if shapes not in wanted:
                wanted[shapes] = candidate.wanted_masks(batch)
            self.masks.append(sample(wanted[shapes], generator))

    def _stages(self, side: TorchSide | JaxSide, draw: int = 0) -> Iterator[Record]:
        """What a side computes, stage by stage."""
        yield side.evaluate(self._batch(0, side.dtype, draw), 0)
        for step, masks in enumerate(self.masks, start=1):
            yield side.train(self._batch(step - 1, side.dtype, draw), masks, step)
        if self.factory is not None:
            yield side.evaluate(self._batch(0, side.dtype, draw), self.steps)

    def _batch(self, index: int, dtype: str, draw: int) -> list[np.ndarray]:
        """A batch in some dtype, its inputs nudged after draw 0."""
        *inputs, target = cast(self.batches[index % len(self.batches)], dtype)
        if draw > 0:
            generator = np.random.default_rng([self.seed, draw, index])
            inputs = [nudged(array, generator) for array in inputs]
        return [*inputs, target]


def _pooled(row: Row, again: Row, tolerance: Tolerance) -> Row:
    """Joins two draws of one tensor: the candidate's least error, torch's largest."""
    own = max(row.reference_error or 0.0, again.reference_error or 0.0)
    budget = tolerance.float32(row.kind, own) if row.budget > 0 else 0.0
    return row._replace(error=min(row.error, again.error), reference_error=own, budget=budget)
