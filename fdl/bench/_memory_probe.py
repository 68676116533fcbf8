"""The process that :func:`fdl.bench.memory.peak` starts: prints the bytes of a training step."""

import ctypes
import gc
import sys
from pathlib import Path

import jax

from fdl.bench import workload
from fdl.bench.timing import Candidate, timed
from fdl.bench.variants import build

STATUS = Path("/proc/self/status")
CALLS = 3


def main() -> None:
    """Reads name, variant, rows of a batch (0 for the workload's own) and dtype."""
    name, variant, rows, dtype = sys.argv[1:]
    jax.config.update("jax_enable_compilation_cache", False)  # as where it is timed
    case = workload(name, **({"batch": int(rows)} if int(rows) else {}), dtype=dtype)
    with jax.default_matmul_precision("highest"):
        if variant.startswith("torch"):
            from fdl.bench import _torch_variants  # needs torch

            with _torch_variants.settings():
                found = _on_torch([build(case, "training", variant).call])
        else:
            found = _on_jax([build(case, "training", variant).call])
    print(found)  # noqa: T201


def _on_torch(calls: list[Candidate]) -> int:
    import torch

    timed(calls[0])
    if not torch.cuda.is_initialized():
        return _resident(calls)
    torch.cuda.reset_peak_memory_stats()
    timed(calls[0])
    return torch.cuda.max_memory_allocated()


def _on_jax(calls: list[Candidate]) -> int:
    timed(calls[0])
    stats = jax.devices()[0].memory_stats()
    if not stats:
        return _resident(calls)
    timed(calls[0])
    return stats["peak_bytes_in_use"]


def _resident(calls: list[Candidate]) -> int:
    """The highest resident memory of some calls, less what stays without their data.

    The list is emptied: nothing else may hold the candidate.
    """
    timed(calls[0])
    _give_back()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    for _ in range(CALLS):
        timed(calls[0])
    highest = _status("VmHWM")
    calls.clear()
    _give_back()
    return highest - _status("VmRSS")


def _give_back() -> None:
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _status(field: str) -> int:
    (line,) = (x for x in STATUS.read_text(encoding="ascii").splitlines() if x.startswith(field))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
