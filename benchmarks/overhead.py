"""What comes beside the compiled program: dispatch of a step, imports, and compiling twice.

``python -m benchmarks.overhead`` prints what it measures.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import fdl
from fdl import bench
from fdl import functional as F

IMPORTS = {
    "fdl": "import fdl",
    "fdl to train with": "from fdl import data, functional, models, nn, optim, train",
    "all of fdl": "import fdl; [getattr(fdl, name) for name in fdl.__all__]",
    "jax, flax, optax": "import jax, flax, optax",
}
"""``import fdl`` alone loads nothing before it is used, so that what is used is shown too."""
ROUNDS = 5

COMPILED_ONCE = """
import time, fdl.bench, jax
call = fdl.bench.training(fdl.bench.workload("cnn"), ["jax jit"])["jax jit"]
start = time.perf_counter(); call(); print(time.perf_counter() - start)
"""


class Overhead(NamedTuple):
    """What was measured, in seconds.

    Attributes:
        step: one step of a perceptron with the parameters of ``mlp``'s names, all of size 1: what a
            call costs when there is next to nothing to compute.
        compiled: the same program by ``jax.stages.Compiled``, without jit's own dispatch.
        imports: what is imported to its median seconds, Python's start apart.
        cold: first call of cnn's training step, nothing compiled before.
        cached: the same in a new process, from the compilation cache on disk.
    """

    step: float
    compiled: float
    imports: dict[str, float]
    cold: float
    cached: float

    def import_ratios(self) -> dict[str, float]:
        """Each import over that of jax, flax and optax."""
        *ours, theirs = self.imports
        return {name: self.imports[name] / self.imports[theirs] for name in ours}


def measure() -> Overhead:
    """Measures all of it; processes of their own take turns for the imports."""
    step, compiled = dispatch()
    return Overhead(step, compiled, imports(), *caching())


def dispatch() -> tuple[float, float]:
    """Seconds of a step that computes next to nothing, under jit and compiled ahead of time."""
    model, optimizer = fdl.models.mlp([1, 1, 1, 1]), fdl.optim.adamw(1e-3)
    step = fdl.train.make_step(fdl.train.supervised(model, F.mse_loss), optimizer)
    batch = jnp.ones((1, 1)), jnp.ones((1, 1))

    def fresh():
        key = jax.random.key(0)
        return fdl.train.init_state(*model.init(key), optimizer, key=key)

    states = {"jit": fresh(), "compiled": fresh()}
    jitted: Any = step
    steps = {"jit": step, "compiled": jitted.lower(fresh(), batch).compile()}

    def candidate(name):
        def call():
            states[name], metrics = steps[name](states[name], batch)
            return states[name], metrics

        return call

    timings = bench.interleaved({name: candidate(name) for name in steps}, blocks=9)
    return timings["jit"].median, timings["compiled"].median


def imports() -> dict[str, float]:
    """Median seconds of each import in processes of their own, less those of an empty one."""
    seconds: dict[str, list[float]] = {name: [] for name in ("nothing", *IMPORTS)}
    for turn in range(ROUNDS):
        for name in seconds if turn % 2 == 0 else reversed([*seconds]):
            start = time.perf_counter()
            command = [sys.executable, "-c", IMPORTS.get(name, "pass")]
            subprocess.run(command, check=True)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    return {name: medians[name] - medians["nothing"] for name in IMPORTS}


def caching() -> tuple[float, float]:
    """Seconds of a first call without and with a compilation cache that has the program."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
            "JAX_ENABLE_COMPILATION_CACHE": "1",
        }
        cold, cached = (
            float(
                subprocess.run(
                    [sys.executable, "-c", COMPILED_ONCE],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.split()[-1]
            )
            for _ in range(2)
        )
    return cold, cached


def main() -> None:
    """Prints what was measured."""
    found = measure()
    print(json.dumps({**found._asdict(), "import_ratios": found.import_ratios()}, indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
