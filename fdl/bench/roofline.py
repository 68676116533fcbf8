"""How much there is to compute, and how much the machine can: both sides of a roofline."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fdl.bench._workload import Workload
from fdl.bench.timing import interleaved

SIZES = (1024, 2048)
"""Rows and columns of the products whose best is the peak."""

VECTOR = 1 << 25
"""Numbers that are read and written to measure the memory: more than caches hold."""


class Work(NamedTuple):
    """What one step or one batch of a workload asks of the machine.

    Attributes:
        operations: floating-point operations of its products and convolutions, by the plain
            algorithm.
        traffic: bytes that its operations read and write, one by one, as torch runs them eagerly.
    """

    operations: int
    traffic: int


NO_WORK = Work(0, 0)


class Peak(NamedTuple):
    """What the machine reaches, measured.

    Attributes:
        jax: operations a second of a matrix product in XLA.
        torch: the same in torch; None without it.
        bandwidth: bytes a second, read and written, of a sum over long vectors.
    """

    jax: float
    torch: float | None
    bandwidth: float


def work(workload: Workload, phase: str) -> Work:
    """Counts on the torch side, so that every variant is held to the same number."""
    from fdl.bench import _torch_variants  # needs torch

    return Work(*_torch_variants.work(workload, phase))


def machine_peak(dtype: str = "float32") -> Peak:
    """Measures matrix products of several sizes, XLA and torch in turns, and the memory."""
    candidates: dict[str, Callable[[], object]] = {}
    product = jax.jit(jnp.matmul)
    for size in SIZES:
        matrix = jnp.ones((size, size), dtype)
        candidates[f"jax {size}"] = partial(product, matrix, matrix)
    if find_spec("torch"):
        from fdl.bench import _torch_variants  # needs torch

        with _torch_variants.settings():
            for size in SIZES:
                candidates[f"torch {size}"] = _torch_variants.product(size, dtype)
            timings = interleaved(candidates, blocks=5, max_seconds=1.0)
    else:
        timings = interleaved(candidates, blocks=5, max_seconds=1.0)
    rates = {name: 2 * int(name.split()[1]) ** 3 / t.low for name, t in timings.items()}
    best = {
        side: max((rate for name, rate in rates.items() if name.startswith(side)), default=None)
        for side in ("jax", "torch")
    }
    return Peak(best["jax"] or 0.0, best["torch"], _bandwidth())


def _bandwidth() -> float:
    vector = jnp.ones(VECTOR)
    add = jax.jit(lambda x: x + 1)
    timing = interleaved({"add": lambda: add(vector)}, blocks=5)["add"]
    return 2 * vector.nbytes / timing.low
