"""Running a network in PyTorch and in JAX, and finding the first place where they part."""

from fdl._taps import tap
from fdl.parity.compare import compare, record
from fdl.parity.names import suggest_names
from fdl.parity.report import Cause, Check, Divergence, Report, Row
from fdl.parity.tolerance import TOLERANCE, Tolerance

__all__ = [
    "TOLERANCE",
    "Cause",
    "Check",
    "Divergence",
    "Report",
    "Row",
    "Tolerance",
    "TorchUpdate",
    "compare",
    "record",
    "suggest_names",
    "tap",
]


def __getattr__(name: str):
    """``TorchUpdate`` lives beside torch, which is imported when it is first asked for."""
    if name == "TorchUpdate":
        from fdl.parity._torch_side import TorchUpdate

        return TorchUpdate
    raise AttributeError(f"module 'fdl.parity' has no attribute {name!r}")
