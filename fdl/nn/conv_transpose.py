"""Transposed convolution layers."""

import math
from collections.abc import Sequence
from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl._checks import check_ndim
from fdl.functional._spatial import Size, layouts, positive_per_axis
from fdl.functional.conv_transpose import padding_per_axis
from fdl.nn import init
from fdl.nn._module import Dtype, Module, parameter, value_or_none
from fdl.nn.conv import check_groups

_FUNCTIONS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _ConvTranspose(Module):
    """What transposed convolutions of every rank share."""

    _dims: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        name, dims = type(self).__name__, self._dims
        check_groups(name, groups, in_channels, out_channels)
        if padding_mode != "zeros":
            raise ValueError(f"{name}: padding_mode: expected 'zeros', got {padding_mode!r}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = positive_per_axis(name, "kernel_size", kernel_size, dims)
        self.stride = positive_per_axis(name, "stride", stride, dims)
        self.padding = padding_per_axis(name, "padding", padding, dims)
        self.output_padding = padding_per_axis(name, "output_padding", output_padding, dims)
        self.dilation = positive_per_axis(name, "dilation", dilation, dims)
        self.groups = groups
        self.padding_mode = padding_mode
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        draw = init.uniform(init.default_bound(math.prod(shape[1:])))
        self.weight = parameter(rngs.params(), draw, shape, dtype)
        self.bias = parameter(rngs.params(), draw, (out_channels,), dtype) if bias else None

    def __call__(
        self, input: Float[Array, "..."], output_size: Sequence[int] | None = None
    ) -> Float[Array, "..."]:
        """Maps a batch ``(N, in_channels, ...)``, or one input ``(in_channels, ...)``.

        Args:
            input: what to spread.
            output_size: the output's spatial size, or its whole shape, where the stride leaves a
                choice; it then takes the place of `output_padding`.
        """
        extra = self.output_padding
        if output_size is not None:
            extra = self._extra(input, tuple(output_size))
        return _FUNCTIONS[self._dims](
            input,
            self.weight[...],
            value_or_none(self.bias),
            self.stride,
            self.padding,
            extra,
            self.groups,
            self.dilation,
        )

    def _extra(self, input: Array, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives the wanted size."""
        name, dims = type(self).__name__, self._dims
        check_ndim(name, "input", input, expected=layouts(dims))
        if len(wanted) == input.ndim:
            wanted = wanted[-dims:]
        axes = zip(
            input.shape[-dims:],
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            strict=True,
        )
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in axes]
        most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
        if len(wanted) != dims or any(
            not low <= n <= high for n, low, high in zip(wanted, least, most, strict=True)
        ):
            raise ValueError(
                f"{name}: output_size: expected {dims} numbers from {least} to {most} for an "
                f"input of shape {input.shape}, got {wanted}. Another size needs another stride."
            )
        return tuple(n - low for n, low in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTranspose):
    """Spreads sequences ``(N, C, L)`` by learnt filters; otherwise as :class:`ConvTranspose2d`.

    Torch: ``torch.nn.ConvTranspose1d``; `rngs` instead of a global generator.
    """

    _dims = 1


class ConvTranspose2d(_ConvTranspose):
    """Spreads images by learnt filters; see :func:`fdl.functional.conv_transpose2d`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: window, in pixels: one number, or (height, width).
        stride: distance between the windows of neighbouring pixels.
        padding: pixels taken off both sides of the output.
        output_padding: pixels added to the high side.
        groups: number of groups that channels are split into.
        bias: whether to add a learnt number to each output channel.
        dilation: distance between filter taps.
        padding_mode: only ``"zeros"``.
        dtype: of the parameters.
        rngs: draws the parameters.

    Attributes:
        weight: ``(in_channels, out_channels / groups, KH, KW)``; torch draws it within the bound
            of `out_channels / groups`, not of the channels that are summed over.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: if arguments do not fit each other.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.ConvTranspose2d(3, 5, kernel_size=2, stride=2, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((8, 3, 16, 16))).shape
        (8, 5, 32, 32)
        >>> layer(jnp.ones((8, 3, 16, 16)), output_size=(33, 32)).shape
        (8, 5, 33, 32)

    Torch: ``torch.nn.ConvTranspose2d``; `rngs` instead of a global generator.
    """

    _dims = 2


class ConvTranspose3d(_ConvTranspose):
    """Spreads volumes ``(N, C, D, H, W)`` by learnt filters; otherwise as `ConvTranspose2d`.

    Torch: ``torch.nn.ConvTranspose3d``; `rngs` instead of a global generator.
    """

    _dims = 3
