"""How a training step grows with batch, depth, width and length of sequences, in fdl and torch.

``python -m benchmarks.scaling`` prints a table with fitted exponents.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

import fdl
from fdl import bench
from fdl.bench import families
from fdl.bench._tables import milliseconds, table
from fdl.bench._workload import Workload
from fdl.bench.variants import has_torch

SIDES = ("jax jit", "torch eager")


class Sweep(NamedTuple):
    """One axis of one family.

    Attributes:
        name: what is varied.
        sizes: the values it takes.
        make: the workload of each.
    """

    name: str
    sizes: tuple[int, ...]
    make: Callable[[int], Workload]


def sweeps() -> list[Sweep]:
    """All axes."""

    def perceptron(depth: int = 3, width: int = 512) -> Workload:
        return families.mlp(sizes=(784, *[width] * (depth - 1), 10))

    lstm = partial(families.recurrent, "lstm")
    return [
        Sweep("mlp: batch", (32, 128, 512, 2048), lambda n: families.mlp(batch=n)),
        Sweep("mlp: depth", (3, 6, 12, 24), lambda n: perceptron(depth=n)),
        Sweep("mlp: width", (256, 512, 1024, 2048), lambda n: perceptron(width=n)),
        Sweep("cnn: batch", (16, 64, 256), lambda n: families.cnn(batch=n)),
        Sweep("resnet18 64x64: batch", (4, 16, 32), lambda n: families.resnet18(batch=n)),
        Sweep("lstm: batch", (8, 32, 128), lambda n: lstm(batch=n)),
        Sweep("lstm: length", (16, 64, 256), lambda n: lstm(steps=n)),
        Sweep("lstm: layers", (1, 2, 4), lambda n: lstm(layers=n)),
        Sweep("lstm: width", (64, 256, 512), lambda n: lstm(hidden=n)),
        Sweep("bert mini: batch", (2, 8, 16), lambda n: families.bert(batch=n)),
        Sweep("bert mini: length", (64, 128, 256), lambda n: families.bert(tokens=n)),
        Sweep("bert mini: layers", (2, 4, 8), lambda n: families.bert(layers=n)),
    ]


class Scaling(NamedTuple):
    """What one sweep took.

    Attributes:
        name: what was varied.
        sizes: the values it took.
        seconds: side to the median seconds of a step at each size.
        exponents: side to the slope of log seconds over log size.
    """

    name: str
    sizes: list[int]
    seconds: dict[str, list[float]]
    exponents: dict[str, float]


def measure(only: Sequence[str] = (), *, blocks: int = 5, seconds: float = 1.0) -> list[Scaling]:
    """Runs the sweeps whose name begins with one of `only`, or all."""
    chosen = [s for s in sweeps() if not only or s.name.startswith(tuple(only))]
    return [_measured(sweep, blocks, seconds) for sweep in chosen]


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of a straight line through log seconds over log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def rows(found: Sequence[Scaling]) -> Iterator[tuple[str, ...]]:
    """A line for each sweep: name, sizes, and for each side its times and exponent."""
    for scaling in found:
        cells = [scaling.name, ", ".join(map(str, scaling.sizes))]
        for side in SIDES:
            times = scaling.seconds.get(side, [])
            cells.append(" ".join(map(milliseconds, times)))
            cells.append(f"{scaling.exponents[side]:.2f}" if times else "")
        yield tuple(cells)


def _measured(sweep: Sweep, blocks: int, seconds: float) -> Scaling:
    medians: dict[str, list[float]] = {}
    for size in sweep.sizes:
        print(f"{sweep.name} {size}", flush=True)  # noqa: T201
        found = bench.measure(
            sweep.make(size),
            "training",
            SIDES if has_torch() else SIDES[:1],
            blocks=blocks,
            seconds=seconds,
            attempts=1,
        )
        for row in found.rows:
            if row.timing is None:
                raise ValueError(f"{sweep.name} {size}: {row.variant}: {row.note}")
            medians.setdefault(row.variant, []).append(row.timing.median)
    slopes = {side: exponent(sweep.sizes, times) for side, times in medians.items()}
    return Scaling(sweep.name, list(sweep.sizes), medians, slopes)


def main() -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of sweeps' names")
    parser.add_argument("--blocks", type=int, default=5)
    arguments = parser.parse_args()
    fdl.keep_memory()
    found: list[Any] = measure(arguments.only, blocks=arguments.blocks)
    shown = table(f"training: ms a step on {jax.devices()[0].device_kind}", [])
    for heading in ("what varies", "sizes", *(x for side in SIDES for x in (side, "exponent"))):
        shown.add_column(heading)
    for row in rows(found):
        shown.add_row(*row)
    Console(width=140).print(shown)


if __name__ == "__main__":
    main()
