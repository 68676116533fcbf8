"""What a step of each optimizer of `fdl.optim` costs, beside its nearest in bare Optax.

``python -m benchmarks.optimizers`` prints a table, and writes it to ``runs/bench/optimizers.json``.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

import fdl
from fdl import bench
from fdl.bench._tables import milliseconds
from fdl.bench.environment import Witness, environment
from fdl.bench.timing import Candidate

STEPS = 10_000
"""The length of the schedules."""


class Pair(NamedTuple):
    """An optimizer of fdl, and the nearest that Optax has as it comes."""

    name: str
    ours: optax.GradientTransformation
    bare: optax.GradientTransformation
    matrices: bool = False
    networks: tuple[str, ...] = ("resnet18", "mlp")


def mlp() -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters of a perceptron."""
    shapes = {}
    for layer, (inputs, outputs) in enumerate(pairwise([784, 512, 512, 10])):
        shapes |= {f"{layer}.weight": (outputs, inputs), f"{layer}.bias": (outputs,)}
    return shapes


def resnet18() -> dict[str, tuple[int, ...]]:
    """Shapes of the 62 parameters of torchvision's network, under its names."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(conv: str, norm: str, outputs: int, inputs: int, size: int) -> None:
        shapes[f"{conv}.weight"] = (outputs, inputs, size, size)
        shapes.update({f"{norm}.weight": (outputs,), f"{norm}.bias": (outputs,)})

    add("conv1", "bn1", 64, 3, 7)
    inputs = 64
    for layer, width in enumerate((64, 128, 256, 512), start=1):
        for block in (f"layer{layer}.0", f"layer{layer}.1"):
            add(f"{block}.conv1", f"{block}.bn1", width, inputs, 3)
            add(f"{block}.conv2", f"{block}.bn2", width, width, 3)
            if inputs != width:
                add(f"{block}.downsample.0", f"{block}.downsample.1", width, inputs, 1)
            inputs = width
    return {**shapes, "fc.weight": (1000, 512), "fc.bias": (1000,)}


NETWORKS = {"resnet18": resnet18, "mlp": mlp}


def pairs() -> list[Pair]:
    """All that is compared: Optax is given torch's numbers, as far as it takes them."""
    ours, rms = fdl.optim, partial(optax.rmsprop, decay=0.99, eps_in_sqrt=False)
    cosine = ours.cosine_annealing_lr(0.1, STEPS), optax.cosine_decay_schedule(0.1, STEPS)
    cycle = (
        ours.one_cycle_lr(1e-3, STEPS),
        optax.cosine_onecycle_schedule(STEPS, 1e-3),
    )
    muon = optax.contrib.muon(1e-3, weight_decay=0.1)
    return [
        Pair("sgd", ours.sgd(0.1), optax.sgd(0.1)),
        Pair("sgd, momentum", ours.sgd(0.1, 0.9), optax.sgd(0.1, 0.9)),
        Pair("sgd, momentum, cosine schedule", ours.sgd(cosine[0], 0.9), optax.sgd(cosine[1], 0.9)),
        Pair("adam", ours.adam(1e-3), optax.adam(1e-3)),
        Pair("adam, amsgrad", ours.adam(1e-3, amsgrad=True), optax.amsgrad(1e-3)),
        Pair("adamw", ours.adamw(1e-3), optax.adamw(1e-3, weight_decay=1e-2)),
        Pair(
            "adamw, one-cycle schedule",
            ours.adamw(cycle[0]),
            optax.adamw(cycle[1], weight_decay=1e-2),
        ),
        Pair("adamax", ours.adamax(2e-3), optax.adamax(2e-3)),
        Pair("nadam", ours.nadam(2e-3), optax.nadam(2e-3)),
        Pair("radam", ours.radam(1e-3), optax.radam(1e-3)),
        Pair("adagrad", ours.adagrad(1e-2), optax.adagrad(1e-2, 0.0, 1e-10)),
        Pair("adadelta", ours.adadelta(1.0), optax.adadelta(1.0)),
        Pair("rmsprop", ours.rmsprop(1e-2), rms(1e-2)),
        Pair("rmsprop, momentum", ours.rmsprop(1e-2, momentum=0.9), rms(1e-2, momentum=0.9)),
        Pair("rmsprop, centered", ours.rmsprop(1e-2, centered=True), rms(1e-2, centered=True)),
        Pair("rprop", ours.rprop(1e-2), optax.rprop(1e-2)),
        Pair("adafactor", ours.adafactor(1e-2), optax.adafactor(1e-2)),
        Pair("muon, as torch in bfloat16", ours.muon(1e-3), muon, matrices=True),
        Pair("muon, in float32", ours.muon(1e-3, ns_dtype="float32"), muon, matrices=True),
        Pair(
            "lbfgs, one iteration",
            ours.lbfgs(1e-5, max_iter=1, history_size=10),
            optax.lbfgs(1e-5, memory_size=10, linesearch=None),
            networks=("mlp",),
        ),
    ]


class Row(NamedTuple):
    """What one pair took on one network; times are seconds a step.

    Attributes:
        name: of the optimizer.
        network: whose parameters.
        ours: fdl.
        bare: Optax.
        again: the same program of Optax, on arrays of its own: how far two equals are apart.
        others: share of the cores' time that other programs took meanwhile, from 0 to 1, or None.
    """

    name: str
    network: str
    ours: bench.Timing
    bare: bench.Timing
    again: bench.Timing
    others: float | None

    @property
    def ratio(self) -> float:
        """How many times as long fdl takes as Optax, median over median."""
        return self.ours.median / self.bare.median

    @property
    def verdict(self) -> str:
        """Whether the quartiles of fdl lie beyond those of both runs of Optax."""
        if self.ours.low > max(self.bare.high, self.again.high):
            return "slower"
        if self.ours.high < min(self.bare.low, self.again.low):
            return "faster"
        return "alike"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values for JSON."""
        timings = {key: getattr(self, key) for key in ("ours", "bare", "again")}
        return {
            **self._asdict(),
            **{key: {**t._asdict(), "compile": t.compile} for key, t in timings.items()},
            "ratio": self.ratio,
            "verdict": self.verdict,
        }


def measure(pair: Pair, network: str, *, blocks: int, seconds: float) -> Row:
    """Times both sides of a pair in turns, on equal parameters and gradients."""
    shapes = {
        key: shape
        for key, shape in NETWORKS[network]().items()
        if len(shape) == 2 or not pair.matrices
    }
    make = _minimizing if pair.name.startswith("lbfgs") else _training
    ours, bare = make(pair.ours), make(pair.bare)
    witness = Witness()
    timings = bench.interleaved(
        {"bare": bare(shapes), "ours": ours(shapes), "again": bare(shapes)},
        blocks=blocks,
        min_block_seconds=seconds,
        max_seconds=float("inf"),
    )
    return Row(pair.name, network, **timings, others=witness.others())


def _arrays(shapes: dict[str, tuple[int, ...]], seed: int, size: float) -> dict[str, jax.Array]:
    generator = np.random.default_rng(seed)
    return {
        key: jax.device_put(size * generator.standard_normal(shape, np.float32))
        for key, shape in shapes.items()
    }


def _training(optimizer: optax.GradientTransformation) -> Callable[..., Candidate]:
    """Candidates that train, by one jitted update with donated parameters and state."""

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, grads):
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    def candidate(shapes):
        params, grads = _arrays(shapes, 0, 0.05), _arrays(shapes, 1, 1e-3)
        carry = params, optimizer.init(params)

        def call():
            nonlocal carry
            carry = step(*carry, grads)
            return carry

        return call

    return candidate


def _minimizing(optimizer: optax.GradientTransformation) -> Callable[..., Candidate]:
    """Candidates that go down to a minimum, in steps too small to come near it."""

    def loss(params, curvature):
        return sum((curvature[key] ** 2 * params[key] ** 2).sum() for key in params)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, curvature):
        value_fn = partial(loss, curvature=curvature)
        value, grads = jax.value_and_grad(value_fn)(params)
        more = {"grad": grads, "value": value, "value_fn": value_fn}
        update = optax.with_extra_args_support(optimizer).update
        updates, state = update(grads, state, params, **more)
        return optax.apply_updates(params, updates), state

    def candidate(shapes):
        params, curvature = _arrays(shapes, 0, 0.05), _arrays(shapes, 1, 1.0)
        carry = params, jax.jit(optimizer.init)(params)  # bare Optax's holds one array twice
        for _ in range(12):  # until its memory is full
            carry = step(*carry, curvature)

        def call():
            nonlocal carry
            carry = step(*carry, curvature)
            return carry

        return call

    return candidate


def table(rows: list[Row]) -> Table:
    """All rows, in the order in which they were measured."""
    found = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    found.add_column("network")
    found.add_column("optimizer")
    for heading in ("Optax, ms", "fdl, ms", "fdl / Optax", "Optax / itself", "compile, s"):
        found.add_column(heading, justify="right", no_wrap=True)
    found.add_column("")
    for row in rows:
        found.add_row(
            row.network,
            row.name,
            *map(_milliseconds, (row.bare, row.ours)),
            f"{row.ratio:.2f}",
            f"{row.again.median / row.bare.median:.2f}",
            f"{row.bare.compile:.1f}, {row.ours.compile:.1f}",
            "" if row.verdict == "alike" else row.verdict,
        )
    return found


def _milliseconds(timing: bench.Timing) -> str:
    low, median, high = map(milliseconds, (timing.low, timing.median, timing.high))
    return f"{median} ({low}-{high})"


def main() -> None:
    """Parses the command line, measures, prints and saves."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimizers", description=__doc__)
    parser.add_argument("--out", default="runs/bench", help="folder for optimizers.json")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="begins of optimizers' names")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--blocks", type=int, default=15, help="timed blocks of each side")
    parser.add_argument("--seconds", type=float, default=0.1, help="the least length of a block")
    arguments = parser.parse_args()
    fdl.keep_memory()
    chosen = tuple(arguments.only or [""])
    cases = [
        (pair, network)
        for network in arguments.networks
        for pair in pairs()
        if network in pair.networks and pair.name.startswith(chosen)
    ]
    console = Console(width=140)
    rows = [
        measure(pair, network, blocks=arguments.blocks, seconds=arguments.seconds)
        for pair, network in track(cases, console=console, transient=True)
    ]
    where = environment()
    others = [row.others for row in rows if row.others is not None]
    console.print(table(rows))
    console.print(
        f"ms a step: median over {arguments.blocks} blocks (quartiles). jax {where['jax']}, optax "
        f"{where['optax']}, {where['cpu']}, {where['cores']} cores, {where['date']}. Other "
        f"programs took up to {max(others, default=0):.0%} of the cores' time."
    )
    path = Path(arguments.out, "optimizers.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"environment": where, "rows": [row.to_dict() for row in rows]}
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(f"saved {path}")


if __name__ == "__main__":
    main()
