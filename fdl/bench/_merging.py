"""Results of some workloads in place of older ones, with the rest of an older report kept."""

from fdl.bench.report import BenchReport, Measurement
from fdl.bench.workloads import WORKLOADS

OF_A_RUN = ("date", "peak", "jax_compilation_cache")
"""What two runs on the same machine with the same versions may have different."""


def merged(older: BenchReport, newer: BenchReport) -> BenchReport:
    """The older report with the newer measurements, in the order of the workloads.

    A measurement replaces one of the same workload, sizes, phase and dtype as a whole: its variants
    were timed in turns, and are not to be compared with those of another run.

    Raises:
        ValueError: if they come from different machines, versions or allocators.
    """
    names = sorted({*older.environment, *newer.environment} - {*OF_A_RUN})
    apart = [n for n in names if older.environment.get(n) != newer.environment.get(n)]
    if apart and older.measurements:
        told = "; ".join(
            f"{n}: {older.environment.get(n)} and {newer.environment.get(n)}" for n in apart
        )
        raise ValueError(
            f"merged: expected results of one machine and the same versions, got {told}. "
            "Measure every workload anew."
        )
    found = {_case(m): m for m in (*older.measurements, *newer.measurements)}
    return BenchReport(sorted(found.values(), key=_place), newer.environment)


def _case(measurement: Measurement) -> tuple[str, ...]:
    m = measurement
    return m.workload, m.sizes, m.phase, m.dtype


def _place(measurement: Measurement) -> int:
    name = measurement.workload
    return WORKLOADS.index(name) if name in WORKLOADS else len(WORKLOADS)
