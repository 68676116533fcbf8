"""Peak memory of a training step, compilation apart, in a process of its own."""

import os
import subprocess
import sys

from fdl.bench._workload import Workload

TIMEOUT = 300  # seconds


def peak(workload: Workload, variant: str) -> int | None:
    """Measures the bytes that a training step holds at its highest.

    Weights, the optimizer's state, the batch, and what forward and backward pass keep, are
    counted; frameworks, compiled programs and what compiling left behind are not. On a CPU it is
    the highest resident memory during some steps, less what stays when all data have been dropped,
    with free memory given back to the system before, and the allocator as it comes, whatever the
    environment says of it. On a GPU it is what the framework's own allocator says.

    Args:
        workload: one of :data:`fdl.bench.WORKLOADS`, with its own batch or another.
        variant: one of :data:`fdl.bench.VARIANTS`.

    Returns:
        Bytes; None where the system does not tell, which Linux does, or the process fails.
    """
    rows = len(workload.batch[-1]) if workload.batch else 0
    command = [sys.executable, "-m", "fdl.bench._memory_probe", workload.name, variant]
    command += [str(rows), workload.dtype]
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    try:
        found = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, check=False, env=plain
        )
    except subprocess.TimeoutExpired:
        return None
    last = found.stdout.strip().rpartition("\n")[2]
    return int(last) if found.returncode == 0 and last.isdigit() else None
