"""Running a network in PyTorch and in JAX, and judging whether the two are equal."""

from fdl.parity.compare import compare
from fdl.parity.report import Report, Row
from fdl.parity.tolerance import TOLERANCE, Tolerance

__all__ = ["TOLERANCE", "Report", "Row", "Tolerance", "compare"]
