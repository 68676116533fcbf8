"""Where a measurement was made: what changes times from one machine to the next."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("fdl", "jax", "jaxlib", "flax", "optax", "torch")


def environment() -> dict[str, Any]:
    """Versions, machine, devices and date, as plain Python values for JSON.

    ``load`` is how many threads wanted a core in the last minute; ask before measuring.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **{package: _version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": usable_cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "torch_threads": usable_cores() if _version("torch") else None,
        "jax_platform": jax.default_backend(),
        "jax_device": jax.devices()[0].device_kind,
        "jax_compilation_cache": jax.config.values["jax_compilation_cache_dir"],
    }


def usable_cores() -> int:
    """Cores that this process may use: XLA has one thread on each."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's own name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
