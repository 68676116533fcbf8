"""Samples of resizing, sampling and shuffling: torch's table has none of these."""

import jax.numpy as jnp
import torch
from hypothesis import strategies as st

import fdl.functional as F
from fdl import nn
from samples.refusal import refused
from samples.sample import Sample

GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape, generator=GENERATOR):
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def spread(*values):
    return torch.tensor(values, dtype=torch.float64)


def resized(shape, **options):
    return Sample("interpolate", (), options, (normal(*shape),), label=str(shape))


def sampled(grid, size=(3, 4), batch=2, **options):
    image = normal(batch, 2, *size)
    return Sample("grid_sample", (), options, (image, grid.requires_grad_()), label=str(size))


def around(batch, *shape):
    """Places inside and outside, up to several reflections away."""
    return 1.5 * torch.randn(batch, *shape, len(shape), dtype=torch.float64, generator=GENERATOR)


KINKS = spread(-3, -2, -1.5, -1, -0.75, -0.5, 0, 0.25, 0.5, 1, 1.25, 2, 2.5, 3, 5)
"""Pixels' centres, edges, and points of reflection."""


def kinks():
    rows = torch.stack([KINKS, KINKS.flip(0)], -1)
    return torch.stack([rows, rows.flip(-1)])[None].repeat(2, 1, 1, 1)


INTERPOLATE = [
    resized((2, 3, 5), scale_factor=2, mode="linear"),
    resized((2, 3, 5), size=3, mode="linear", align_corners=True),
    resized((1, 2, 1), size=4, mode="linear", align_corners=True),
    resized((2, 2, 3, 4), scale_factor=2),
    resized((2, 2, 3, 4), scale_factor=1.2),
    resized((2, 2, 3, 2), scale_factor=(2.4, 1.6), mode="nearest-exact"),
    resized((1, 1, 1, 14), size=(1, 23), mode="nearest-exact"),
    resized((2, 1, 3, 2, 4), size=(4, 5, 3), mode="nearest"),
    resized((2, 2, 5, 7), size=(3, 4), mode="area"),
    resized((1, 2, 5), scale_factor=0.5, mode="area"),
    resized((1, 1, 13, 2), size=(2, 3), mode="area"),
    resized((2, 2, 5, 4), scale_factor=1.7, mode="bilinear"),
    resized((2, 2, 5, 4), scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
    resized((2, 2, 5, 4), size=(1, 7), mode="bilinear", align_corners=True),
    resized((2, 2, 9, 8), scale_factor=0.3, mode="bilinear", antialias=True),
    resized((2, 2, 3, 4), scale_factor=(1.2, 2.1), mode="bilinear", antialias=True),
    resized((2, 2, 5, 4), scale_factor=2.3, mode="bicubic"),
    resized((2, 2, 3, 4), scale_factor=1.2, mode="bicubic"),
    resized((2, 2, 5, 4), size=(3, 6), mode="bicubic", align_corners=True),
    resized((2, 2, 9, 4), size=(2, 6), mode="bicubic", antialias=True),
    resized((2, 2, 9, 4), size=(2, 6), mode="bicubic", antialias=True, align_corners=True),
    resized((2, 2, 9, 4), size=(4, 6), mode="lanczos", antialias=True),
    resized((2, 1, 3, 2, 4), scale_factor=1.5, mode="trilinear"),
    resized((2, 1, 3, 2, 4), size=(2, 4, 1), mode="trilinear", align_corners=True),
    resized((0, 2, 3, 4), size=(2, 5), mode="bilinear"),
]

GRID_SAMPLE = [
    sampled(grid, mode=mode, padding_mode=padding, align_corners=align)
    for align in (False, True)
    for padding in ("zeros", "border", "reflection")
    for mode, grid in (
        ("bilinear", around(2, 4, 5)),
        ("nearest", around(2, 4, 5)),
        ("bicubic", around(2, 4, 5)),
        ("bilinear", kinks()),
        ("bicubic", kinks()),
    )
    if not (align and mode == "bicubic" and len(grid[0]) == 2)
]
GRID_SAMPLE += [
    sampled(around(2, 2, 3, 4), (3, 2, 4), mode=mode, padding_mode=padding, align_corners=align)
    for align, padding in ((False, "zeros"), (True, "border"), (False, "reflection"))
    for mode in ("bilinear", "nearest")
]
GRID_SAMPLE += [
    sampled(kinks(), (4, 2), mode="nearest", padding_mode="reflection"),
    sampled(around(2, 3, 3), (1, 1), padding_mode="reflection", align_corners=True),
    sampled(around(2, 3, 3), (1, 3), padding_mode="reflection", align_corners=False),
    sampled(around(0, 3, 3), batch=0),
    sampled(spread(float("nan"), 0.1, 0.2, float("nan"), 1e30, 0).reshape(1, 1, 3, 2), batch=1),
]

AFFINE = [
    Sample("affine_grid", (), {"size": size, "align_corners": align}, (normal(2, d, d + 1),))
    for d, size in ((2, (2, 3, 3, 4)), (2, (2, 3, 1, 5)), (3, (2, 1, 2, 3, 4)))
    for align in (False, True)
]

LAYERS = [
    Sample("Upsample", (), {"scale_factor": 2, "mode": "bicubic"}, (normal(2, 3, 4, 3),)),
    Sample(
        "Upsample", ((5, 4),), {"align_corners": True, "mode": "bilinear"}, (normal(1, 1, 3, 2),)
    ),
    Sample("Upsample", (), {"scale_factor": (1.5, 2.0)}, (normal(1, 1, 3, 2),)),
    Sample("UpsamplingNearest2d", (), {"scale_factor": 2}, (normal(2, 3, 4, 3),)),
    Sample("UpsamplingBilinear2d", (), {"size": 7}, (normal(2, 3, 4, 3),)),
    Sample("PixelShuffle", (2,), {}, (normal(2, 8, 3, 4),)),
    Sample("PixelShuffle", (3,), {}, (normal(9, 2, 1),), label="no batch"),
    Sample("PixelUnshuffle", (2,), {}, (normal(2, 3, 4, 6),)),
    Sample("PixelUnshuffle", (2,), {}, (normal(2, 1, 3, 4, 6),), label="two leading axes"),
    Sample("ChannelShuffle", (3,), {}, (normal(2, 6, 3),)),
    Sample("ChannelShuffle", (2,), {}, (normal(2, 4, 3, 2, 2),), label="volumes"),
    Sample("pixel_shuffle", (), {"upscale_factor": 1}, (normal(1, 2, 2, 2),)),
    Sample("pixel_unshuffle", (), {"downscale_factor": 3}, (normal(1, 2, 3, 6),)),
    Sample("channel_shuffle", (), {"groups": 1}, (normal(2, 3, 2, 2),)),
]

SAMPLES = INTERPOLATE + GRID_SAMPLE + AFFINE + LAYERS

MODES = {
    3: ["nearest", "nearest-exact", "area", "linear"],
    4: ["nearest", "nearest-exact", "area", "bilinear", "bicubic", "lanczos"],
    5: ["nearest", "nearest-exact", "area", "trilinear"],
}
FACTORS = st.sampled_from([0.3, 0.5, 0.75, 1.0, 1.2, 1.5, 2.0, 2.2, 3.0]) | st.floats(0.35, 3.2)


@st.composite
def resizings(draw):
    rank = draw(st.sampled_from([3, 4, 4, 5]))
    mode = draw(st.sampled_from(MODES[rank]))
    spatial = [draw(st.integers(1, 9 if rank < 5 else 4)) for _ in range(rank - 2)]
    options = {"mode": mode}
    if draw(st.booleans()):
        options["size"] = tuple(draw(st.integers(1, 11 if rank < 5 else 5)) for _ in spatial)
    else:
        factors = [max(draw(FACTORS), 1 / n) for n in spatial]
        factors = [
            f if int(n * f) else f * (1 + 1e-9) for n, f in zip(spatial, factors, strict=True)
        ]
        options["scale_factor"] = tuple(factors)
        options["recompute_scale_factor"] = draw(st.sampled_from([None, False, True]))
    if mode == "lanczos":
        options["antialias"] = True
    elif mode in ("bilinear", "bicubic"):
        options["antialias"] = draw(st.booleans())
    if mode in ("linear", "bilinear", "bicubic", "trilinear"):
        options["align_corners"] = draw(st.sampled_from([None, False, True]))
    seed = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 2)), *spatial)
    return Sample("interpolate", (), options, (normal(*shape, generator=seed),), label=str(shape))


@st.composite
def samplings(draw):
    dims = draw(st.sampled_from([2, 2, 3]))
    batch = draw(st.integers(0, 2))
    spatial = [draw(st.integers(1, 5)) for _ in range(dims)]
    places = [draw(st.integers(1, 4)) for _ in range(dims)]
    seed = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    image = normal(batch, draw(st.integers(1, 2)), *spatial, generator=seed)
    scale = draw(st.sampled_from([0.5, 1.0, 3.0]))
    grid = normal(batch, *places, dims, generator=seed).detach() * scale
    options = {
        "mode": draw(st.sampled_from(["bilinear", "nearest", "bicubic"][: 5 - dims])),
        "padding_mode": draw(st.sampled_from(["zeros", "border", "reflection"])),
        "align_corners": draw(st.booleans()),
    }
    inputs = (image, grid.requires_grad_())
    return Sample("grid_sample", (), options, inputs, label=f"{spatial} {places}")


GENERATED = {"interpolate": resizings(), "grid_sample": samplings()}

SIGNAL, IMAGE, GRID = jnp.ones((1, 2, 4)), jnp.ones((1, 2, 4, 4)), jnp.zeros((1, 3, 3, 2))

REFUSED = [
    refused(ValueError, "interpolate;input;expected;got", F.interpolate, jnp.ones((4, 4)), 2),
    refused(ValueError, "size, scale_factor;exactly one;got none", F.interpolate, IMAGE),
    refused(ValueError, "size, scale_factor;got both", F.interpolate, IMAGE, 2, 2.0),
    refused(ValueError, "size;expected;got 3", F.interpolate, IMAGE, (2, 2, 2)),
    refused(ValueError, "scale_factor;expected;got 1", F.interpolate, IMAGE, None, (2.0,)),
    refused(TypeError, "size;whole numbers;got", F.interpolate, IMAGE, (2.5, 2)),
    refused(ValueError, "at least 1 pixel;got", F.interpolate, IMAGE, None, 0.1),
    refused(ValueError, "mode;expected one of;got 'cubic'", F.interpolate, IMAGE, 2, mode="cubic"),
    refused(ValueError, "mode;4-D;got 3-D", F.interpolate, SIGNAL, 2, mode="bilinear"),
    refused(
        ValueError, "align_corners;expected None;got", F.interpolate, IMAGE, 2, align_corners=False
    ),
    refused(ValueError, "antialias;expected False;got", F.interpolate, IMAGE, 2, antialias=True),
    refused(
        ValueError, "lanczos;expected antialias=True;got", F.interpolate, IMAGE, 2, mode="lanczos"
    ),
    refused(
        ValueError,
        "recompute_scale_factor;expected;got True",
        F.interpolate,
        IMAGE,
        2,
        recompute_scale_factor=True,
    ),
    refused(
        TypeError, "input;expected floats;got", F.interpolate, IMAGE.astype(int), 2, mode="area"
    ),
    refused(ValueError, "input;expected;got", F.grid_sample, SIGNAL, GRID),
    refused(ValueError, "grid;expected 4 axes;got", F.grid_sample, IMAGE, GRID[..., :1]),
    refused(
        ValueError, "grid's batch;expected 1;got 2", F.grid_sample, IMAGE, jnp.zeros((2, 3, 3, 2))
    ),
    refused(TypeError, "expected one dtype;got", F.grid_sample, IMAGE, GRID.astype(jnp.bfloat16)),
    refused(ValueError, "mode;expected;got 'linear'", F.grid_sample, IMAGE, GRID, "linear"),
    refused(
        ValueError,
        "mode;expected;5-D;got 'bicubic'",
        F.grid_sample,
        jnp.ones((1, 1, 2, 2, 2)),
        jnp.zeros((1, 2, 2, 2, 3)),
        "bicubic",
    ),
    refused(
        ValueError,
        "padding_mode;expected;got 'zero'",
        F.grid_sample,
        IMAGE,
        GRID,
        padding_mode="zero",
    ),
    refused(ValueError, "size;expected;got", F.affine_grid, jnp.ones((1, 2, 3)), (1, 3, 4)),
    refused(
        ValueError, "theta;expected shape;got", F.affine_grid, jnp.ones((1, 3, 4)), (1, 3, 4, 4)
    ),
    refused(
        TypeError,
        "theta;expected floats;got",
        F.affine_grid,
        jnp.ones((1, 2, 3), int),
        (1, 3, 4, 4),
    ),
    refused(ValueError, "size;at least 1;got", F.affine_grid, jnp.ones((1, 2, 3)), (1, 3, 0, 4)),
    refused(ValueError, "upscale_factor;expected;got 3", nn.PixelShuffle(3), IMAGE),
    refused(ValueError, "pixel_shuffle;input;expected;got", F.pixel_shuffle, jnp.ones((4, 4)), 2),
    refused(ValueError, "downscale_factor;expected;got 3", nn.PixelUnshuffle(3), IMAGE),
    refused(ValueError, "groups;expected;got 3", nn.ChannelShuffle(3), IMAGE),
    refused(
        ValueError, "channel_shuffle;input;expected;got", F.channel_shuffle, jnp.ones((4, 4)), 2
    ),
]
