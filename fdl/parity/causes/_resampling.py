"""Hypotheses about which pixels make which: pooling, resizing, shuffles, transposed convs."""

import math
from itertools import permutations

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, hypothesis, spread

POOLS = ("max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d")
ADAPTIVE = ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
MODES = {3: ("linear",), 4: ("bilinear", "bicubic"), 5: ("trilinear",)}
"""Modes between pixels, by rank of the input."""


@hypothesis("pooling", *POOLS)
def pooling(call: Call) -> Variants:
    name = call.site.function
    other = name.replace("max", "avg") if "max" in name else name.replace("avg", "max")
    yield f"{other} instead of {name}", _pooled(getattr(F, other))
    if call["ceil_mode"]:
        yield "windows that overhang are left out", lambda c: c.run(ceil_mode=False)
    if "max" in name:
        return
    counted = call["count_include_pad"] is not False
    word = "do not count" if counted else "count"
    yield f"padded zeros {word}", lambda c: c.run(count_include_pad=not counted)
    if call["ceil_mode"] and call["divisor_override"] is None and name != "avg_pool1d":
        yield "every window is divided by its full size, its overhang included", _divided_by_all


def _pooled(function):
    def rewrite(call: Call):
        window = (call["kernel_size"], call["stride"], call["padding"] or 0)
        return function(call["input"], *window, ceil_mode=bool(call["ceil_mode"]))

    return rewrite


def _divided_by_all(call: Call):
    kernel = spread(call["kernel_size"], 3 if call.site.function == "avg_pool3d" else 2)
    return call.run(divisor_override=math.prod(kernel))


@hypothesis("shared ties", "max_pool2d")
def shared_ties(call: Call) -> Variants:
    yield "equal maxima of a window share the gradient; in torch the first has it", _shared


def _shared(call: Call):
    padding = call["padding"] or 0
    kernel = spread(call["kernel_size"], 2)
    stride = spread(call["stride"] or kernel, 2)
    rows, columns = spread(padding, 2)
    padded = F.pad(call["input"], (columns, columns, rows, rows), value=float("-inf"))
    windows = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    return windows.amax((-2, -1))


@hypothesis("pooling", *ADAPTIVE)
def adaptive_maximum(call: Call) -> Variants:
    other = call.site.function.replace("avg", "max")
    yield f"{other} instead of {call.site.function}", lambda c: c.run_as(getattr(F, other))


@hypothesis("adaptive windows", *ADAPTIVE)
def adaptive_windows(call: Call) -> Variants:
    yield "windows of n // m pixels, side by side", _averaged(_equal)
    yield "windows of n - (m - 1) (n // m) pixels, n // m apart", _averaged(_overlapping)
    yield "windows of n / m pixels rounded up, side by side", _averaged(_large)
    yield "both ends of a window are rounded down", _averaged(_rounded(math.floor))
    yield "both ends of a window are rounded up", _averaged(_rounded(math.ceil))
    yield "both ends of a window are rounded", _averaged(_rounded(round))
    if call["input"].ndim in MODES:
        yield "a linear resize instead of means of windows", _resized(antialias=False)
    if call["input"].ndim == 4:
        yield "a linear resize with antialiasing, no means of windows", _resized(antialias=True)


def _equal(i: int, n: int, m: int):
    return i * (n // m), (i + 1) * (n // m)


def _overlapping(i: int, n: int, m: int):
    return i * (n // m), i * (n // m) + n - (m - 1) * (n // m)


def _large(i: int, n: int, m: int):
    return i * -(-n // m), (i + 1) * -(-n // m)


def _rounded(rule):
    return lambda i, n, m: (rule(i * n / m), rule((i + 1) * n / m))


def _averaged(window):
    """Means over ``window(i, n, m)`` along each axis, for output i of m and n pixels."""

    def rewrite(call: Call):
        x, leading = call["input"], call["input"].ndim - _axes(call)
        for axis, m in enumerate(call.run().shape[leading:], leading):
            n = x.shape[axis]
            ends = [window(i, n, m) for i in range(m)]
            means = [x.narrow(axis, a, min(b, n) - a).mean(axis, keepdim=True) for a, b in ends]
            x = torch.cat(means, axis)
        return x

    return rewrite


def _axes(call: Call) -> int:
    return int(call.site.function[-2])


def _resized(*, antialias: bool):
    def rewrite(call: Call):
        mode = MODES[call["input"].ndim][0]
        return F.interpolate(call["input"], call.run().shape[2:], mode=mode, antialias=antialias)

    return rewrite


@hypothesis("align_corners", "interpolate")
def align_corners(call: Call) -> Variants:
    if call["mode"] in MODES[call["input"].ndim]:
        aligned = bool(call["align_corners"])
        place = "the picture's corners" if aligned else "the corner pixels' centres"
        yield f"{place} stay in place", lambda c: c.run(align_corners=not aligned)


@hypothesis("antialiasing", "interpolate")
def antialiasing(call: Call) -> Variants:
    if call["mode"] not in MODES[4]:
        return
    on = bool(call["antialias"])
    words = "no filter widens" if on else "filters widen as jax.image.resize has it"
    yield f"{words} where the image shrinks", lambda c: c.run(antialias=not on)
    if call["align_corners"]:
        yield (
            f"{words}, and the corner pixels do not stay in place",
            lambda c: c.run(antialias=not on, align_corners=False),
        )


@hypothesis("nearest pixel", "interpolate")
def nearest(call: Call) -> Variants:
    if call["mode"] not in ("nearest", "nearest-exact", None):
        return
    exact = call["mode"] == "nearest-exact"
    if exact:
        yield "that of i n / m rounded down, not of (i + 1/2) n / m", _picked(torch.floor)
    else:
        yield "that of the pixels' centres, as jax.image.resize has it", _picked(torch.floor, 0.5)
    yield "the position i n / m is rounded, not cut", _picked(torch.round)
    yield "the position i n / m is rounded, halves up", _picked(lambda x: (x + 0.5).floor())
    yield "the position i n / m is rounded up", _picked(torch.ceil)
    yield "the position is that of aligned corners, rounded", _picked(torch.round, aligned=True)


def _picked(rule, offset: float = 0.0, *, aligned: bool = False):
    def rewrite(call: Call):
        x = call["input"]
        scales = spread(call["scale_factor"] or 0, x.ndim - 2)
        for axis, (m, scale) in enumerate(zip(call.run().shape[2:], scales, strict=True), 2):
            n = x.shape[axis]
            step = (n - 1) / max(m - 1, 1) if aligned else n / m
            if scale and not call["recompute_scale_factor"] and not aligned:
                step = 1 / scale
            place = rule((torch.arange(m, dtype=torch.float64) + offset) * step)
            x = x.index_select(axis, place.long().clamp(0, n - 1))
        return x

    return rewrite


@hypothesis("scale factor", "interpolate")
def scale_factor(call: Call) -> Variants:
    if call["scale_factor"] is not None:
        recomputed = bool(call["recompute_scale_factor"])
        words = "the factor given" if recomputed else "the ratio of the sizes, not the factor given"
        yield f"pixels are {words} apart", lambda c: c.run(recompute_scale_factor=not recomputed)


@hypothesis("interpolation", "interpolate")
def interpolation(call: Call) -> Variants:
    given = call["mode"] or "nearest"
    for mode in ("nearest", *MODES[call["input"].ndim], "area"):
        if mode != given:
            yield f"{mode} instead of {given}", _in_mode(mode)


def _in_mode(mode: str):
    return lambda c: c.run(mode=mode, align_corners=None, antialias=False)


@hypothesis(
    *("padding of a transposed convolution", "conv_transpose1d", "conv_transpose2d"),
    "conv_transpose3d",
)
def cropped(call: Call) -> Variants:
    for shift in (-1, 1, -2, 2):
        pixels = "one pixel" if abs(shift) == 1 else f"{abs(shift)} pixels"
        side = "before" if shift < 0 else "after"
        yield f"the output begins {pixels} {side} torch's: padding at another side", _moved(shift)


def _moved(shift: int):
    """The part of the full output that begins elsewhere."""

    def rewrite(call: Call):
        x, bias = call["input"], call["bias"]
        axes = x.ndim - 2
        full = call.run(padding=0, output_padding=0, bias=None)
        sizes = call.run().shape[2:]
        pads: list[int] = []
        starts = [padding + shift for padding in spread(call["padding"] or 0, axes)]
        for start, size, given in zip(starts, sizes, full.shape[2:], strict=True):
            pads = [-start, start + size - given, *pads]
        y = F.pad(full, pads)
        return y if bias is None else y + bias.reshape(-1, *(1 for _ in range(axes)))

    return rewrite


PARTS = ("channels", "rows", "columns")


@hypothesis("order of shuffled channels", "pixel_shuffle", "pixel_unshuffle")
def shuffled(call: Call) -> Variants:
    change = _read if call.site.function == "pixel_shuffle" else _written
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            spelled = ", ".join(PARTS[part] for part in order)
            yield f"channels stand for ({spelled}), not ({', '.join(PARTS)})", change(order)


def _read(order: tuple[int, ...]):
    """The input's channels are split in this order."""

    def rewrite(call: Call):
        x, r = call["input"], call["upscale_factor"]
        sizes = (x.shape[-3] // r**2, r, r)
        parts = x.unflatten(-3, [sizes[part] for part in order])
        back = [order.index(part) - 5 for part in range(3)]
        return call.run(input=parts.movedim(back, (-5, -4, -3)).flatten(-5, -3))

    return rewrite


def _written(order: tuple[int, ...]):
    """The output's channels are joined in this order."""

    def rewrite(call: Call):
        y, r = call.run(), call["downscale_factor"]
        parts = y.unflatten(-3, (y.shape[-3] // r**2, r, r))
        return parts.movedim([part - 5 for part in order], (-5, -4, -3)).flatten(-5, -3)

    return rewrite


@hypothesis("order of shuffled channels", "channel_shuffle")
def shuffled_groups(call: Call) -> Variants:
    yield "the channels stay where they are", lambda c: c["input"]
    yield (
        "as many channels in a group as torch has groups",
        lambda c: c.run(groups=c["input"].shape[1] // c["groups"]),
    )


RESAMPLING: list[Hypothesis] = [
    pooling,
    shared_ties,
    adaptive_maximum,
    adaptive_windows,
    align_corners,
    antialiasing,
    nearest,
    scale_factor,
    interpolation,
    cropped,
    shuffled,
    shuffled_groups,
]
