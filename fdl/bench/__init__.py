"""Timing JAX against PyTorch: equality first, then paired blocks, with compile time apart."""

from fdl.bench.report import BenchReport, Measurement, Row
from fdl.bench.suite import measure, run
from fdl.bench.timing import Timing, interleaved
from fdl.bench.variants import PHASES, VARIANTS, inference, training
from fdl.bench.workloads import WORKLOADS, Workload, workload

__all__ = [
    "PHASES",
    "VARIANTS",
    "WORKLOADS",
    "BenchReport",
    "Measurement",
    "Row",
    "Timing",
    "Workload",
    "inference",
    "interleaved",
    "measure",
    "run",
    "training",
    "workload",
]
