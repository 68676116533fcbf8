"""Pooling: what torch's table lacks, generated cases, and bad calls."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import torch
from hypothesis import strategies as st

import fdl.functional as F
from fdl import nn
from samples.refusal import refused
from samples.sample import Sample

NAN, INF = math.nan, math.inf


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers, no two of them equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def ties(*shape: int, seed: int = 0) -> torch.Tensor:
    """Small whole numbers, so that windows have several maxima, and zeros of both signs."""
    return (normal(*shape, seed=seed) * 1.3).round().detach().requires_grad_()


def extreme(*shape: int) -> torch.Tensor:
    """Ties, infinities and NaN; one channel is minus infinity all over."""
    x = ties(*shape).detach()
    chosen = normal(*shape, seed=1).detach()
    x[chosen > 1.5] = NAN
    x[chosen < -1.2] = -INF
    x[(chosen > 0) & (chosen < 0.1)] = INF
    x[:, 0] = -INF
    return x.requires_grad_()


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def of(name: str, x: torch.Tensor, label: str, **options: Any) -> Sample:
    return Sample(name, (), options, (x,), label=label)


def unpooled(x: torch.Tensor, kernel: Any, label: str, *, size: bool = False, **pooling: Any):
    """Unpooling of what torch has pooled, without or with the size that was pooled."""
    dims = x.ndim - (1 if label == "one" else 2)
    pool = getattr(torch.nn.functional, f"max_pool{dims}d")
    output, indices = pool(x.detach(), kernel, **pooling, return_indices=True)
    named = {"output_size": tuple(x.shape[-dims:])} if size else {}
    given = {k: v for k, v in pooling.items() if k in ("stride", "padding")}
    inputs = (output.requires_grad_(), indices)
    return Sample(f"MaxUnpool{dims}d", (kernel,), given, inputs, named, label)


MAX = {"return_indices": True}
SAMPLES: list[Sample] = [
    of("MaxPool1d", extreme(2, 3, 9), "extreme", kernel_size=3, stride=2, **MAX),
    of("MaxPool2d", extreme(2, 3, 5, 6), "extreme", kernel_size=3, stride=1, padding=1, **MAX),
    of("MaxPool3d", extreme(1, 2, 5, 4, 4), "extreme", kernel_size=(3, 2, 2), stride=2, **MAX),
    of("MaxPool2d", ties(1, 2, 9, 8), "many taps", kernel_size=(5, 4), stride=2, padding=2, **MAX),
    of("MaxPool3d", ties(1, 1, 6, 7, 6), "dilated", kernel_size=2, dilation=(2, 3, 1), **MAX),
    of("max_pool1d", ties(2, 11), "one", kernel_size=3, stride=2, padding=1, ceil_mode=True),
    of("max_pool2d", ties(0, 2, 4, 4), "no batch", kernel_size=2),
    of("max_pool3d", ties(2, 3, 3, 4), "one", kernel_size=2, ceil_mode=True, **MAX),
    of("avg_pool1d", normal(2, 3, 9), "overhang", kernel_size=4, stride=3, ceil_mode=True),
    of(
        "AvgPool2d",
        extreme(2, 3, 5, 6),
        "extreme",
        kernel_size=3,
        stride=2,
        padding=1,
        ceil_mode=True,
        count_include_pad=False,
    ),
    of("avg_pool2d", normal(0, 2, 4, 4), "no batch", kernel_size=2),
    of("avg_pool3d", normal(2, 4, 5, 5), "one", kernel_size=(2, 3, 2), stride=2, ceil_mode=True),
    of("AvgPool2d", normal(1, 2, 5, 5), "negative", kernel_size=2, divisor_override=-2),
    of("AdaptiveAvgPool1d", normal(2, 3, 4), "larger", output_size=7),
    of("AdaptiveAvgPool2d", extreme(2, 3, 5, 7), "extreme", output_size=(3, 2)),
    of("AdaptiveAvgPool2d", normal(2, 3, 5, 4).detach(), "nothing", output_size=(0, 2)),
    of("adaptive_avg_pool3d", normal(2, 5, 4, 3), "one", output_size=(2, None, 5)),
    of("AdaptiveMaxPool1d", ties(2, 3, 7), "ties", output_size=3, **MAX),
    of("AdaptiveMaxPool2d", extreme(2, 3, 5, 7), "extreme", output_size=(3, 2), **MAX),
    of("AdaptiveMaxPool2d", extreme(2, 3, 6, 4), "divides", output_size=2, **MAX),
    of("AdaptiveMaxPool3d", extreme(1, 2, 5, 3, 4), "extreme", output_size=(2, 5, None), **MAX),
    of("adaptive_max_pool1d", ties(3, 4), "larger", output_size=6),
    of("adaptive_max_pool2d", ties(0, 3, 5, 4), "no batch", output_size=2),
    of("LPPool1d", ties(2, 3, 8), "sum", norm_type=1, kernel_size=3, ceil_mode=True),
    of(
        "LPPool2d",
        torch.zeros(2, 2, 4, 4, dtype=torch.float64, requires_grad=True),
        "zeros",
        norm_type=2,
        kernel_size=2,
    ),
    of("LPPool2d", ties(2, 2, 5, 6), "overhang", norm_type=2, kernel_size=2, ceil_mode=True),
    of("LPPool2d", ties(2, 2, 5, 6), "odd", norm_type=3, kernel_size=2, stride=1),
    of("LPPool2d", uniform(2, 2, 4, 4).requires_grad_(), "root", norm_type=0.5, kernel_size=2),
    of("LPPool2d", normal(2, 2, 4, 4), "negative", norm_type=-2, kernel_size=2),
    of("LPPool2d", ties(2, 2, 5, 6), "maximum", norm_type=INF, kernel_size=2, stride=1),
    of("LPPool3d", ties(1, 2, 4, 4, 4), "minimum", norm_type=-INF, kernel_size=2),
    unpooled(normal(2, 3, 9), 2, "", size=True),
    unpooled(normal(2, 3, 5, 6), 3, "padded", stride=2, padding=1, size=True),
    unpooled(normal(3, 4, 6), 2, "one"),
    unpooled(normal(2, 2, 5, 4, 4), (2, 2, 1), "size", size=True),
    unpooled(normal(2, 2, 5, 5), 3, "shared places", stride=1),
    of(
        "FractionalMaxPool2d",
        extreme(2, 3, 8, 7),
        "extreme",
        kernel_size=(3, 2),
        output_size=(4, 5),
        _random_samples=uniform(2, 3, 2),
        **MAX,
    ),
    of(
        "fractional_max_pool2d", ties(2, 5, 6), "fits", kernel_size=2, output_size=(4, 1), **MAX
    )._replace(named={"_random_samples": uniform(1, 2, 2)}),
    of(
        "FractionalMaxPool3d",
        extreme(2, 2, 6, 5, 5),
        "extreme",
        kernel_size=2,
        output_ratio=(0.5, 0.7, 0.5),
        _random_samples=uniform(2, 2, 3),
        **MAX,
    ),
]


@st.composite
def shapes(draw: st.DrawFn, dims: int, least: Sequence[int]) -> tuple[int, ...]:
    """An input's shape, with or without a batch, at least so large."""
    room = {1: 7, 2: 5, 3: 3}[dims]
    plane = [draw(st.integers(n, n + room)) for n in least]
    batch = draw(st.sampled_from([(), (0,), (1,), (2,)]))
    return (*batch, draw(st.integers(1, 2)), *plane)


def each(draw: st.DrawFn, dims: int, low: int, high: int) -> Any:
    """One number, or one for each axis."""
    numbers = st.integers(low, high)
    return draw(st.one_of(numbers, st.tuples(*[numbers] * dims)))


def spread(size: Any, dims: int) -> tuple[int, ...]:
    return (size,) * dims if isinstance(size, int) else size


@st.composite
def max_pools(draw: st.DrawFn) -> Sample:
    dims = draw(st.integers(1, 3))
    kernel, dilation = each(draw, dims, 1, 3), each(draw, dims, 1, 2)
    extents = zip(spread(kernel, dims), spread(dilation, dims), strict=True)
    least = [g * (k - 1) + 1 for k, g in extents]
    options = {
        "kernel_size": kernel,
        "stride": None if draw(st.booleans()) else each(draw, dims, 1, 3),
        "padding": each(draw, dims, 0, min(spread(kernel, dims)) // 2),
        "dilation": dilation,
        "return_indices": draw(st.booleans()),
        "ceil_mode": draw(st.booleans()),
    }
    return of(f"MaxPool{dims}d", ties(*draw(shapes(dims, least))), "", **options)


@st.composite
def avg_pools(draw: st.DrawFn) -> Sample:
    dims = draw(st.integers(1, 3))
    kernel = each(draw, dims, 1, 3)
    options = {
        "kernel_size": kernel,
        "stride": None if draw(st.booleans()) else each(draw, dims, 1, 3),
        "padding": each(draw, dims, 0, min(spread(kernel, dims)) // 2),
        "ceil_mode": draw(st.booleans()),
        "count_include_pad": draw(st.booleans()),
    }
    if dims > 1:
        options["divisor_override"] = draw(st.sampled_from([None, 1, 3, -2]))
    shape = draw(shapes(dims, spread(kernel, dims)))
    return of(f"AvgPool{dims}d", normal(*shape), "", **options)


@st.composite
def adaptive_pools(draw: st.DrawFn) -> Sample:
    dims, kind = draw(st.integers(1, 3)), draw(st.sampled_from(["Avg", "Max"]))
    entry = st.one_of(st.none(), st.integers(1, 5)) if dims > 1 else st.integers(1, 9)
    size = draw(st.one_of(st.integers(1, 5), st.tuples(*[entry] * dims)))
    options = {"output_size": size}
    if kind == "Max":
        options["return_indices"] = draw(st.booleans())
    shape = draw(shapes(dims, [1] * dims))
    return of(f"Adaptive{kind}Pool{dims}d", ties(*shape), "", **options)


@st.composite
def unpools(draw: st.DrawFn) -> Sample:
    """Without overlap, so that no two maxima have one place."""
    dims = draw(st.integers(1, 3))
    kernel = spread(each(draw, dims, 1, 3), dims)
    pooling = {
        "stride": tuple(k + draw(st.integers(0, 1)) for k in kernel),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
    }
    shape = draw(shapes(dims, kernel))
    label = "one" if len(shape) == dims + 1 else ""
    size = any(pooling["padding"]) or draw(st.booleans())
    return unpooled(normal(*shape), kernel, label, size=size, **pooling)


GENERATED: dict[str, st.SearchStrategy[Sample]] = {
    "max_pool": max_pools(),
    "avg_pool": avg_pools(),
    "adaptive_pool": adaptive_pools(),
    "unpool": unpools(),
}

IMAGES, ROWS = jnp.ones((2, 3, 6, 6)), jnp.ones((2, 3))
PLACES = jnp.zeros((2, 3, 6, 6), jnp.int32)
HALF = jnp.full((2, 3, 2), 0.5)
REFUSED = [
    refused(ValueError, "max_pool1d;(N, C, L);(2, 3, 6, 6)", F.max_pool1d, IMAGES, 2),
    refused(ValueError, "max_pool3d;kernel_size;3;2", F.max_pool3d, IMAGES, (2, 2)),
    refused(ValueError, "max_pool2d;dilation;0", F.max_pool2d, IMAGES, 2, dilation=0),
    refused(ValueError, "max_pool2d;pixel;(2, 3, 0, 6)", F.max_pool2d, IMAGES[:, :, :0], 1),
    refused(TypeError, "max_pool2d;kernel_size;integer;2.5", F.max_pool2d, IMAGES, 2.5),
    refused(ValueError, "avg_pool2d;padding;half;(2, 2)", F.avg_pool2d, IMAGES, 3, padding=2),
    refused(
        ValueError, "avg_pool2d;divisor_override;0", F.avg_pool2d, IMAGES, 2, divisor_override=0
    ),
    refused(ValueError, "avg_pool1d;window;(7,);(3,)", F.avg_pool1d, ROWS, 7),
    refused(TypeError, "avg_pool2d;floating;int32", F.avg_pool2d, PLACES, 2),
    refused(ValueError, "lp_pool2d;norm_type;0", F.lp_pool2d, IMAGES, 0, 2),
    refused(ValueError, "lp_pool1d;kernel_size;0", F.lp_pool1d, ROWS, 2, 0),
    refused(ValueError, "adaptive_avg_pool2d;(C, H, W);(2, 3)", F.adaptive_avg_pool2d, ROWS, 2),
    refused(
        ValueError, "adaptive_avg_pool2d;output_size;-1", F.adaptive_avg_pool2d, IMAGES, (2, -1)
    ),
    refused(ValueError, "adaptive_max_pool2d;output_size;2;()", F.adaptive_max_pool2d, IMAGES, ()),
    refused(ValueError, "adaptive_max_pool1d;output_size;None", F.adaptive_max_pool1d, ROWS, None),
    refused(
        ValueError,
        "max_unpool2d;indices;(2, 3, 6, 6);(1, 3, 6, 6)",
        F.max_unpool2d,
        IMAGES,
        PLACES[:1],
        2,
    ),
    refused(TypeError, "max_unpool2d;indices;integer;float32", F.max_unpool2d, IMAGES, IMAGES, 2),
    refused(ValueError, "max_unpool2d;indices;0 to 143;-1", F.max_unpool2d, IMAGES, PLACES - 1, 2),
    refused(
        ValueError,
        "max_unpool2d;output_size;(12, 12);(14, 12)",
        F.max_unpool2d,
        IMAGES,
        PLACES,
        2,
        output_size=(14, 12),
    ),
    refused(
        ValueError,
        "max_unpool2d;output_size;4;(12,)",
        nn.MaxUnpool2d(2),
        IMAGES,
        PLACES,
        output_size=(12,),
    ),
    refused(ValueError, "fractional_max_pool2d;key;None", F.fractional_max_pool2d, IMAGES, 2, 3),
    refused(
        ValueError,
        "fractional_max_pool2d;output_size;(6, 6)",
        F.fractional_max_pool2d,
        IMAGES,
        2,
        6,
        _random_samples=HALF,
    ),
    refused(
        ValueError,
        "fractional_max_pool2d;_random_samples;(2, 3, 2);(1, 3, 2)",
        F.fractional_max_pool2d,
        IMAGES,
        2,
        3,
        _random_samples=HALF[:1],
    ),
    refused(
        TypeError,
        "fractional_max_pool2d;_random_samples bfloat16",
        F.fractional_max_pool2d,
        IMAGES,
        2,
        3,
        _random_samples=HALF.astype(jnp.bfloat16),
    ),
    refused(
        ValueError,
        "FractionalMaxPool2d;output_size, output_ratio;3;0.5",
        nn.FractionalMaxPool2d,
        2,
        3,
        0.5,
    ),
    refused(
        ValueError,
        "FractionalMaxPool2d;output_ratio;between;1.5",
        nn.FractionalMaxPool2d,
        2,
        None,
        1.5,
        _random_samples=HALF,
    ),
    refused(ValueError, "FractionalMaxPool3d;rngs;None", nn.FractionalMaxPool3d, 2, 3),
]
