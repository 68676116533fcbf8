"""Runs torch and the candidate through the same stages, and judges one against the other."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from fdl.parity._jax_side import JaxSide, State
from fdl.parity._masks import fitting
from fdl.parity._record import Quantity, Record, Shelf
from fdl.parity._reference import Reference
from fdl.parity.candidates import Candidate
from fdl.parity.judge import Judge, maximum
from fdl.parity.report import Row
from fdl.parity.tolerance import Tolerance


class Evidence(NamedTuple):
    """The first stage in which something differs, and all that is needed to look into it.

    Attributes:
        precision: the one that shows it.
        index: of the stage.
        rows: of that stage.
        expected: torch in float64.
        got: the candidate, in torch's layout.
        history: the candidate's tensors at the start, then gradients and parameters of each step;
            after this stage only those of the tensor that differs first.
        side: the candidate.
        state: what it had before the stage.
    """

    precision: str
    index: int
    rows: list[Row]
    expected: Record
    got: Record
    history: Shelf
    side: JaxSide
    state: State

    @property
    def judged(self) -> bool:
        """Whether a stage was run, and not only the tensors that the candidate came with."""
        return any(quantity.kind == "output" for quantity in self.got)

    @property
    def first(self) -> Row:
        """The first row beyond its budget."""
        return next(row for row in self.rows if not row.equal)


class Run:
    """Everything that a comparison runs, and may run again from nudged parameters.

    Args:
        reference: torch.
        candidate: JAX.
        loss: the candidate's.
        transform: the candidate's optimizer.
        tolerance: what counts as equal.
        load: whether the candidate takes torch's tensors over, or keeps its own.
    """

    def __init__(
        self,
        reference: Reference,
        candidate: Candidate,
        loss: Any,
        transform: Any,
        tolerance: Tolerance,
        *,
        load: bool,
    ) -> None:
        self.reference = reference
        self.candidate = candidate
        self.loss = loss
        self.transform = transform
        self.tolerance = tolerance
        self.load = load
        self.evidence: Evidence | None = None
        self.misfits: list[Row] = []
        self._known_scales: dict[tuple[int, int], dict[Quantity, float]] = {}

    def _judge(self) -> Judge:
        return Judge(self.tolerance, channels_last=self.candidate.channels_last)

    def first_batch(self) -> list[np.ndarray]:
        """What the networks see first, in float64."""
        return self.reference.plan.batch(("eval", 0), "float64")

    def side(self, dtype: str, *, listen: bool) -> JaxSide:
        """The candidate in some precision, fresh."""
        names = self.reference.anatomy.activations if listen else []
        return JaxSide(self.candidate, self.loss, self.transform, dtype, set(names))

    def float64(self) -> list[Row]:
        """Judges the meaning, module by module, in one run."""
        side = self.side("float64", listen=True)
        start = side.start(self.reference.start(None) if self.load else None)
        rows = [] if self.load else self._own_tensors(side, start)
        self.misfits = self._misfits(side)
        if self.misfits:
            return rows + self.misfits
        judge, history = self._judge(), Shelf(start)
        for index, stage in enumerate(self.reference.plan.stages()):
            before, expected = side.state, self.reference.oracle(index)
            batch = self.reference.plan.batch(stage, "float64")
            got = self._staged(side, index, batch, expected)
            shown, own = self._trained(got), partial(self.reference.sensitivity, index)
            judged = judge.float64(expected, shown, own)
            rows += judged
            turned = judge.aligned(got, expected)
            self._notice(index, judged, expected, turned, history, side, before)
        return rows

    def float32(self, draws: int) -> list[Row]:
        """Judges the precision of the plain program, over as many draws as it takes.

        Where a ReLU or a maximum is within rounding of its kink, one float32 run falls on one side
        and the next on the other, and its error jumps a thousandfold. So the error is judged over
        draws that move parameters and inputs by some units in the last place, each against torch in
        float64 from the same start: the candidate's least error must be within the budget that
        torch's largest sets. More draws can only help, so they are made only while a tensor is
        beyond its budget. A candidate with tensors of its own stays where it is, and is judged by
        two draws, no more than one unit away.
        """
        draws = draws if self.load else min(draws, 2)
        side = self.side("float32", listen=False)
        rows = self._draw(side, 0)
        for draw in range(1, draws):
            doubtful = {(row.mode, row.step) for row in rows if not row.equal and row.shaped}
            if not doubtful:
                break
            last = 1 + max(map(self.reference.plan.stages().index, doubtful))
            again = {_quantity(row): row for row in self._draw(side, draw, stages=last)}
            rows = [self._pooled(row, again.get(_quantity(row), row)) for row in rows]
        return rows

    def float32_modules(self) -> list[Row]:
        """One more float32 run, module by module, to see where precision is lost."""
        side = self.side("float32", listen=True)
        return self._draw(side, 0)

    def isolated(self, evidence: Evidence, inputs: Mapping[str, np.ndarray]) -> list[Row]:
        """Judges every module by itself: fed with torch's own activations and gradients.

        Args:
            evidence: the stage.
            inputs: what torch's modules were given in it, by name; judged too.
        """
        mode, step = self.reference.plan.stages()[evidence.index]
        names = {*self.reference.anatomy.activations, *inputs}
        side = JaxSide(self.candidate, self.loss, None, "float64", names)
        side.state = evidence.state
        batch = self.reference.plan.batch((mode, step), side.dtype)
        forced = self._forced(evidence, side.layouts(side.heard(batch, train=mode == "train")))
        masks = self.reference.masks(evidence.index)
        got = side.stage(batch, masks, step, train=mode == "train", forced=forced)
        given = {Quantity(mode, "module input", step, name): a for name, a in inputs.items()}
        return self._judge().float64(given | evidence.expected, got)

    def derived(self, evidence: Evidence) -> Record:
        """The candidate's tensors of the stage, all from the program that takes gradients."""
        mode, step = self.reference.plan.stages()[evidence.index]
        side, batch = evidence.side, self.reference.plan.batch((mode, step), evidence.precision)
        kept, side.state = side.state, evidence.state
        masks = self.reference.masks(evidence.index)
        got = side.stage(batch, masks, step, train=mode == "train")
        side.state = kept
        return self._judge().aligned(got, evidence.expected)

    def _staged(
        self, side: JaxSide, index: int, batch: Sequence[np.ndarray], expected: Record
    ) -> Record:
        """Runs a stage; an evaluation also as without gradients, and keeps what is further off."""
        mode, step = self.reference.plan.stages()[index]
        masks = self.reference.masks(index)
        if mode == "train":
            return side.stage(batch, masks, step, train=True)
        plain = side.inference(batch, masks, step)  # first: the stage may change the state
        return self._judge().further(expected, side.stage(batch, masks, step, train=False), plain)

    def _trained(self, got: Record) -> Record:
        """The record without gradients of what torch does not differentiate."""
        constant = self.reference.anatomy.constant
        if not constant:
            return got
        return {q: a for q, a in got.items() if q.kind != "gradient" or q.name not in constant}

    def _forced(self, evidence: Evidence, layouts: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        """Torch's activations and gradients in the candidate's layout, where shapes fit."""
        forced, last = {}, self.candidate.channels_last
        for quantity, value in evidence.expected.items():
            if quantity.kind != "activation" or quantity.name not in layouts:
                continue
            order = fitting(value.shape, layouts[quantity.name], channels_last=last)
            gradient = evidence.expected.get(quantity._replace(kind="activation gradient"))
            if order is not None and gradient is not None:
                forced[quantity.name] = (value.transpose(order), gradient.transpose(order))
        return forced

    def _draw(self, side: JaxSide, draw: int, stages: int | None = None) -> list[Row]:
        """Judges one float32 run, as far as the given number of stages."""
        judge, rows, plan = self._judge(), [], self.reference.plan
        history = Shelf(side.start(self.reference.start(draw) if self.load else None))
        inside = bool(side.activations)
        exact = self.reference.exact(draw if self.load else 0, inside=inside)
        records = zip(self.reference.float32(draw, listen=inside), exact, strict=True)
        for index, (reference, expected) in enumerate(islice(records, stages)):
            before, batch = side.state, plan.batch(plan.stages()[index], "float32", draw)
            got = self._staged(side, index, batch, expected)
            scales = self._scales(index, expected)
            judged = judge.float32(expected, reference, self._trained(got), scales)
            rows += judged
            if side.activations:
                turned = judge.aligned(got, expected)
                self._notice(index, judged, expected, turned, history, side, before)
        return rows

    def _notice(
        self,
        index: int,
        rows: list[Row],
        expected: Record,
        got: Record,
        history: Shelf,
        side: JaxSide,
        before: State,
    ) -> None:
        """Appends a training step to the history, and keeps the first stage that differs."""
        if self.reference.plan.stages()[index][0] == "train":
            history.append(_remembered(got, self.evidence))
        if self.evidence is None and not all(row.equal for row in rows):
            found = (side.dtype, index, rows, expected, got, history, side, before)
            self.evidence = Evidence(*found)

    def _scales(self, index: int, expected: Record) -> dict[Quantity, float]:
        known = (index, len(expected))
        if known not in self._known_scales:
            self._known_scales[known] = self._judge().scales(expected, maximum)
        return self._known_scales[known]

    def _pooled(self, row: Row, again: Row) -> Row:
        """Joins two draws of one tensor: the candidate's least error, torch's largest."""
        own = max(row.reference_error or 0.0, again.reference_error or 0.0)
        budget = self.tolerance.float32(own) * row.factor if row.budget > 0 else 0.0
        least = row if row.error <= again.error else again
        return least._replace(reference_error=own, budget=budget)

    def _own_tensors(self, side: JaxSide, start: Record) -> list[Row]:
        """Judges the tensors that a candidate came with."""
        tensors = self.reference.start(None)
        expected = {q: tensors[q.name] for q in start}
        rows = self._judge().float64(expected, start)
        self._notice(0, rows, expected, start, Shelf(start), side, side.state)
        return rows

    def _misfits(self, side: JaxSide) -> list[Row]:
        """Rows about outputs of another shape, found before the loss can trip over them."""
        batch = self.first_batch()
        shapes = {("output", name): x.shape for name, x in side.shapes(batch, train=False).items()}
        expected = self.reference.oracle(0)
        outputs = {q.name: a.shape for q, a in expected.items() if q.kind == "output"}
        if {name: shape for (_, name), shape in shapes.items()} == outputs:
            return []
        for name, shape in side.layouts(side.heard(batch, train=False)).items():
            shapes["activation", name] = shape
        return list(_misfits(expected, shapes))


def _quantity(row: Row) -> Quantity:
    return Quantity(row.mode, row.kind, row.step, row.name)


def _remembered(got: Record, evidence: Evidence | None) -> Record:
    """What hypotheses about updates need of a step; after the first difference, of one tensor."""
    gradients = [a for q, a in got.items() if q.kind == "gradient"]
    norm = math.sqrt(sum(float(np.square(gradient).sum()) for gradient in gradients))
    kept = {
        q: array
        for q, array in got.items()
        if q.kind in ("gradient", "parameter")
        and (evidence is None or q.name == evidence.first.name)
    }
    return kept | {Quantity("train", "norm", 0, ""): np.asarray(norm)}


def _misfits(expected: Record, shapes: dict[tuple[str, str], tuple[int, ...]]) -> Iterator[Row]:
    for quantity, array in expected.items():
        got = shapes.get((quantity.kind, quantity.name))
        if quantity.kind == "output" and got is None:
            note = "the candidate has none"
        elif got is not None and fitting(array.shape, got, channels_last=False) is None:
            note = f"shape {got}, expected {array.shape}"
        else:
            continue
        module = quantity.name.partition(":")[0] if quantity.kind == "activation" else ""
        yield Row("float64", *quantity, module=module, error=math.inf, size=array.size, note=note)
    for kind, name in shapes:
        if kind == "output" and Quantity("eval", "output", 0, name) not in expected:
            note = "the reference has none"
            yield Row("float64", "eval", "output", 0, name, error=math.inf, note=note)
