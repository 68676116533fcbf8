"""Pooling, with torch's rule at ties: the first maximum of a window takes the whole gradient."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from fdl._checks import check_ndim
from fdl.functional._spatial import Size, per_axis, positive_per_axis


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
    check_ndim("max_pool2d", "input", input, expected={3: "(C, H, W)", 4: "(N, C, H, W)"})
    kernel = positive_per_axis("max_pool2d", "kernel_size", kernel_size, 2)
    step = kernel if stride is None else positive_per_axis("max_pool2d", "stride", stride, 2)
    gap = positive_per_axis("max_pool2d", "dilation", dilation, 2)
    pad = per_axis("max_pool2d", "padding", padding, 2)
    if any(not 0 <= 2 * p <= k for p, k in zip(pad, kernel, strict=True)):
        raise ValueError(
            f"max_pool2d: padding: expected 0 to half of kernel_size={kernel}, got {pad}."
        )
    axes = zip(input.shape[-2:], kernel, step, pad, gap, strict=True)
    count = tuple(_count(*axis, ceil_mode) for axis in axes)
    if min(count) < 1:
        raise ValueError(
            f"max_pool2d: input: expected at least one window of {kernel} in "
            f"{input.shape[-2:]} with padding {pad}, got none. Use a smaller window."
        )
    output, indices = _maximum(input, _Windows(count, kernel, step, pad, gap))
    return (output, indices) if return_indices else output


def _count(length: int, kernel: int, step: int, pad: int, gap: int, ceil_mode: bool) -> int:
    room = length + 2 * pad - gap * (kernel - 1) - 1
    count = (-(-room // step) if ceil_mode else room // step) + 1
    starts_in_padding = ceil_mode and (count - 1) * step >= length + pad
    return count - starts_in_padding


class _Windows(NamedTuple):
    """Where the windows lie, each entry for (height, width)."""

    count: tuple[int, ...]
    kernel: tuple[int, ...]
    step: tuple[int, ...]
    pad: tuple[int, ...]
    gap: tuple[int, ...]

    def highs(self, size: tuple[int, ...]) -> list[int]:
        """Pixels that the last window reaches beyond the high edge; negative if it falls short."""
        axes = zip(size, self.count, self.kernel, self.step, self.pad, self.gap, strict=True)
        return [(n - 1) * s + g * (k - 1) + 1 - length - p for length, n, k, s, p, g in axes]

    def slices(self, input: jax.Array) -> list[jax.Array]:
        """The first pixel of every window, the second of every window, and so on; 0 outside."""
        edges = [(0, 0, 0)] * (input.ndim - 2)
        edges += [(p, h, 0) for p, h in zip(self.pad, self.highs(input.shape[-2:]), strict=True)]
        padded = lax.pad(input, jnp.zeros((), input.dtype), edges)
        (rows, row_step), (columns, column_step) = (
            ((n - 1) * s + 1, s) for n, s in zip(self.count, self.step, strict=True)
        )
        return [
            padded[..., i : i + rows : row_step, j : j + columns : column_step]
            for i, j in self.taps()
        ]

    def places(self, width: int) -> list[np.ndarray]:
        """The flat pixel numbers that :meth:`slices` takes, in the same order."""
        row, column = (np.arange(n) * s for n, s in zip(self.count, self.step, strict=True))
        return [
            ((row[:, None] + i - self.pad[0]) * width + column + j - self.pad[1]).astype(np.int32)
            for i, j in self.taps()
        ]

    def taps(self) -> list[tuple[int, int]]:
        """The pixels of a window, relative to its first."""
        rows, columns = (np.arange(k) * g for k, g in zip(self.kernel, self.gap, strict=True))
        return [(int(i), int(j)) for i in rows for j in columns]


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _maximum(input: jax.Array, windows: _Windows) -> tuple[jax.Array, jax.Array]:
    """Returns the maxima and their flat pixel numbers, in one reduction.

    The numbers decide where gradients go. Comparing again in the backward pass would not do: XLA
    may compute the input anew there and round it differently, and equal neighbours, as in the
    background of an image, would no longer tie.
    """
    height, width = input.shape[-2:]
    place = jnp.arange(height * width, dtype=jnp.int32).reshape(height, width)
    edges = [(0, 0)] * (input.ndim - 2)
    edges += [
        (p, max(h, 0)) for p, h in zip(windows.pad, windows.highs((height, width)), strict=True)
    ]
    lead = (1,) * (input.ndim - 2)
    return lax.reduce_window(
        (input, jnp.broadcast_to(place, input.shape)),
        (jnp.array(-jnp.inf, input.dtype), jnp.array(height * width, jnp.int32)),
        _first_larger,
        window_dimensions=lead + windows.kernel,
        window_strides=lead + windows.step,
        padding=edges,
        window_dilation=lead + windows.gap,
    )


@_maximum.defjvp
def _maximum_jvp(windows, primals, tangents):
    (primal,), (tangent,) = primals, tangents
    output, indices = _maximum(primal, windows)
    taps = zip(windows.slices(tangent), windows.places(primal.shape[-1]), strict=True)
    moved = sum(jnp.where(indices == place, tap, jnp.zeros_like(tap)) for tap, place in taps)
    return (output, indices), (moved, np.zeros(indices.shape, jax.dtypes.float0))


def _first_larger(a, b):
    """The larger of two (value, place); the first of equals, and the last NaN before any number."""
    (x, i), (y, j) = a, b
    both, earlier = jnp.isnan(x) & jnp.isnan(y), j < i
    second = (y > x) | ((y == x) & earlier) | (jnp.isnan(y) & ~jnp.isnan(x)) | (both & ~earlier)
    return jnp.where(second, y, x), jnp.where(second, j, i)
