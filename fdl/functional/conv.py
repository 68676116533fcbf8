"""Convolutions, in torch's layouts: inputs NCHW, weights OIHW."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional._spatial import Size, per_axis, positive_per_axis


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

    Torch: ``torch.nn.functional.conv2d``; no deviation.
    """
    check_same_dtype("conv2d", input=input, weight=weight, bias=bias)
    check_ndim("conv2d", "input", input, expected={3: "(C, H, W)", 4: "(N, C, H, W)"})
    check_ndim("conv2d", "weight", weight, expected={4: "(O, C / groups, KH, KW)"})
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(
            f"conv2d: groups: expected a divisor of weight's {weight.shape[0]} output channels, "
            f"got {groups}."
        )
    channels = weight.shape[1] * groups
    check_axis("conv2d", "input channels", input.shape[-3], expected=channels, of="weight")
    if bias is not None:
        check_axis("conv2d", "bias", bias.size, expected=weight.shape[0], of="weight")
    batched = input if input.ndim == 4 else input[None]
    strides = positive_per_axis("conv2d", "stride", stride, 2)
    dilations = positive_per_axis("conv2d", "dilation", dilation, 2)
    pads = explicit_padding("conv2d", padding, weight.shape[2:], strides, dilations)
    _check_room(input.shape[-2:], weight.shape[2:], pads, dilations)
    output = lax.conv_general_dilated(
        batched,
        weight,
        window_strides=strides,
        padding=pads,
        rhs_dilation=dilations,
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=groups,
    )
    if bias is not None:
        output = output + jnp.reshape(bias, (-1, 1, 1))
    return output if input.ndim == 4 else output[0]


def explicit_padding(
    function: str,
    padding: Size | str,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[tuple[int, int], ...]:
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
                f"{function}: padding: 'same' expects stride 1, got {tuple(stride)}. Pass the "
                "padding as a number."
            )
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ValueError(
            f"{function}: padding: expected a number, 'valid' or 'same', got {padding!r}."
        )
    pads = per_axis(function, "padding", padding, len(kernel_size))
    if min(pads) < 0:
        raise ValueError(f"{function}: padding: expected 0 or more, got {padding}.")
    return tuple((p, p) for p in pads)


def _check_room(
    size: Sequence[int],
    kernel_size: Sequence[int],
    pads: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> None:
    padded = tuple(length + low + high for length, (low, high) in zip(size, pads, strict=True))
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation, strict=True))
    if any(length < needed for length, needed in zip(padded, extent, strict=True)):
        raise ValueError(
            f"conv2d: input: expected at least {extent} pixels, the extent of the kernel, got "
            f"{padded} with padding. Use a smaller kernel, or padding."
        )
