"""The reference of a comparison: a torch module that runs here, or a recording of one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from fdl.parity._masks import Mask
from fdl.parity._record import Batch, Quantity, Record, Store, cast, nudged

FORMAT = "fdl.parity.recording/3"
META = "meta"


class Plan(NamedTuple):
    """What both sides go through.

    Attributes:
        batches: ``(*inputs, target)`` each; training goes through them in turn.
        steps: training steps.
        updates: whether an optimizer changes the parameters.
        seed: of the dropout masks and the float32 draws.
    """

    batches: Sequence[Batch]
    steps: int
    updates: bool
    seed: int

    def stages(self) -> list[tuple[str, int]]:
        """Evaluation, every training step, and with an optimizer evaluation of what was learnt."""
        training = [("train", step) for step in range(1, self.steps + 1)]
        return [("eval", 0), *training, *([("eval", self.steps)] if self.updates else [])]

    def batch(self, stage: tuple[str, int], dtype: str, draw: int = 0) -> list[np.ndarray]:
        """The batch of a stage in some dtype, its inputs nudged after draw 0."""
        mode, step = stage
        index = (step - 1) % len(self.batches) if mode == "train" else 0
        *inputs, target = cast(self.batches[index], dtype)
        if draw > 0:
            generator = np.random.default_rng([self.seed, draw, index])
            inputs = [nudged(array, generator, units_of(draw)) for array in inputs]
        return [*inputs, target]


def units_of(draw: int) -> int:
    """How many units in the last place a draw after the first moves numbers: 1, 2, 4, ...

    One is less than the rounding of a deep network, a part of which it leaves as it is.
    """
    return 2 ** (draw - 1)


class Anatomy(NamedTuple):
    """What is known of the torch module.

    Attributes:
        name: its class.
        shapes: of parameters and buffers by ``state_dict`` key, each tied tensor once.
        parameters: which of them are parameters.
        constant: parameters that torch does not differentiate with respect to.
        aliases: further keys of tied tensors, and the key that stands for them.
        calls: module calls in the order in which they end, with the modules' types.
        activations: names of all tensors that modules returned.
        consumers: by activation name or ``"input i"``, the modules that were given it.
        optimizer: class and options of the optimizer, empty without one.
        versions: of torch and what else took part.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    parameters: list[str]
    constant: list[str]
    aliases: dict[str, str]
    calls: dict[str, str]
    activations: list[str]
    consumers: dict[str, list[str]]
    optimizer: dict[str, Any]
    versions: dict[str, str]


class Reference:
    """Torch in float64, stage by stage from a file, and in float32 as far as it is there.

    Args:
        store: the file.
        plan: what both sides go through.
        anatomy: of the torch module.
        draws: how many float32 runs there are.
    """

    def __init__(self, store: Store, plan: Plan, anatomy: Anatomy, draws: int) -> None:
        self.store = store
        self.plan = plan
        self.anatomy = anatomy
        self.draws = draws

    def start(self, draw: int | None) -> dict[str, np.ndarray]:
        """The tensors that training starts from: in float64, or of a float32 draw."""
        record = self.store.read(f"start/{'float64' if draw is None else draw}")
        return {quantity.name: array for quantity, array in record.items()}

    def oracle(self, index: int, *, inside: bool = True) -> Record:
        """What torch computes in float64 in a stage; without activations where not needed."""
        return self.store.read(f"float64/{index}", inside=inside)

    def masks(self, index: int) -> list[Mask]:
        """The dropout masks of a stage."""
        record = self.store.read(f"masks/{index}")
        return [Mask(kept, float(quantity.name)) for quantity, kept in record.items()]

    def float32(self, draw: int, *, listen: bool) -> Iterator[Record]:
        """What torch computes in float32, stage by stage; with what modules return, or without."""
        for index in range(len(self.plan.stages())):
            yield self.store.read(f"float32/{draw}/{index}")

    def exact(self, draw: int, *, inside: bool) -> Iterator[Record]:
        """What torch computes in float64, stage by stage, from where a float32 draw starts."""
        for index in range(len(self.plan.stages())):
            if draw == 0:
                yield self.oracle(index, inside=inside)
            else:
                yield self.store.read(f"exact/{draw}/{index}", inside=inside)

    def sensitivity(self, index: int) -> dict[Quantity, float]:
        """Torch's own errors in float64, if parameters start a unit in the last place away."""
        named = self.store.read_note(f"sensitivity/{index}")
        return {Quantity(*quantity): error for quantity, error in named}

    def watched(self, index: int) -> Any:
        """What torch's modules were given in a stage; None where torch cannot be asked again."""
        return None

    def options(self) -> dict[str, Any]:
        """What the optimizer did: rates and clipping of every step. Complete after the last."""
        return self.store.read_note("options")


def opened(path: Path) -> Reference:
    """Opens what :func:`fdl.parity.record` wrote.

    Raises:
        ValueError: if it is something else.
        FileNotFoundError: if there is nothing.
    """
    store = Store(path)
    try:
        meta = store.read_note(META)
    except (KeyError, OSError, ValueError, BadZipFile) as error:
        if not path.exists():
            raise FileNotFoundError(
                f"no recording at {path}: make one by fdl.parity.record"
            ) from None
        raise ValueError(f"{path} is not a recording of fdl.parity.record: {error}") from error
    if meta["format"] != FORMAT:
        raise ValueError(f"{path}: expected format {FORMAT}, got {meta['format']}: record it anew.")
    batches = [list(store.read(f"batch/{i}").values()) for i in range(meta["batches"])]
    plan = Plan(batches, meta["steps"], meta["updates"], meta["seed"])
    anatomy = Anatomy(**meta["anatomy"])
    shapes = {key: tuple(shape) for key, shape in anatomy.shapes.items()}
    return Reference(store, plan, anatomy._replace(shapes=shapes), meta["draws"])


def tensors_record(tensors: dict[str, np.ndarray]) -> Record:
    """Tensors by key as a record."""
    return {Quantity("", "start", 0, key): array for key, array in tensors.items()}


def masks_record(masks: Sequence[Mask]) -> Record:
    """Masks as a record; the probability of keeping is the name."""
    return {Quantity("", "mask", i, repr(m.keep)): m.kept for i, m in enumerate(masks)}
