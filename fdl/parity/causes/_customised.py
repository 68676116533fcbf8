"""Derivatives written out beside a function, of which the two compute different values."""

from fdl.parity._record import Quantity
from fdl.parity._run import Evidence, Run
from fdl.parity.judge import distance, maximum
from fdl.parity.report import Cause

WORDS = (
    "computed with gradients the value is torch's, without it is not: a custom_jvp or custom_vjp "
    "whose function and rule compute different values"
)


def customised(run: Run, evidence: Evidence) -> list[Cause]:
    """Names the cause if the first difference is not there where gradients are taken."""
    row = evidence.first
    quantity = Quantity(row.mode, row.kind, row.step, row.name)
    if row.mode != "eval" or row.phase != "forward" or not row.shaped:
        return []
    expected, derived = evidence.expected[quantity], run.derived(evidence)[quantity]
    largest = maximum(abs(expected)) if expected.size else 0.0
    error = distance(derived, expected, largest, maximum)
    return [Cause("custom derivative", row.module, WORDS, error)] if error <= row.budget else []
