"""Maximum pooling, with torch's rule at ties: the first of a window's maxima has the gradient."""

from jaxtyping import Array, Float, Int

from fdl.functional._maxima import maxima, maxima_and_places
from fdl.functional._spatial import Size
from fdl.functional._windows import windows_over


def max_pool1d(
    input: Float[Array, "*N C L"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Float[Array, "*N C L2"] | tuple[Float[Array, "*N C L2"], Int[Array, "*N C L2"]]:
    """Takes the maximum over windows of ``(N, C, L)`` or ``(C, L)``; see :func:`max_pool2d`.

    Torch: ``torch.nn.functional.max_pool1d``; indices are int32.
    """
    windows = windows_over(
        "max_pool1d", input, kernel_size, stride, padding, dilation, ceil_mode, dims=1
    )
    return (maxima_and_places if return_indices else maxima)(input, windows)


def max_pool2d(
    input: Float[Array, "*N C H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Float[Array, "*N C H2 W2"] | tuple[Float[Array, "*N C H2 W2"], Int[Array, "*N C H2 W2"]]:
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
        return_indices: also return where each maximum is, as ``row * W + column``.

    Returns:
        ``(N, C, H2, W2)``, or ``(C, H2, W2)`` for one image; with `return_indices` a pair of such.
        NaN wins over every number.

    Raises:
        ValueError: if shape, window or padding do not fit.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.max_pool2d(jnp.arange(16.0).reshape(1, 1, 4, 4), 2).tolist()
        [[[[5.0, 7.0], [13.0, 15.0]]]]

    Torch: ``torch.nn.functional.max_pool2d``; indices are int32.
    """
    windows = windows_over(
        "max_pool2d", input, kernel_size, stride, padding, dilation, ceil_mode, dims=2
    )
    return (maxima_and_places if return_indices else maxima)(input, windows)


def max_pool3d(
    input: Float[Array, "*N C D H W"],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> (
    Float[Array, "*N C D2 H2 W2"]
    | tuple[Float[Array, "*N C D2 H2 W2"], Int[Array, "*N C D2 H2 W2"]]
):
    """Takes the maximum over windows of ``(N, C, D, H, W)`` or ``(C, D, H, W)``.

    As :func:`max_pool2d`; an index is ``(slice * H + row) * W + column``.

    Torch: ``torch.nn.functional.max_pool3d``; indices are int32.
    """
    windows = windows_over(
        "max_pool3d", input, kernel_size, stride, padding, dilation, ceil_mode, dims=3
    )
    return (maxima_and_places if return_indices else maxima)(input, windows)
