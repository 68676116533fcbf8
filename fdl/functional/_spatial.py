"""Arguments that torch takes as one number or as one number for each spatial axis."""

from collections.abc import Sequence
from typing import Any

Size = int | Sequence[int]


def per_axis(function: str, name: str, value: Size, dims: int) -> tuple[int, ...]:
    """Spreads one number over `dims` axes, or checks that there is one for each.

    Raises:
        ValueError: if the sequence has another length.
        TypeError: if it is neither an integer nor a sequence.
    """
    if isinstance(value, int):
        return (value,) * dims
    if not isinstance(value, Sequence):
        raise TypeError(f"{function}: {name}: expected one integer or {dims}, got {value!r}.")
    if len(value) != dims:
        raise ValueError(
            f"{function}: {name}: expected one number or {dims}, got {len(value)}: {tuple(value)}."
        )
    return tuple(value)


def positive_per_axis(function: str, name: str, value: Size, dims: int) -> tuple[int, ...]:
    """As :func:`per_axis`, for arguments that must be at least 1."""
    sizes = per_axis(function, name, value, dims)
    if min(sizes) < 1:
        raise ValueError(f"{function}: {name}: expected at least 1, got {value}.")
    return sizes


def layouts(dims: int) -> dict[int, str]:
    """The shapes of an unbatched and a batched input with `dims` spatial axes, by rank."""
    axes = {1: "L", 2: "H, W", 3: "D, H, W"}[dims]
    return {dims + 1: f"(C, {axes})", dims + 2: f"(N, C, {axes})"}


def static(size: Any) -> Any:
    """A layer's argument as an attribute that does not change: a list as a tuple."""
    return tuple(size) if isinstance(size, Sequence) else size
