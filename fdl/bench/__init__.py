"""Timing JAX against PyTorch and Flax: equality first, then paired blocks, compile time apart."""

from fdl.bench._workload import PHASES, Workload
from fdl.bench.report import BenchReport, Measurement, Row
from fdl.bench.suite import measure, run
from fdl.bench.timing import Timing, interleaved
from fdl.bench.variants import VARIANTS, LeftOutError, inference, training
from fdl.bench.workloads import WORKLOADS, workload

__all__ = [
    "PHASES",
    "VARIANTS",
    "WORKLOADS",
    "BenchReport",
    "LeftOutError",
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
