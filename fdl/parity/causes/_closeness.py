"""When a hypothesis explains a difference."""

import math

EXACT = 1e-4
"""A hypothesis must take away all of the error but this share: the same numbers, but rounded."""

ROUGH = 0.2
"""The share for hypotheses about rounding, where the order of additions is not known."""


def closeness(error: float) -> int:
    """The order of magnitude of what a hypothesis leaves; rounding is all alike."""
    return round(math.log10(max(error, 1e-14))) if math.isfinite(error) else 0
