"""Bad calls: what must raise, and the words that its message must have."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import pytest

import fdl
from samples.sample import Sample, in_jax


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


def refuses(sample: Sample) -> None:
    """Asserts that fdl refuses to make the layer, or to call it, and says why."""
    with jax.enable_x64(True), pytest.raises((ValueError, TypeError), match="expect") as raised:
        _called(sample)
    assert "got" in str(raised.value)


def _called(sample: Sample) -> None:
    model, key = fdl.as_model(sample.in_fdl), jax.random.key(0)
    inputs, named = jax.tree.map(in_jax, (tuple(sample.inputs), dict(sample.named)))
    model.apply(*model.init(key), *inputs, train=True, key=key, **named)
