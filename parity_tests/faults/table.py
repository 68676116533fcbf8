"""What a planted fault is, and how it is judged. Each family of faults has a file beside this one.

A new family is a module with `PAIRS` (correct, must not be alarmed about) and `FAULTS`, listed in
`faults/__init__.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

import fdl
from fdl.parity import Report


class Pair(NamedTuple):
    """Two networks and what :func:`fdl.parity.compare` is told about them."""

    reference: Callable[[], Any]
    candidate: Any
    batches: list[Any]
    options: dict[str, Any]

    def compared(self, *precisions: str) -> Report:
        """Compares them; Optax's own optimizers need the standard promotion."""
        with jax.numpy_dtype_promotion("standard"):
            return fdl.parity.compare(
                self.reference(),
                self.candidate,
                self.batches,
                precisions=precisions,
                **self.options,
            )


class Fault(NamedTuple):
    """A planted fault, and where and why the report must say that it is.

    Attributes:
        name: in words; names are unique.
        pair: the two networks, one of them wrong.
        module: torch's name of the module at fault.
        phase: ``forward``, ``loss``, ``backward``, ``buffer`` or ``update``.
        step: 0 before training, t in the t-th training step.
        cause: name of the :class:`fdl.parity.Cause` that must come first; ``""`` where no
            hypothesis explains the fault.
        precisions: those to compare in.
    """

    name: str
    pair: Pair
    module: str
    phase: str
    step: int
    cause: str
    precisions: tuple[str, ...] = ("float64",)
