"""The one correlation that convolutions of every rank are made of, and the checks they share."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional._spatial import layouts

Pads = Sequence[tuple[int, int]]
"""For each spatial axis the zeros before and after; negative numbers take pixels away."""

_KERNEL = {1: "K", 2: "KH, KW", 3: "KD, KH, KW"}


def correlate(
    input: Float[Array, "..."],
    weight: Float[Array, "..."],
    bias: Float[Array, " O"] | None,
    *,
    stride: Sequence[int],
    padding: Pads,
    spread: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Float[Array, "..."]:
    """Correlates one or many inputs with filters ``(O, C / groups, *kernel)``, and adds the bias.

    `spread` is the distance that the input's pixels are moved apart to, with zeros between them.
    """
    batched = input if input.ndim == weight.ndim else input[None]
    axes = "DHW"[5 - weight.ndim :]
    output = lax.conv_general_dilated(
        batched,
        weight,
        window_strides=stride,
        padding=padding,
        lhs_dilation=spread,
        rhs_dilation=dilation,
        dimension_numbers=(f"NC{axes}", f"OI{axes}", f"NC{axes}"),
        feature_group_count=groups,
    )
    if bias is not None:
        output = output + jnp.reshape(bias, (-1, *(1,) * len(axes)))
    return output if input.ndim == weight.ndim else output[0]


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
