"""How a CPU computes convolutions: the choice among formulations.

oneDNN's, where a program may call it, are what torch computes with. Of its time Winograd's take
0.78 to 0.92 where filters and windows are many (3x3 over 64 channels of four 56x56 images to 384
channels of eight 13x13 ones), but 1.3 to 1.4 on small maps (16x16 and 8x8 of sixteen images).

XLA's own loops are good at large maps with few channels, and fall off a cliff where windows are
few: a 3x3 filter over 512 channels of a 2x2 map takes 40 times as long as the same matrix product,
a filter of single channels 10 to 30 times as long as multiply-adds. The thresholds among the rest
come from the layers of ResNet-18, MobileNetV2, AlexNet and small networks, float32, channels last
as networks have them, on two AVX-512 cores. There, of the library's, patches' and Winograd's times,
3x3 over 64 channels of 56x56 takes 4.0, 5.0 and 2.3 ms, its weights' gradient 7.1, 6.0 and 5.8;
with a stride of 2, 2.1 and 2.0 ms, and the gradient 2.9 and 2.3.

The gradients of filters of more than 9 taps are oneDNN's: of the better of the library's and
patches' time they take 0.49 for AlexNet's first layer, 0.54 for ResNet's, 0.77 for 5x5 over 64
channels, 0.45 for 7x7 over 32, 0.91 for 4x4 over 256 with a stride of 2; in three of 19 shapes they
take longer, 1.1 to 1.3 (patches as far apart as they are wide, 5x5 over 256 channels of 4x4).

On Intel's cores Winograd's take 1.1 to 1.5 times oneDNN's time on ResNet's layers and forward on
AlexNet's (0.7 to 0.9 for the gradients of AlexNet's inputs), so it is oneDNN's or, where filters
are more than windows, a product of patches (0.42 to 0.56 of it for 512 filters of 2x2 maps).
Weights' gradients by oneDNN take 0.25 to 0.44 of the time of XLA's loops for more than 9 taps, and
0.54 of Winograd's for 64 channels of sixteen 16x16 images, but 1.2 to 2.6 times Winograd's over
more or fewer windows or images.

Strided windows of more than 9 taps give their inputs' gradient, which transposed convolutions
compute, in phases: of the library's time 4x4 over 16 channels takes 0.31, over 64 channels 0.73,
and from 3 channels to 64, as images are generated, 0.19; to 3 channels or 1 it would be 1.7 to 3.8.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fdl._processor import is_intel
from fdl.functional._convolution import depthwise, direct, onednn, patches, phases, winograd
from fdl.functional._convolution.geometry import Geometry
from fdl.functional._formulations import forced_of

_FORMULATIONS = {
    "library": direct,
    "patches": patches,
    "winograd": winograd,
    "taps": depthwise,
    "onednn": onednn,
    "phases": phases,
}


class Shapes(NamedTuple):
    """What is known of a convolution before it runs.

    Attributes:
        input: ``(N, C, *size)``.
        weight: ``(O, C / groups, *kernel)``.
        geometry: how the filters go over the input.
        dtype: of both.
        of: what is computed: ``"output"``, or the gradient of the ``"input"`` or the ``"weight"``.
        onednn: whether the program may call oneDNN.
        intel: whether the CPU is one of Intel's.
    """

    input: tuple[int, ...]
    weight: tuple[int, ...]
    geometry: Geometry
    dtype: jnp.dtype
    of: str = "output"
    onednn: bool = False
    intel: bool = False

    @property
    def kernel(self) -> tuple[int, ...]:
        """The filters' spatial shape."""
        return self.weight[2:]

    @property
    def windows(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        return self.geometry.windows(self.input[2:], self.kernel)

    @property
    def pixels(self) -> int:
        """The windows of all images."""
        return self.input[0] * prod(self.windows)

    @property
    def apart(self) -> bool:
        """Whether filters see single channels of many."""
        return self.weight[1] == 1 and self.geometry.groups > 1

    @property
    def strided(self) -> bool:
        """Whether windows are further than a pixel apart."""
        return prod(self.geometry.stride) > 1


def correlate(
    input: jax.Array, weight: jax.Array, *, geometry: Geometry, onednn: bool = False
) -> jax.Array:
    """Correlates inputs with filters."""
    how = _module(Shapes(input.shape, weight.shape, geometry, input.dtype, "output", onednn))
    return how.correlate(input, weight, geometry=geometry)


def pull_input(
    output: jax.Array,
    weight: jax.Array,
    *,
    geometry: Geometry,
    size: Sequence[int],
    onednn: bool = False,
) -> jax.Array:
    """Pulls a cotangent of the output back to inputs of some size."""
    shape = (output.shape[0], weight.shape[1] * geometry.groups, *size)
    how = _module(Shapes(shape, weight.shape, geometry, output.dtype, "input", onednn))
    options = {"unstrided": partial(pull_input, onednn=onednn)} if how is phases else {}
    return how.pull_input(output, weight, geometry=geometry, size=size, **options)


def pull_weight(
    input: jax.Array,
    output: jax.Array,
    *,
    geometry: Geometry,
    kernel: Sequence[int],
    onednn: bool = False,
) -> jax.Array:
    """Pulls a cotangent of the output back to filters of some size."""
    shape = (output.shape[1], input.shape[1] // geometry.groups, *kernel)
    how = _module(Shapes(input.shape, shape, geometry, input.dtype, "weight", onednn))
    return how.pull_weight(input, output, geometry=geometry, kernel=kernel)


def chosen(shapes: Shapes) -> str:
    """The formulation for some shapes, or the one that is forced if it can compute them."""
    name = forced_of("convolution") or preferred(shapes)
    return name if possible(name, shapes) else "library"


def possible(name: str, shapes: Shapes) -> bool:
    """Whether a formulation can compute some shapes; the library can compute all.

    Winograd's is kept from single channels, as of scanned digits: neighbouring windows often see
    one and the same lone pixel there. Their sums tie, and the maximum is the first of them, but
    Winograd's rounding would tell them apart.
    """
    geometry = shapes.geometry
    if 0 in (*shapes.input, *shapes.weight, shapes.pixels):
        return name == "library"
    if name == "onednn":
        float32 = jnp.dtype(shapes.dtype) == "float32"
        return shapes.onednn and float32 and _onednn_pads(shapes)
    if name == "taps":
        return shapes.weight[:2] == (geometry.groups, 1)
    if name == "phases":
        return shapes.of == "input" and shapes.strided
    if name == "winograd":
        plain = geometry._replace(padding=()) == Geometry((1, 1), (), (1, 1))
        return plain and shapes.kernel == (3, 3) and min(shapes.weight[:2]) > 1
    return name == "library" or geometry.groups == 1


def _onednn_pads(shapes: Shapes) -> bool:
    """Whether oneDNN takes the padding: zeros, fewer than a window is wide."""
    padding, kernel, geometry = shapes.geometry.padding, shapes.kernel, shapes.geometry
    if shapes.of == "weight":
        if geometry.groups > 1:
            return False
        padding = onednn.weight_padding(shapes.input[2:], shapes.windows, kernel, geometry)
        kernel, geometry = shapes.windows, geometry._replace(dilation=geometry.stride)
    pads = zip(padding, onednn.reach(kernel, geometry), strict=True)
    return all(0 <= pad <= reach for both, reach in pads for pad in both)


def preferred(shapes: Shapes) -> str:
    """The fastest formulation, as far as shapes tell.

    Shorter floats than float32 are added up by the library, which keeps more digits meanwhile; and
    Winograd's small loss of digits is for float32 alone. In float64, for which XLA has nothing but
    plain loops, patches take 0.4 to 1.35 times the library's time, 0.8 times over seven layers;
    where programs are not optimised, comparing an AlexNet with torch's takes 12 s instead of 38.
    """
    digits = jnp.dtype(shapes.dtype).itemsize
    if digits < 4:
        return "library"
    if possible("onednn", shapes) and _suits_onednn(shapes):
        return "onednn"
    if shapes.apart:
        return "taps"
    if digits > 4:
        return "patches"
    inside, fewest, taps = shapes.weight[1], min(shapes.weight[:2]), prod(shapes.kernel)
    if taps == 1 or (shapes.strided and taps <= 9) or shapes.pixels <= shapes.weight[0]:
        return "patches"
    if possible("phases", shapes) and inside >= 16:
        return "phases"
    of_weight, quick = shapes.of == "weight", shapes.onednn  # so are products over many rows
    enough = fewest >= (64 if of_weight and not quick else 32)
    if enough and possible("winograd", shapes):
        return "winograd"
    if of_weight and not shapes.strided and (1 - quick) < inside <= 32:
        return "patches"
    return "library"


def _suits_onednn(shapes: Shapes) -> bool:
    """Whether oneDNN is faster than what a CPU has beside it.

    It is not where a product of all pixels does it, where Winograd's saves more than it costs, and
    where it would see three zeros for each number, as behind a stride of 2; nor on Intel's cores
    where filters are more than windows. Weights' gradients it computes of large filters, and on
    Intel's cores of smaller ones where many images have few windows.
    """
    taps = prod(shapes.kernel)
    if shapes.of == "weight":
        few = taps > 1 and not shapes.strided and 512 <= shapes.pixels <= 4096
        return taps > 9 or (shapes.intel and few and shapes.input[0] >= 16)
    if shapes.apart:
        return True
    if taps == 1 if not shapes.strided else shapes.of == "input":
        return False
    if shapes.intel:
        return shapes.pixels >= shapes.weight[0]
    work, fewest = shapes.pixels * prod(shapes.weight[:2]), min(shapes.weight[:2])
    much = fewest >= 64 and shapes.pixels >= 512 and work >= 2**25
    return not (much and possible("winograd", shapes))


def _module(shapes: Shapes) -> ModuleType:
    return _FORMULATIONS[chosen(shapes._replace(intel=is_intel()))]
