"""Dropout made comparable: masks are drawn once, on the torch side, and both frameworks use them.

On the JAX side every mask comes from ``jax.random.bernoulli``, in fdl as in Flax and Equinox; there
the mask is marked, and replaced by whoever listens (:mod:`fdl.parity._listen`).
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np

from fdl._taps import tap_p


class Mask(NamedTuple):
    """A dropout mask: true where an element is kept, and the probability of that."""

    kept: np.ndarray
    keep: float

    def row(self) -> np.ndarray:
        """What two masks are compared by: probability and shape."""
        return np.array([self.keep, *self.kept.shape], np.float64)


class Masks:
    """The masks of one pass in torch: those given first, in order, then newly drawn ones."""

    def __init__(self, given: Sequence[Mask], generator: np.random.Generator) -> None:
        self._given = list(given)
        self._generator = generator
        self.used: list[Mask] = []

    def next(self, shape: tuple[int, ...], p: float) -> np.ndarray:
        """The mask for a dropout with probability `p`."""
        if len(self.used) < len(self._given) and self._given[len(self.used)].kept.shape == shape:
            self.used.append(Mask(self._given[len(self.used)].kept, 1 - p))
        else:
            self.used.append(Mask(self._generator.random(shape) >= p, 1 - p))
        return self.used[-1].kept


@contextmanager
def marked_masks() -> Generator[None]:
    """While tracing inside, marks every mask that ``jax.random.bernoulli`` draws."""
    draw = jax.random.bernoulli

    def bernoulli(key: Any, p: Any = 0.5, *args: Any, **kwargs: Any) -> jax.Array:
        keep = float("nan") if isinstance(p, jax.core.Tracer) else float(p)
        return tap_p.bind(draw(key, p, *args, **kwargs), keep=keep)

    with mock.patch.object(jax.random, "bernoulli", bernoulli):
        yield


class Injected:
    """The masks of one pass in JAX: torch's, in order, where the shapes agree."""

    def __init__(self, masks: Sequence[Any], *, channels_last: bool) -> None:
        self._masks = list(masks)
        self._channels_last = channels_last
        self._asked = 0

    def next(self, own: Any) -> Any:
        """Torch's mask instead of the candidate's `own`, channels last if that is its layout."""
        index, self._asked = self._asked, self._asked + 1
        if index >= len(self._masks):
            return own
        mask = self._masks[index]
        permutation = fitting(mask.shape, own.shape, channels_last=self._channels_last)
        return own if permutation is None else mask.transpose(permutation)


def fitting(
    expected: tuple[int, ...], got: tuple[int, ...], *, channels_last: bool
) -> tuple[int, ...] | None:
    """The axes of torch's layout in the order of `got`; None if the shapes do not fit.

    Args:
        expected: torch's shape, channels in axis 1.
        got: the candidate's, in the same order or with channels last.
        channels_last: which of the two where both fit.
    """
    same = tuple(range(len(expected)))
    last = (0, *same[2:], 1) if len(expected) > 2 else same
    orders = (last, same) if channels_last else (same, last)
    return next((o for o in orders if tuple(expected[axis] for axis in o) == got), None)
