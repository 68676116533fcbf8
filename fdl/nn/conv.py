"""Convolution layers."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.functional._spatial import Size, positive_per_axis
from fdl.functional.conv import explicit_padding
from fdl.nn import init
from fdl.nn._module import Dtype, Module, parameter, value_or_none

_PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


class Conv2d(Module):
    r"""Correlates images with learnt filters; see :func:`fdl.functional.conv2d`.

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
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: groups: expected a divisor of in_channels={in_channels} and "
                f"out_channels={out_channels}, got {groups}."
            )
        if padding_mode not in {"zeros", *_PAD_MODES}:
            expected = ", ".join(map(repr, ["zeros", *_PAD_MODES]))
            raise ValueError(f"Conv2d: padding_mode: expected {expected}, got {padding_mode!r}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = positive_per_axis("Conv2d", "kernel_size", kernel_size, 2)
        self.stride = positive_per_axis("Conv2d", "stride", stride, 2)
        self.dilation = positive_per_axis("Conv2d", "dilation", dilation, 2)
        self.padding = padding
        self.pads = explicit_padding(
            "Conv2d", padding, self.kernel_size, self.stride, self.dilation
        )
        self.groups = groups
        self.padding_mode = padding_mode
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        draw = init.uniform(init.default_bound(math.prod(shape[1:])))
        self.weight = parameter(rngs.params(), draw, shape, dtype)
        self.bias = parameter(rngs.params(), draw, (out_channels,), dtype) if bias else None

    def __call__(self, input: Float[Array, "*N C H W"]) -> Float[Array, "*N O H2 W2"]:
        """Maps images ``(N, C, H, W)``, or one image ``(C, H, W)``."""
        padded, padding = input, self.padding
        if self.padding_mode != "zeros":
            self._check_room(input.shape)
            widths = (*((0, 0),) * (input.ndim - 2), *self.pads)
            padded, padding = jnp.pad(input, widths, _PAD_MODES[self.padding_mode]), 0
        return F.conv2d(
            padded,
            self.weight[...],
            value_or_none(self.bias),
            self.stride,
            padding,
            self.dilation,
            self.groups,
        )

    def _check_room(self, shape: tuple[int, ...]) -> None:
        """Checks that the input holds the pixels that reflection or wrapping repeats."""
        spare = {"reflect": 1, "circular": 0}.get(self.padding_mode)
        largest = tuple(map(max, self.pads))
        if spare is not None and any(
            p + spare > n for p, n in zip(largest, shape[-2:], strict=True)
        ):
            raise ValueError(
                f"Conv2d: padding: expected at most {tuple(n - spare for n in shape[-2:])} for an "
                f"input of shape {shape} and padding_mode={self.padding_mode!r}, got {largest}."
            )
