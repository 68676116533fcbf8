"""Transposed convolutions: the maps that convolutions pull gradients back by."""

from collections.abc import Sequence

from jaxtyping import Array, Float

from fdl._checks import check_axis
from fdl.functional._convolution import Geometry, pull_input
from fdl.functional._filters import applied, check_channels, check_groups, check_operands
from fdl.functional._spatial import Size, per_axis, positive_per_axis


def conv_transpose1d(
    input: Float[Array, "*N C L"],
    weight: Float[Array, "C O_per_group K"],
    bias: Float[Array, " O"] | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Float[Array, "*N O L2"]:
    """Spreads sequences ``(N, C, L)`` by filters; otherwise as :func:`conv_transpose2d`.

    Torch: ``torch.nn.functional.conv_transpose1d``; no deviation.
    """
    options = stride, padding, output_padding, groups, dilation
    return _transposed("conv_transpose1d", 1, input, weight, bias, *options)


def conv_transpose2d(
    input: Float[Array, "*N C H W"],
    weight: Float[Array, "C O_per_group KH KW"],
    bias: Float[Array, " O"] | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Float[Array, "*N O H2 W2"]:
    r"""Spreads every pixel over a window of the output, weighted by a filter.

    It is the transpose of :func:`conv2d` with the same weight and options:
    :math:`y_{n,o} = b_o + \sum_c w_{c,o} * (\uparrow_{stride} x_{n,c})`, with
    :math:`H_2 = (H - 1)\,stride - 2\,pad + dilation\,(KH - 1) + output\_pad + 1`.

    Args:
        input: images ``(N, C, H, W)``, or one image ``(C, H, W)``.
        weight: filters ``(C, O / groups, KH, KW)``.
        bias: ``(O,)``, or None.
        stride: distance between the windows of neighbouring pixels: one number, or (height, width).
        padding: pixels taken off both sides of the output.
        output_padding: pixels added to the high side: less than `stride` or than `dilation`.
        groups: number of groups that channels are split into.
        dilation: distance between filter taps.

    Returns:
        ``(N, O, H2, W2)``, or ``(O, H2, W2)`` for one image.

    Raises:
        ValueError: if shapes, groups or paddings do not fit.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.conv_transpose2d(jnp.ones((8, 3, 16, 16)), jnp.ones((3, 5, 2, 2)), stride=2).shape
        (8, 5, 32, 32)

    Torch: ``torch.nn.functional.conv_transpose2d``; no deviation.

    Source: Zeiler et al., Deconvolutional networks, 2010.
    """
    options = stride, padding, output_padding, groups, dilation
    return _transposed("conv_transpose2d", 2, input, weight, bias, *options)


def conv_transpose3d(
    input: Float[Array, "*N C D H W"],
    weight: Float[Array, "C O_per_group KD KH KW"],
    bias: Float[Array, " O"] | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Float[Array, "*N O D2 H2 W2"]:
    """Spreads volumes ``(N, C, D, H, W)`` by filters; otherwise as :func:`conv_transpose2d`.

    Torch: ``torch.nn.functional.conv_transpose3d``; no deviation.
    """
    options = stride, padding, output_padding, groups, dilation
    return _transposed("conv_transpose3d", 3, input, weight, bias, *options)


def _transposed(
    function: str,
    dims: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Array:
    check_operands(function, dims, input, weight, bias, channels="C, O / groups")
    check_groups(function, groups, weight.shape[0], "input")
    check_channels(function, dims, input, weight.shape[0])
    if bias is not None:
        check_axis(function, "bias", bias.size, expected=weight.shape[1] * groups, of="weight")
    strides = positive_per_axis(function, "stride", stride, dims)
    dilations = positive_per_axis(function, "dilation", dilation, dims)
    pads = padding_per_axis(function, "padding", padding, dims)
    extras = padding_per_axis(function, "output_padding", output_padding, dims)
    limits = tuple(map(max, strides, dilations))
    if any(extra >= limit for extra, limit in zip(extras, limits, strict=True)):
        raise ValueError(
            f"{function}: output_padding: expected less than stride or dilation, {limits}, got "
            f"{extras}. To enlarge the output further, pad it."
        )
    padding_of = tuple((p, p - e) for p, e in zip(pads, extras, strict=True))
    geometry = Geometry(strides, padding_of, dilations, groups)
    size = _size(function, input.shape[-dims:], weight.shape[2:], geometry)
    return applied(lambda x: pull_input(x, weight, geometry, size), input, weight, bias)


def padding_per_axis(function: str, name: str, value: Size, dims: int) -> tuple[int, ...]:
    """As :func:`per_axis`, for numbers of 0 or more.

    Raises:
        ValueError: if one is negative or a word.
    """
    if isinstance(value, str):
        raise ValueError(f"{function}: {name}: expected a number or {dims}, got {value!r}.")
    sizes = per_axis(function, name, value, dims)
    if min(sizes) < 0:
        raise ValueError(f"{function}: {name}: expected 0 or more, got {value}.")
    return sizes


def _size(
    function: str, windows: Sequence[int], kernel: Sequence[int], geometry: Geometry
) -> tuple[int, ...]:
    """The inputs of a convolution that has so many windows, the last of which fits exactly."""
    axes = zip(windows, kernel, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    size = tuple((n - 1) * s + d * (k - 1) + 1 - low - high for n, k, s, (low, high), d in axes)
    if min(size) < 1:
        raise ValueError(
            f"{function}: padding: expected a part of the output to be left, got size {size} "
            f"from an input of {tuple(windows)}. Use less padding."
        )
    return size
