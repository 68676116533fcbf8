"""The timing core: candidates take turns in one process, and every call is waited for."""

import gc
import math
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

Candidate = Callable[[], Any]
"""What is timed: called without arguments, it returns what must be ready before the clock stops."""

FEWEST_BLOCKS = 3

REST = 0.01
"""Seconds of rest before each block. For some milliseconds after its last work, OpenMP, and so
PyTorch, has its threads wait in a loop on all cores, which took 5 to 10 % from a block in XLA."""


class Timing(NamedTuple):
    """What one candidate took.

    Attributes:
        first_call: seconds of the very first call, compilation included.
        low: lower quartile over the blocks, in seconds a call.
        median: median over the blocks, in seconds a call.
        high: upper quartile over the blocks, in seconds a call.
        blocks: how many blocks were timed.
        calls_per_block: how many calls each block made.
    """

    first_call: float
    low: float
    median: float
    high: float
    blocks: int
    calls_per_block: int

    @property
    def compile(self) -> float:
        """Seconds that the first call took beyond the median one: tracing, compiling, set-up."""
        return max(0.0, self.first_call - self.median)

    def each(self, steps: int) -> "Timing":
        """The same of one of the steps that each call made."""
        first = max(0.0, self.first_call - (steps - 1) / steps * self.median)
        low, median, high = (seconds / steps for seconds in self[1:4])
        return Timing(first, low, median, high, self.blocks, self.calls_per_block)


def interleaved(
    candidates: Mapping[str, Candidate],
    *,
    blocks: int = 9,
    min_block_seconds: float = 0.05,
    max_seconds: float = 5.0,
    first_calls: Mapping[str, float] | None = None,
) -> dict[str, Timing]:
    """Times candidates against each other, so that whatever disturbs the machine disturbs all.

    Each candidate is called once by itself, for the time of its first call, and once more to warm
    up. Then blocks of calls alternate between the candidates, forwards in one round and backwards
    in the next. Every block starts with a rest, in which the threads of the candidate before stop
    waiting for more work, and with an untimed call, which takes the caches over. Garbage is not
    collected meanwhile.

    Args:
        candidates: name to a function without arguments. One that carries state, as a training
            step does, keeps it in a closure. JAX arrays that it returns, and work on a CUDA
            device, are waited for.
        blocks: blocks of each candidate.
        min_block_seconds: a block makes as many calls as last so long.
        max_seconds: a candidate that has had so long sits out the remaining rounds, though not
            before its third block. Where one call fills a block, there is no untimed call.
        first_calls: seconds of the first calls that were made before, from :func:`timed`.

    Returns:
        Name to :class:`Timing`, in the order of `candidates`.

    Raises:
        ValueError: if there is no candidate, or a number is out of range.

    Example:
        >>> import fdl.bench, jax, jax.numpy as jnp
        >>> x = jnp.ones((64, 64))
        >>> timings = fdl.bench.interleaved(
        ...     {"eager": lambda: jnp.sin(x) @ x, "jit": lambda f=jax.jit(jnp.sin): f(x) @ x},
        ...     blocks=3,
        ...     min_block_seconds=0.001,
        ... )
        >>> [(name, timing.blocks) for name, timing in timings.items()]
        [('eager', 3), ('jit', 3)]
    """
    if not candidates or blocks < 1 or min_block_seconds < 0 or max_seconds < 0:
        raise ValueError(
            "interleaved: expected one or more candidates, blocks from 1 and seconds from 0, got "
            f"{len(candidates)} candidates, blocks={blocks}, min_block_seconds="
            f"{min_block_seconds} and max_seconds={max_seconds}."
        )
    firsts = dict(first_calls or {})
    for name, call in candidates.items():
        if name not in firsts:
            firsts[name], _ = timed(call)
    with _without_garbage_collection():
        calls = {name: _calls(call, min_block_seconds) for name, call in candidates.items()}
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        spent = dict.fromkeys(candidates, 0.0)
        for turn in range(blocks):
            for name in candidates if turn % 2 == 0 else reversed(list(candidates)):
                if len(seconds[name]) < FEWEST_BLOCKS or spent[name] < max_seconds:
                    start = time.perf_counter()
                    seconds[name].append(_block(candidates[name], calls[name]))
                    spent[name] += time.perf_counter() - start
    return {
        name: Timing(firsts[name], *_quartiles(seconds[name]), len(seconds[name]), calls[name])
        for name in candidates
    }


def timed(candidate: Candidate) -> tuple[float, Any]:
    """Calls once and waits: ``(seconds, result)``."""
    start = time.perf_counter()
    result = _ready(candidate())
    return time.perf_counter() - start, result


def _calls(call: Candidate, min_block_seconds: float) -> int:
    """Warms up, and finds how many calls fill a block."""
    timed(call)
    calls, seconds = 1, timed(call)[0]
    while seconds < min_block_seconds:
        calls = max(calls + 1, math.ceil(calls * min_block_seconds / seconds))
        seconds = calls * _block(call, calls)
    return calls


def _block(call: Candidate, calls: int) -> float:
    """Seconds a call."""
    time.sleep(REST)
    if calls > 1:
        _ready(call())
    start = time.perf_counter()
    for _ in range(calls):
        _ready(call())
    return (time.perf_counter() - start) / calls


def _ready(result: Any) -> Any:
    jax.block_until_ready(result)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return result


def _quartiles(seconds: list[float]) -> tuple[float, float, float]:
    low, median, high = np.percentile(seconds, [25, 50, 75])
    return float(low), float(median), float(high)


@contextmanager
def _without_garbage_collection() -> Generator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
