"""What convolutions of every rank and their transposes share: one or many inputs, bias, checks."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional._spatial import layouts

_KERNEL = {1: "K", 2: "KH, KW", 3: "KD, KH, KW"}


def applied(
    function: Callable[[Array], Array], input: Array, weight: Array, bias: Array | None
) -> Array:
    """Applies a function of ``(N, C, ...)`` to one or many inputs, and adds the bias."""
    single = input.ndim < weight.ndim
    output = function(input[None] if single else input)
    if bias is not None:
        output = output + jnp.reshape(bias, (-1, *(1,) * (weight.ndim - 2)))
    return output[0] if single else output


def check_operands(
    function: str,
    dims: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    *,
    channels: str,
) -> None:
    """Checks dtypes and ranks; `channels` names the first two axes of `weight`.

    Raises:
        ValueError: if a rank is wrong, the input has no pixels, or the weight is empty.
        TypeError: if the dtypes differ.
    """
    check_same_dtype(function, input=input, weight=weight, bias=bias)
    check_ndim(function, "input", input, expected=layouts(dims))
    layout = f"({channels}, {_KERNEL[dims]})"
    check_ndim(function, "weight", weight, expected={dims + 2: layout})
    if bias is not None:
        check_ndim(function, "bias", bias, expected={1: "(O,)"})
    if 0 in weight.shape:
        raise ValueError(
            f"{function}: weight: expected {layout} without empty axes, got {weight.shape}. "
            "Check the number of channels and kernel_size."
        )
    if 0 in input.shape[-dims:] and 0 not in input.shape[:-dims]:
        raise ValueError(
            f"{function}: input: expected at least one pixel, got shape {input.shape}. "
            "Check what made it: a layer before has used up all pixels."
        )


def check_groups(function: str, groups: int, channels: int, kind: str) -> None:
    """Checks that the weight's `channels` divide into `groups`.

    Raises:
        ValueError: if they do not.
    """
    if groups < 1 or channels % groups:
        raise ValueError(
            f"{function}: groups: expected a divisor of weight's {channels} {kind} channels, "
            f"got {groups}. Check the weight's shape."
        )


def check_channels(function: str, dims: int, input: Array, channels: int) -> None:
    """Checks the input's channels against the weight's.

    Raises:
        ValueError: if they differ.
    """
    check_axis(function, "input channels", input.shape[-dims - 1], expected=channels, of="weight")
