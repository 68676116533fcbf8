"""Padding layers: see :func:`fdl.functional.pad`."""

from typing import ClassVar

from jaxtyping import Array, Shaped

import fdl.functional as F
from fdl.functional._spatial import Size, per_axis
from fdl.nn._module import Module


class _Pad(Module):
    """A layer that pads `_dims` axes in torch's mode `_mode`.

    Args:
        padding: one number for all sides, or two for each axis, the last axis first.

    Raises:
        ValueError: if there are not two numbers for each axis; on the call, if they do not fit the
            input. Torch would pad fewer or more axes than the layer's name says.
    """

    _dims: ClassVar[int]
    _mode: ClassVar[str]

    def __init__(self, padding: Size):
        self.padding = per_axis(type(self).__name__, "padding", padding, 2 * self._dims)

    def __call__(self, input: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """Pads ``(N, C, ...)`` or ``(C, ...)``."""
        return F.pad(input, self.padding, self._mode)


class _ConstantPad(Module):
    """A layer that pads `_dims` axes by one value.

    Args:
        padding: one number for all sides, or two for each axis, the last axis first.
        value: the new elements.
    """

    _dims: ClassVar[int]

    def __init__(self, padding: Size, value: float):
        self.padding = per_axis(type(self).__name__, "padding", padding, 2 * self._dims)
        self.value = value

    def __call__(self, input: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """Pads the last axes of an input of any rank."""
        return F.pad(input, self.padding, "constant", self.value)


class ReflectionPad1d(_Pad):
    """Mirrors sequences ``(N, C, L)`` about their edges.

    `padding` is one number or ``(left, right)``.

    Torch: ``torch.nn.ReflectionPad1d``; refuses another number of numbers.
    """

    _dims = 1
    _mode = "reflect"


class ReflectionPad2d(_Pad):
    """Mirrors images ``(N, C, H, W)`` about their edges.

    `padding` is one number or ``(left, right, top, bottom)``.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.ReflectionPad2d((1, 1, 0, 0))(jnp.arange(6).reshape(1, 2, 3)).tolist()
        [[[1, 0, 1, 2, 1], [4, 3, 4, 5, 4]]]

    Torch: ``torch.nn.ReflectionPad2d``; refuses another number of numbers.
    """

    _dims = 2
    _mode = "reflect"


class ReflectionPad3d(_Pad):
    """Mirrors volumes ``(N, C, D, H, W)`` about their edges.

    `padding` is one number or ``(left, right, top, bottom, front, back)``.

    Torch: ``torch.nn.ReflectionPad3d``; refuses another number of numbers.
    """

    _dims = 3
    _mode = "reflect"


class ReplicationPad1d(_Pad):
    """Repeats the edges of sequences ``(N, C, L)``.

    `padding` is one number or ``(left, right)``.

    Torch: ``torch.nn.ReplicationPad1d``; refuses another number of numbers.
    """

    _dims = 1
    _mode = "replicate"


class ReplicationPad2d(_Pad):
    """Repeats the edges of images ``(N, C, H, W)``.

    `padding` is one number or ``(left, right, top, bottom)``.

    Torch: ``torch.nn.ReplicationPad2d``; refuses another number of numbers.
    """

    _dims = 2
    _mode = "replicate"


class ReplicationPad3d(_Pad):
    """Repeats the edges of volumes ``(N, C, D, H, W)``.

    `padding` is one number or ``(left, right, top, bottom, front, back)``.

    Torch: ``torch.nn.ReplicationPad3d``; refuses another number of numbers.
    """

    _dims = 3
    _mode = "replicate"


class CircularPad1d(_Pad):
    """Pads sequences ``(N, C, L)`` by their opposite sides.

    `padding` is one number or ``(left, right)``.

    Torch: ``torch.nn.CircularPad1d``; refuses another number of numbers.
    """

    _dims = 1
    _mode = "circular"


class CircularPad2d(_Pad):
    """Pads images ``(N, C, H, W)`` by their opposite sides.

    `padding` is one number or ``(left, right, top, bottom)``.

    Torch: ``torch.nn.CircularPad2d``; refuses another number of numbers.
    """

    _dims = 2
    _mode = "circular"


class CircularPad3d(_Pad):
    """Pads volumes ``(N, C, D, H, W)`` by their opposite sides.

    `padding` is one number or ``(left, right, top, bottom, front, back)``.

    Torch: ``torch.nn.CircularPad3d``; refuses another number of numbers.
    """

    _dims = 3
    _mode = "circular"


class ConstantPad1d(_ConstantPad):
    """Pads sequences ``(N, C, L)`` by one value.

    `padding` is one number or ``(left, right)``.

    Torch: ``torch.nn.ConstantPad1d``; refuses another number of numbers.
    """

    _dims = 1


class ConstantPad2d(_ConstantPad):
    """Pads images ``(N, C, H, W)`` by one value.

    `padding` is one number or ``(left, right, top, bottom)``.

    Torch: ``torch.nn.ConstantPad2d``; refuses another number of numbers.
    """

    _dims = 2


class ConstantPad3d(_ConstantPad):
    """Pads volumes ``(N, C, D, H, W)`` by one value.

    `padding` is one number or ``(left, right, top, bottom, front, back)``.

    Torch: ``torch.nn.ConstantPad3d``; refuses another number of numbers.
    """

    _dims = 3


class ZeroPad1d(ConstantPad1d):
    """Pads sequences ``(N, C, L)`` by zeros.

    `padding` is one number or ``(left, right)``.

    Torch: ``torch.nn.ZeroPad1d``; refuses another number of numbers.
    """

    def __init__(self, padding: Size):
        super().__init__(padding, 0.0)


class ZeroPad2d(ConstantPad2d):
    """Pads images ``(N, C, H, W)`` by zeros.

    `padding` is one number or ``(left, right, top, bottom)``.

    Torch: ``torch.nn.ZeroPad2d``; refuses another number of numbers.
    """

    def __init__(self, padding: Size):
        super().__init__(padding, 0.0)


class ZeroPad3d(ConstantPad3d):
    """Pads volumes ``(N, C, D, H, W)`` by zeros.

    `padding` is one number or ``(left, right, top, bottom, front, back)``.

    Torch: ``torch.nn.ZeroPad3d``; refuses another number of numbers.
    """

    def __init__(self, padding: Size):
        super().__init__(padding, 0.0)
