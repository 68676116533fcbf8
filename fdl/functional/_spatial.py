"""Arguments that torch takes as one number or as one number for each spatial axis."""

from collections.abc import Sequence

Size = int | Sequence[int]


def per_axis(function: str, name: str, value: Size, dims: int) -> tuple[int, ...]:
    """Spreads one number over `dims` axes, or checks that there is one for each.

    Raises:
        ValueError: if the sequence has another length.
    """
    if isinstance(value, int):
        return (value,) * dims
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
