"""Convolutions, in torch's layouts: inputs ``(N, C, ...)``, weights ``(O, C / groups, ...)``."""

from collections.abc import Sequence

from jaxtyping import Array, Float

from fdl._checks import check_axis
from fdl.functional._convolution import Geometry, Pads, correlate
from fdl.functional._filters import applied, check_channels, check_groups, check_operands
from fdl.functional._spatial import Size, per_axis, positive_per_axis


def conv1d(
    input: Float[Array, "*N C L"],
    weight: Float[Array, "O C_per_group K"],
    bias: Float[Array, " O"] | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "*N O L2"]:
    """Correlates sequences ``(N, C, L)`` with filters; otherwise as :func:`conv2d`.

    Torch: ``torch.nn.functional.conv1d``; no deviation.
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Float[Array, "*N C H W"],
    weight: Float[Array, "O C_per_group KH KW"],
    bias: Float[Array, " O"] | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "*N O H2 W2"]:
    r"""Correlates images with filters.

    :math:`y_{n,o} = b_o + \sum_c w_{o,c} \star x_{n,c}`, with
    :math:`H_2 = \lfloor (H + 2\,pad - dilation\,(KH - 1) - 1) / stride \rfloor + 1`.

    Args:
        input: images ``(N, C, H, W)``, or one image ``(C, H, W)``.
        weight: filters ``(O, C / groups, KH, KW)``.
        bias: ``(O,)``, or None.
        stride: step of the window, in pixels: one number, or (height, width).
        padding: zeros added on both sides: one number, (height, width), ``"valid"`` (none), or
            ``"same"`` (output as large as the input; stride 1 only).
        dilation: distance between filter taps: one number, or (height, width).
        groups: number of groups that channels are split into.

    Returns:
        ``(N, O, H2, W2)``, or ``(O, H2, W2)`` for one image.

    Raises:
        ValueError: if shapes, groups or padding do not fit.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.conv2d(jnp.ones((8, 3, 32, 32)), jnp.ones((16, 3, 3, 3)), padding=1, stride=2).shape
        (8, 16, 16, 16)

    Torch: ``torch.nn.functional.conv2d``; inputs without channels are refused, where torch returns
    none of the ``O`` channels.
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Float[Array, "*N C D H W"],
    weight: Float[Array, "O C_per_group KD KH KW"],
    bias: Float[Array, " O"] | None = None,
    stride: Size = 1,
    padding: Size | str = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "*N O D2 H2 W2"]:
    """Correlates volumes ``(N, C, D, H, W)`` with filters; otherwise as :func:`conv2d`.

    Torch: ``torch.nn.functional.conv3d``; no deviation.
    """
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _convolve(
    function: str,
    dims: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Size,
    padding: Size | str,
    dilation: Size,
    groups: int,
) -> Array:
    check_operands(function, dims, input, weight, bias, channels="O, C / groups")
    check_groups(function, groups, weight.shape[0], "output")
    check_channels(function, dims, input, weight.shape[1] * groups)
    if bias is not None:
        check_axis(function, "bias", bias.size, expected=weight.shape[0], of="weight")
    strides = positive_per_axis(function, "stride", stride, dims)
    dilations = positive_per_axis(function, "dilation", dilation, dims)
    pads = explicit_padding(function, padding, weight.shape[2:], strides, dilations)
    if any(low < 0 for low, _ in pads):
        raise ValueError(
            f"{function}: padding: expected 0 or more, got {padding}. To crop the input, slice it."
        )
    _check_room(function, input.shape[-dims:], weight.shape[2:], pads, dilations)
    geometry = Geometry(strides, tuple(pads), dilations, groups)
    return applied(lambda x: correlate(x, weight, geometry), input, weight, bias)


def explicit_padding(
    function: str,
    padding: Size | str,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> Pads:
    """Torch's `padding` as (low, high) for each spatial axis.

    With ``"same"`` the odd pixel of an even kernel goes to the high side, as in torch.

    Raises:
        ValueError: if `padding` is unknown, or ``"same"`` meets a stride.
    """
    if padding == "valid":
        return ((0, 0),) * len(kernel_size)
    if padding == "same":
        if max(stride) > 1:
            raise ValueError(
                f"{function}: padding: 'same' expects stride 1, got {tuple(stride)}. "
                "Pass the padding as a number."
            )
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ValueError(
            f"{function}: padding: expected a number, 'valid' or 'same', got {padding!r}."
        )
    return tuple((p, p) for p in per_axis(function, "padding", padding, len(kernel_size)))


def _check_room(
    function: str,
    size: Sequence[int],
    kernel_size: Sequence[int],
    pads: Pads,
    dilation: Sequence[int],
) -> None:
    padded = tuple(length + low + high for length, (low, high) in zip(size, pads, strict=True))
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True))
    if any(length < needed for length, needed in zip(padded, extent, strict=True)):
        raise ValueError(
            f"{function}: input: expected at least {extent} pixels, the extent of the kernel, got "
            f"{padded} with padding. Use a smaller kernel, or padding."
        )
