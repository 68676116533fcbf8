"""Convolution layers."""

import math
from typing import ClassVar

from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.functional._spatial import Size, positive_per_axis
from fdl.functional.conv import explicit_padding
from fdl.functional.pad import extended
from fdl.nn import init
from fdl.nn._module import Dtype, Module, parameter, value_or_none

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
_FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class _Conv(Module):
    """What convolutions of every rank share."""

    _dims: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        name = type(self).__name__
        check_groups(name, groups, in_channels, out_channels)
        if padding_mode not in _PADDING_MODES:
            expected = ", ".join(map(repr, _PADDING_MODES))
            raise ValueError(f"{name}: padding_mode: expected {expected}, got {padding_mode!r}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = positive_per_axis(name, "kernel_size", kernel_size, self._dims)
        self.stride = positive_per_axis(name, "stride", stride, self._dims)
        self.dilation = positive_per_axis(name, "dilation", dilation, self._dims)
        self.pads = explicit_padding(name, padding, self.kernel_size, self.stride, self.dilation)
        self.padding = padding if isinstance(padding, str) else tuple(p for p, _ in self.pads)
        self.groups = groups
        self.padding_mode = padding_mode
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        draw = init.uniform(init.default_bound(math.prod(shape[1:])))
        self.weight = parameter(rngs.params(), draw, shape, dtype)
        self.bias = parameter(rngs.params(), draw, (out_channels,), dtype) if bias else None

    def __call__(self, input: Float[Array, "..."]) -> Float[Array, "..."]:
        """Maps a batch ``(N, in_channels, ...)``, or one input ``(in_channels, ...)``."""
        padded, padding = input, self.padding
        if self.padding_mode != "zeros":
            padded = extended(type(self).__name__, input, self.pads, self.padding_mode)
            padding = 0
        return _FUNCTIONS[self._dims](
            padded,
            self.weight[...],
            value_or_none(self.bias),
            self.stride,
            padding,
            self.dilation,
            self.groups,
        )


class Conv1d(_Conv):
    """Correlates sequences ``(N, C, L)`` with learnt filters; otherwise as :class:`Conv2d`.

    Torch: ``torch.nn.Conv1d``; `rngs` instead of a global generator.
    """

    _dims = 1


class Conv2d(_Conv):
    r"""Correlates images with learnt filters; see :func:`fdl.functional.conv2d`.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: window, in pixels: one number, or (height, width).
        stride: step of the window.
        padding: pixels added on both sides; or ``"valid"`` or ``"same"``.
        dilation: distance between filter taps.
        groups: number of groups that channels are split into.
        bias: whether to add a learnt number to each output channel.
        padding_mode: what is added: ``"zeros"``, or as in :func:`fdl.functional.pad`.
        dtype: of the parameters.
        rngs: draws the parameters.

    Attributes:
        weight: ``(out_channels, in_channels / groups, KH, KW)``.
        bias: ``(out_channels,)``, or None.

    Raises:
        ValueError: if the channels are not divisible by `groups`, or `padding_mode` is unknown.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.Conv2d(3, 16, kernel_size=3, padding=1, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((8, 3, 32, 32))).shape
        (8, 16, 32, 32)

    Torch: ``torch.nn.Conv2d``; `rngs` instead of a global generator.
    """

    _dims = 2


class Conv3d(_Conv):
    """Correlates volumes ``(N, C, D, H, W)`` with learnt filters; otherwise as :class:`Conv2d`.

    Torch: ``torch.nn.Conv3d``; `rngs` instead of a global generator.
    """

    _dims = 3


def check_groups(layer: str, groups: int, in_channels: int, out_channels: int) -> None:
    """Checks that both channels divide into groups.

    Raises:
        ValueError: if they do not.
    """
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{layer}: groups: expected a divisor of in_channels={in_channels} and "
            f"out_channels={out_channels}, got {groups}."
        )
