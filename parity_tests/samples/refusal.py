"""Bad calls: what must raise, and the words that its message must have."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """A call that must raise.

    Attributes:
        error: ``ValueError`` or ``TypeError``.
        words: what the message must name, divided by ``;``.
        call: without arguments.
    """

    error: type[Exception]
    words: str
    call: Callable[[], Any]


def refused(
    error: type[Exception], words: str, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Refusal:
    """A call of a function or layer with arguments that it must refuse."""
    return Refusal(error, words, partial(function, *args, **kwargs))
