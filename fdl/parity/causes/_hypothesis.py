"""What a hypothesis is: a change of one torch call that a wrong port may have made."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fdl.parity._calls import Call, Rewrite
from fdl.parity.causes._closeness import EXACT

Variants = Iterator[tuple[str, Rewrite]]


class Hypothesis(NamedTuple):
    """One way to be wrong.

    Attributes:
        name: a short one, as a report prints it.
        functions: names of the torch functions that it is about.
        variants: ``variants(call)`` yields sentences and rewrites to try on such a call; a rewrite
            must take everything from the call that it is given.
        residual: the share of the error that it may leave.
    """

    name: str
    functions: frozenset[str]
    variants: Callable[[Call], Variants]
    residual: float = EXACT


def hypothesis(name: str, *functions: str, residual: float = EXACT) -> Callable[..., Hypothesis]:
    """Makes a :class:`Hypothesis` of a generator of variants."""

    def make(variants: Callable[[Call], Variants]) -> Hypothesis:
        return Hypothesis(name, frozenset(functions), variants, residual)

    return make


def after(change: Callable[[Any, Call], Any]) -> Rewrite:
    """Runs the call and changes what it returned."""
    return lambda call: change(call.run(), call)


def spread(value: Any, axes: int) -> tuple[Any, ...]:
    """One number for all axes, or one for each."""
    return (value,) * axes if isinstance(value, int | float) else tuple(value)
