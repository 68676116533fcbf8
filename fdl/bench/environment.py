"""Where a measurement was made: what changes times from one machine to the next."""

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax

from fdl import _memory, _processor

PACKAGES = ("fdl", "jax", "jaxlib", "flax", "optax", "torch", "torchvision", "transformers")
NEGLIGIBLE = 0.05  # share of the cores' time


def environment() -> dict[str, Any]:
    """Versions, machine, devices and date, as plain Python values for JSON."""
    return {
        "date": now(),
        **{package: _version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": usable_cores(),
        "torch_threads": usable_cores() if _version("torch") else None,
        "jax_platform": jax.default_backend(),
        "jax_device": jax.devices()[0].device_kind,
        "torch_device": _torch_device(),
        "keep_memory": _memory.in_effect,
        "jax_compilation_cache": jax.config.values["jax_compilation_cache_dir"],
    }


def now() -> str:
    """Date and time in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def usable_cores() -> int:
    """Number of cores that this process may use: XLA has one thread on each."""
    return len(_usable())


class Witness:
    """Watches, from when it is made, how much of the cores other programs take."""

    def __init__(self) -> None:
        self.start = (time.perf_counter(), time.process_time(), _busy_seconds())

    def others(self) -> float | None:
        """Their share of the usable cores' time, from 0 to 1; None where it cannot be known."""
        elapsed, own, busy = (
            None if before is None or now is None else now - before
            for before, now in zip(self.start, Witness().start, strict=True)
        )
        if elapsed is None or own is None or busy is None:
            return None
        return min(1.0, max(0.0, (busy - own) / (elapsed * usable_cores())))


def disturbed(others: float | None) -> bool:
    """Whether other programs took so much that times cannot be trusted."""
    return others is not None and others > NEGLIGIBLE


def _usable() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _busy_seconds() -> float | None:
    """Seconds that the usable cores have worked since the system started, on Linux."""
    counters = Path("/proc/stat")
    if not counters.is_file():
        return None
    names = {f"cpu{core}" for core in _usable()}
    ticks = 0
    for line in counters.read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def _torch_device() -> str | None:
    """Where torch runs beside JAX."""
    if find_spec("torch") is None:
        return None
    import torch

    from fdl.bench import _torch_variants  # needs torch

    on_gpu = _torch_variants.device() == "cuda"
    return torch.cuda.get_device_name() if on_gpu else "cpu"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's own name where the system tells it."""
    return _processor.described("model name") or platform.processor() or platform.machine()
