"""A torch module as the reference: it runs as the comparison goes on, and can be run again."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from fdl.parity._calls import Site
from fdl.parity._capture import Capture
from fdl.parity._failure import blamed
from fdl.parity._masks import Mask, Masks
from fdl.parity._record import Quantity, Record, Store, cast
from fdl.parity._reference import (
    FORMAT,
    META,
    Anatomy,
    Plan,
    Reference,
    masks_record,
    tensors_record,
    units_of,
)
from fdl.parity._torch_side import Factory, Loss, Pass, Rewrites, TorchSide, told
from fdl.parity.judge import errors


class Live(Reference):
    """Runs a torch module through the stages; float64 once, kept in a file."""

    def __init__(
        self, module: torch.nn.Module, loss: Loss, factory: Factory | None, plan: Plan, store: Store
    ) -> None:
        self.module = module
        self.loss = loss
        self.factory = factory
        self._done = 0
        self._before: tuple[int, dict[str, np.ndarray]] = (-1, {})
        self._sensitivities: list[dict[Quantity, float]] = []
        with blamed("the reference"):
            self._side = self._torch("float64")
            self._generator = np.random.default_rng(plan.seed)
            super().__init__(store, plan, _anatomy(self._side), draws=sys.maxsize)
            store.write("start/float64", tensors_record(self._side.tensors()))
            self.oracle(0)

    def start(self, draw: int | None) -> dict[str, np.ndarray]:
        """See :class:`Reference`."""
        return super().start(None) if draw is None else self._drawn(draw).tensors()

    def oracle(self, index: int, *, inside: bool = True) -> Record:
        """Torch in float64: computed at the first request, read back at the next."""
        while self._done <= index:
            self._advance()
        return super().oracle(index, inside=inside)

    def masks(self, index: int) -> list[Mask]:
        """See :class:`Reference`."""
        while self._done <= index:
            self._advance()
        return super().masks(index)

    def float32(self, draw: int, *, listen: bool) -> Iterator[Record]:
        """See :class:`Reference`; every call runs torch anew."""
        return self._stages(self._drawn(draw), draw, listen=listen)

    def exact(self, draw: int, *, inside: bool) -> Iterator[Record]:
        """See :class:`Reference`; every call runs torch anew, but for the first draw."""
        if draw == 0:
            return super().exact(draw, inside=inside)
        side = self._torch("float64")
        side.load(self._drawn(draw).tensors())
        return self._stages(side, draw, listen=inside)

    def _stages(self, side: TorchSide, draw: int, *, listen: bool) -> Iterator[Record]:
        """Runs a side through all stages, on the batches of a float32 draw."""
        for index, (mode, step) in enumerate(self.plan.stages()):
            batch = cast(self.plan.batch((mode, step), "float32", draw), side.dtype)
            masks = Masks(self.masks(index), self._generator)
            with blamed("the reference"):
                how = {"train": mode == "train", "listen": listen}
                yield side.stage(batch, masks, step, **how).record

    def options(self) -> dict[str, Any]:
        """See :class:`Reference`."""
        side = self._side
        if side.optimizer is None:
            return {}
        return {
            "groups": [*side.groups, told(side.optimizer)],
            "clips": side.clips,
            "every": side.every,
            "unused": sorted(side.unused),
        }

    def again(
        self,
        index: int,
        rewrites: Rewrites | None = None,
        *,
        backward: bool = True,
        inputs: bool = False,
    ) -> Pass:
        """Runs one stage once more in float64, from what torch had then, some calls rewritten.

        The optimizer does not step.
        """
        mode, step = self.plan.stages()[index]
        side = TorchSide(self.module, self.loss, None, "float64")
        side.load(self.before(index))
        masks = Masks(self.masks(index), np.random.default_rng(self.plan.seed))
        batch = self.plan.batch((mode, step), "float64")
        how = {"train": mode == "train", "backward": backward, "inputs": inputs}
        return side.stage(batch, masks, step, rewrites=rewrites, **how)

    def sensitivity(self, index: int) -> dict[Quantity, float]:
        """See :class:`Reference`; torch runs once more as far as that stage."""
        if not self._sensitivities:
            self._nudged = self._torch("float64")
            self._nudged.nudge(np.random.default_rng([self.plan.seed, 1]))
        for following in range(len(self._sensitivities), index + 1):
            mode, step = self.plan.stages()[following]
            masks = Masks(self.masks(following), self._generator)
            batch = self.plan.batch((mode, step), "float64")  # as it is: equal pixels stay equal
            record = self._nudged.stage(batch, masks, step, train=mode == "train").record
            self._sensitivities.append(errors(record, self.oracle(following)))
        return self._sensitivities[index]

    def watched(self, index: int) -> Capture:
        """See :class:`Reference`."""
        return self.again(index, backward=False, inputs=True).capture

    def sites(self, index: int) -> list[Site]:
        """The watched calls of a stage, in order."""
        return self.again(index, backward=False).calls.sites

    def before(self, index: int) -> dict[str, np.ndarray]:
        """Parameters and buffers before a stage, in float64; the last answer is kept."""
        if self._before[0] != index:
            self._before = (index, self._tensors(index))
        return self._before[1]

    def _tensors(self, index: int) -> dict[str, np.ndarray]:
        tensors = self.start(None)
        for earlier in range(index):
            for quantity, array in self.oracle(earlier, inside=False).items():
                if quantity.kind in ("parameter", "buffer"):
                    tensors[quantity.name] = array
        return tensors

    def record(self, draws: int) -> None:
        """Completes the file, so that :func:`fdl.parity._reference.opened` can open it."""
        self.oracle(len(self.plan.stages()) - 1)
        for draw in range(draws):
            self.store.write(f"start/{draw}", tensors_record(self.start(draw)))
            for index, record in enumerate(self.float32(draw, listen=True)):
                self.store.write(f"float32/{draw}/{index}", record)
            if draw > 0:
                for index, record in enumerate(self.exact(draw, inside=True)):
                    self.store.write(f"exact/{draw}/{index}", record)
        for index, batch in enumerate(self.plan.batches):
            arrays = {str(i): np.asarray(array) for i, array in enumerate(batch)}
            self.store.write(f"batch/{index}", tensors_record(arrays))
        for index in range(len(self.plan.stages())):
            self.store.write_note(f"sensitivity/{index}", list(self.sensitivity(index).items()))
        self.store.write_note("options", self.options())
        meta = {"format": FORMAT, "batches": len(self.plan.batches), "draws": draws}
        meta |= {"steps": self.plan.steps, "updates": self.plan.updates, "seed": self.plan.seed}
        self.store.write_note(META, meta | {"anatomy": self.anatomy._asdict()})

    def _advance(self) -> None:
        mode, step = self.plan.stages()[self._done]
        masks = Masks([], self._generator)
        batch = self.plan.batch((mode, step), "float64")
        with blamed("the reference"):
            done = self._side.stage(batch, masks, step, train=mode == "train")
        self.store.write(f"float64/{self._done}", done.record)
        self.store.write(f"masks/{self._done}", masks_record(masks.used))
        if self._done == 0:
            self.anatomy = self.anatomy._replace(
                calls=done.capture.calls,
                activations=list(done.capture.outputs),
                consumers=done.capture.consumers,
            )
        self._done += 1

    def _drawn(self, draw: int) -> TorchSide:
        side = self._torch("float32")
        if draw > 0:
            side.nudge(np.random.default_rng([self.plan.seed, draw]), units_of(draw))
        return side

    def _torch(self, dtype: str) -> TorchSide:
        return TorchSide(self.module, self.loss, self.factory, dtype)


def _anatomy(side: TorchSide) -> Anatomy:
    tensors = side.tensors()
    pointers = {t.data_ptr(): key for key, t in reversed([*side.module.named_parameters()])}
    aliases = {
        key: pointers[tensor.data_ptr()]
        for key, tensor in side.module.state_dict().items()
        if key not in tensors and tensor.data_ptr() in pointers
    }
    return Anatomy(
        name=type(side.module).__name__,
        shapes={key: array.shape for key, array in tensors.items()},
        parameters=[key for key, _ in side.module.named_parameters()],
        constant=[key for key, p in side.module.named_parameters() if not p.requires_grad],
        aliases=aliases,
        calls={},
        activations=[],
        consumers={},
        optimizer=side.options(),
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )
