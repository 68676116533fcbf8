"""Padding and cropping."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Shaped

from fdl._checks import check_ndim
from fdl.functional._spatial import layouts

_NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
MODES = ("constant", *_NUMPY_MODES)


def pad(
    input: Shaped[Array, "..."],
    pad: Sequence[int],
    mode: str = "constant",
    value: float | None = None,
) -> Shaped[Array, "..."]:
    """Makes the last axes longer on both sides, or shorter where a number is negative.

    Args:
        input: with ``"constant"`` of any rank; else ``(N, C, ...)`` or ``(C, ...)`` with as many
            spatial axes as are padded, 1 to 3.
        pad: elements added before and after, the LAST axis first:
            ``(left, right, top, bottom, front, back)``.
        mode: what the new elements are: ``"constant"``; ``"reflect"``, the input mirrored about its
            edge elements; ``"replicate"``, the edge elements; ``"circular"``, the input repeated.
        value: with ``"constant"`` the new elements; None is 0.

    Returns:
        `input` with each padded axis longer by the sum of its two numbers.

    Raises:
        ValueError: if `mode` is unknown, or the numbers do not fit the mode and the input.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.pad(jnp.arange(4), (2, -1)).tolist()
        [0, 0, 0, 1, 2]
        >>> F.pad(jnp.arange(4)[None], (2, 1), "reflect").tolist()
        [[2, 1, 0, 1, 2, 3, 2]]

    Torch: ``torch.nn.functional.pad``; ``"circular"`` refuses to add more elements to an axis than
    negative numbers leave of it, where torch returns what happens to be in memory.
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim or not all(isinstance(p, int) for p in pad):
        raise ValueError(
            f"pad: padding: expected two integers for each of at most {input.ndim} axes, got "
            f"{tuple(pad)}. Give (before, after) for the last axis, then for the last but one."
        )
    if mode not in MODES:
        expected = ", ".join(map(repr, MODES))
        raise ValueError(f"pad: mode: expected {expected}, got {mode!r}.")
    if mode != "constant" and value not in (None, 0):
        raise ValueError(
            f"pad: value: expected None with mode={mode!r}, got {value}. Use mode='constant'."
        )
    pairs = tuple(zip(pad[::2], pad[1::2], strict=True))[::-1]
    if mode != "constant":
        return extended("pad", input, pairs, mode)
    rest = input.shape[input.ndim - len(pairs) :]
    if any(_cropped(n, pair) < 0 for n, pair in zip(rest, pairs, strict=True)):
        raise ValueError(f"pad: padding: expected to crop at most {rest}, got {pairs}. Crop less.")
    return _resized(input, pairs, 0 if value is None else value)


def extended(
    function: str, input: Array, pairs: Sequence[tuple[int, int]], mode: str
) -> Shaped[Array, "..."]:
    """Pads each spatial axis by (before, after), the first axis first, from the input itself.

    Args:
        function: how errors call the caller.
        input: ``(N, C, ...)`` or ``(C, ...)``.
        pairs: one for each spatial axis; negative numbers crop.
        mode: ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Raises:
        ValueError: if rank or numbers do not fit.
    """
    dims = len(pairs)
    if dims not in (1, 2, 3):
        raise ValueError(
            f"{function}: padding: expected 1 to 3 axes with mode={mode!r}, got {dims}. "
            "Reshape the input, or pad with mode='constant'."
        )
    check_ndim(function, "input", input, expected=layouts(dims))
    _check_source(function, input.shape, pairs, mode)
    grown = [(0, 0)] * (input.ndim - dims) + [(max(a, 0), max(b, 0)) for a, b in pairs]
    crops = [(min(a, 0), min(b, 0)) for a, b in pairs]
    if mode == "circular":  # torch repeats what cropping leaves, but mirrors what it takes away
        return jnp.pad(_resized(input, crops), grown, "wrap")
    return _resized(jnp.pad(input, grown, _NUMPY_MODES[mode]), crops)


def _resized(input: Array, pairs: Sequence[tuple[int, int]], value: float = 0) -> Array:
    """Pads the last axes by a value, or crops them."""
    if not any(map(any, pairs)):
        return jnp.asarray(input)
    edges = [(0, 0, 0)] * (input.ndim - len(pairs)) + [(a, b, 0) for a, b in pairs]
    return lax.pad(input, jnp.asarray(value, input.dtype), edges)


def _cropped(length: int, pair: tuple[int, int]) -> int:
    """What the negative numbers of `pair` leave of an axis."""
    return length + min(pair[0], 0) + min(pair[1], 0)


def _check_source(
    function: str, shape: Sequence[int], pairs: Sequence[tuple[int, int]], mode: str
) -> None:
    """Checks that the input has the elements that padding repeats."""
    size = tuple(shape[-len(pairs) :])
    if mode != "circular" and 0 in shape[-len(pairs) - 1 :]:
        raise ValueError(
            f"{function}: input: expected at least one channel and pixel with mode={mode!r}, got "
            f"shape {tuple(shape)}. Only a batch may be empty."
        )
    if mode == "circular":
        left = tuple(map(_cropped, size, pairs))
        most, too_small = left, min(left) < 0
    else:
        most = tuple(n - 1 for n in size) if mode == "reflect" else None
        too_small = any(n + a + b < 1 for n, (a, b) in zip(size, pairs, strict=True))
    if most is not None and any(max(*pair, 0) > n for pair, n in zip(pairs, most, strict=True)):
        raise ValueError(
            f"{function}: padding: expected at most {most} for an input of shape {tuple(shape)} "
            f"and mode={mode!r}, got {tuple(map(tuple, pairs))}. Use less, or another mode."
        )
    if too_small:
        raise ValueError(
            f"{function}: padding: expected a part of the input's {size} to be left, got "
            f"{tuple(map(tuple, pairs))}. Crop less."
        )
