"""Where a filter's window lies over the pixels."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

Pads = Sequence[tuple[int, int]]
"""For each spatial axis the zeros before and after; negative numbers take pixels away."""


class Geometry(NamedTuple):
    """How filters go over inputs.

    Attributes:
        stride: pixels from one window to the next, for each spatial axis.
        padding: zeros before and after each spatial axis; negative numbers take pixels away.
        dilation: pixels from one tap of a filter to the next, for each spatial axis.
        groups: parts that the channels are split into.
    """

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def dims(self) -> int:
        """The number of spatial axes."""
        return len(self.stride)

    def taps(self, kernel: Sequence[int]) -> list[tuple[int, ...]]:
        """The pixels of a window, relative to its first, in the order of the filter's."""
        steps = zip(kernel, self.dilation, strict=True)
        return [*product(*(range(0, k * d, d) for k, d in steps))]

    def windows(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """How many windows fit along each axis of an input."""
        axes = zip(size, self.padding, kernel, self.dilation, self.stride, strict=True)
        return tuple(
            (n + low + high - d * (k - 1) - 1) // s + 1 for n, (low, high), k, d, s in axes
        )
