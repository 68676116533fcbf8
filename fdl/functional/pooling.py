"""Pooling, with torch's rule at ties: the first maximum of a window takes the whole gradient."""

import functools
import itertools

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from fdl._checks import check_ndim
from fdl.functional._spatial import Size, per_axis, positive_per_axis


def max_pool2d(
    input: Float[Array, "*N C H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> Float[Array, "*N C H2 W2"]:
    r"""Takes the maximum over sliding windows.

    :math:`H_2 = \lfloor (H + 2\,pad - dilation\,(k - 1) - 1) / stride \rfloor + 1`, rounded up with
    `ceil_mode`, save that no window starts in the high padding.

    Args:
        input: ``(N, C, H, W)``, or one image ``(C, H, W)``.
        kernel_size: window, in pixels: one number, or (height, width).
        stride: step of the window; `kernel_size` if None.
        padding: pixels of minus infinity on both sides, at most half the window.
        dilation: distance between the window's pixels.
        ceil_mode: keep a last window that hangs over the edge.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image. NaN wins over every number.

    Raises:
        ValueError: if shape, window or padding do not fit.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.max_pool2d(jnp.arange(16.0).reshape(1, 1, 4, 4), 2).tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]

    Torch: ``torch.nn.functional.max_pool2d``; indices are not returned.
    """
    check_ndim("max_pool2d", "input", input, expected={3: "(C, H, W)", 4: "(N, C, H, W)"})
    kernel = positive_per_axis("max_pool2d", "kernel_size", kernel_size, 2)
    step = kernel if stride is None else positive_per_axis("max_pool2d", "stride", stride, 2)
    gap = positive_per_axis("max_pool2d", "dilation", dilation, 2)
    pad = per_axis("max_pool2d", "padding", padding, 2)
    if any(not 0 <= 2 * p <= k for p, k in zip(pad, kernel, strict=True)):
        raise ValueError(
            f"max_pool2d: padding: expected 0 to half of kernel_size={kernel}, got {pad}."
        )
    sizes = [
        _windows(*arguments, ceil_mode)
        for arguments in zip(input.shape[-2:], kernel, step, pad, gap, strict=True)
    ]
    if min(sizes) < 1:
        raise ValueError(
            f"max_pool2d: input: expected at least one window of {kernel} in "
            f"{input.shape[-2:]} with padding {pad}, got none. Use a smaller window."
        )
    return _first_maximum(input, sizes, kernel, step, pad, gap)


def _windows(length: int, kernel: int, step: int, pad: int, gap: int, ceil_mode: bool) -> int:
    room = length + 2 * pad - gap * (kernel - 1) - 1
    count = (-(-room // step) if ceil_mode else room // step) + 1
    starts_in_padding = ceil_mode and (count - 1) * step >= length + pad
    return count - starts_in_padding


def _first_maximum(input, sizes, kernel, step, pad, gap):
    """Maximum over shifted, strided slices; a later one wins only if it is larger, or NaN."""
    spans = [(n - 1) * s + 1 for n, s in zip(sizes, step, strict=True)]
    reach = [g * (k - 1) + span for g, k, span in zip(gap, kernel, spans, strict=True)]
    highs = [r - n - p for r, n, p in zip(reach, input.shape[-2:], pad, strict=True)]
    lead = input.ndim - 2
    padded = lax.pad(
        input,
        jnp.array(-jnp.inf, input.dtype),
        [(0, 0, 0)] * lead + [(p, high, 0) for p, high in zip(pad, highs, strict=True)],
    )
    shifts = itertools.product(*[range(0, g * k, g) for g, k in zip(gap, kernel, strict=True)])
    slices = (
        padded[..., i : i + spans[0] : step[0], j : j + spans[1] : step[1]] for i, j in shifts
    )
    return functools.reduce(lambda best, x: jnp.where((x > best) | jnp.isnan(x), x, best), slices)
