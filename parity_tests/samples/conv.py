"""Convolution, padding, folding and linear maps."""

from math import nan, prod

import jax.numpy as jnp
import torch
from flax import nnx
from hypothesis import strategies as st

import fdl
import fdl.functional as F
from samples.refusal import refused
from samples.sample import Sample


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers, the same each time."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    return drawn.requires_grad_()


def called(name: str, *shapes: tuple[int, ...], label: str = "", **options) -> Sample:
    """A function on normal tensors of these shapes."""
    tensors = [tensor(*shape, seed=i) for i, shape in enumerate(shapes)]
    return Sample(name, (), options, tensors, {}, label)


def with_nan(*shape: int) -> torch.Tensor:
    """Numbers among which some are not finite."""
    numbers = tensor(*shape).detach()
    numbers.view(-1)[:3] = torch.tensor([nan, torch.inf, -torch.inf])
    return numbers


def made(name: str, *args, given: tuple[int, ...], named: dict | None = None, **options) -> Sample:
    """A layer on a normal tensor."""
    return Sample(name, args, options, (tensor(*given),), named or {}, "own")


SAMPLES = [
    called("conv1d", (2, 4, 9), (6, 2, 3), (6,), stride=2, padding=1, groups=2),
    called("conv2d", (2, 3, 6, 5), (4, 3, 2, 3), (4,), padding="same"),
    called("conv3d", (1, 2, 4, 5, 4), (3, 2, 2, 3, 1), (3,), dilation=(1, 2, 3), padding=(0, 1, 0)),
    called("conv2d", (0, 4, 5, 5), (6, 2, 3, 3), (6,), groups=2, label="empty batch"),
    called("conv_transpose1d", (2, 4, 5), (4, 3, 4), (6,), stride=3, output_padding=2, groups=2),
    called("conv_transpose2d", (2, 3, 4, 5), (3, 2, 3, 2), (2,), stride=(2, 1), padding=1),
    called("conv_transpose3d", (1, 2, 3, 2, 3), (2, 2, 2, 3, 1), dilation=2, output_padding=1),
    called("conv_transpose2d", (0, 4, 3, 3), (4, 3, 3, 3), (6,), groups=2, label="empty batch"),
    called("conv_transpose1d", (1, 2, 5), (2, 2, 3), padding=3, label="more padding than reach"),
    made("Conv2d", 3, 2, 3, given=(2, 3, 6, 5), padding=(-1, 1), padding_mode="replicate"),
    made("Conv1d", 2, 3, 4, given=(2, 2, 9), padding="same", padding_mode="circular"),
    made("Conv3d", 2, 3, 2, given=(2, 3, 4, 3), padding=(1, 2, 1), padding_mode="reflect"),
    made("ConvTranspose1d", 2, 3, 2, 3, given=(2, 2, 4), named={"output_size": [13]}),
    made("ConvTranspose2d", 2, 3, 3, 2, given=(2, 3, 4), named={"output_size": [3, 7, 10]}),
    made("ConvTranspose2d", 2, 3, 3, 2, given=(1, 2, 3, 4), named={"output_size": (1, 3, 8, 9)}),
    called("pad", (2, 3), pad=(1, 2), value=1.5),
    called("pad", (2, 3, 4), pad=(-1, 2, 1, -2), value=-torch.inf, label="crop"),
    called("pad", (2, 3), pad=(), label="nothing"),
    called("pad", (2, 5), pad=(-5, 2), label="nothing left"),
    called("pad", (2, 2, 5), pad=(4, -2), mode="reflect"),
    called("pad", (2, 2, 5), pad=(-6, 4), mode="reflect", label="past the mirror"),
    called("pad", (2, 1, 4), pad=(0, 0, 3, 1), mode="replicate"),
    called("pad", (2, 2, 5), pad=(-5, 8), mode="replicate", label="only the edge"),
    called("pad", (2, 4, 5), pad=(4, -1, -1, 3), mode="circular"),
    called("pad", (0, 3, 5), pad=(2, 1), mode="circular", label="empty batch"),
    *(
        Sample("pad", (), {"pad": (2, 2), "mode": mode}, (with_nan(1, 2, 5),), {}, "not finite")
        for mode in ("constant", "reflect", "replicate", "circular")
    ),
    Sample("pad", (), {"pad": (1, 1), "value": 2.7}, (torch.arange(4),), {}, "integers"),
    called("unfold", (2, 3, 6, 5), kernel_size=(2, 3), dilation=(2, 1), padding=1, stride=(1, 2)),
    Sample("unfold", (), {"kernel_size": 2}, (with_nan(1, 2, 3, 3),), {}, "not finite"),
    called("fold", (2, 12, 6), output_size=(4, 6), kernel_size=(2, 3), padding=(0, 1), stride=2),
    called("fold", (8, 4), output_size=5, kernel_size=2, stride=2, label="gaps"),
    made("Unfold", (3, 2), given=(3, 5, 4), padding=(1, 0)),
    made("Fold", (5, 4), (3, 2), given=(2, 12, 15), padding=(1, 0)),
    made("Unfold", 2, given=(0, 3, 4, 4)),
    made("Fold", 3, 2, given=(0, 12, 4)),
    called("linear", (2, 5, 3), (4, 3), (4,)),
    called("linear", (5, 3), (3,), label="one output"),
    called("linear", (5, 3), (4, 3), (1,), label="bias of one number"),
    called("linear", (2, 5, 3), (4, 3), (5, 4), label="bias for each row"),
    called("linear", (0, 3), (4, 3), (4,), label="empty batch"),
    called("linear", (5, 0), (4, 0), (4,), label="no features"),
    called("bilinear", (2, 4, 3), (2, 4, 2), (5, 3, 2), (5,)),
    called("bilinear", (0, 3), (0, 2), (5, 3, 2), label="empty batch"),
]

small = st.integers(1, 3)


def axes(dims: int, values: st.SearchStrategy[int]) -> st.SearchStrategy[int | tuple[int, ...]]:
    """One number, or one for each axis."""
    return st.one_of(values, st.tuples(*[values] * dims))


def spread(value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    """One number for each axis."""
    return (value,) * dims if isinstance(value, int) else value


batches = st.sampled_from([(), (0,), (1,), (2,)])


@st.composite
def convolutions(draw) -> Sample:
    """Convolution layers with an input that has room for the kernel."""
    dims, groups = draw(small), draw(small)
    channels, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel, dilation = draw(axes(dims, small)), draw(axes(dims, st.integers(1, 2)))
    padding = draw(st.one_of(st.sampled_from(["valid", "same"]), axes(dims, st.integers(0, 2))))
    stride = 1 if padding == "same" else draw(axes(dims, small))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    reach = [d * (k - 1) for d, k in zip(spread(dilation, dims), spread(kernel, dims), strict=True)]
    if padding == "same":
        lows, pads = [r // 2 for r in reach], [r - r // 2 for r in reach]
    else:
        lows = pads = (0,) * dims if padding == "valid" else spread(padding, dims)
    least = [max(1, r + 1 - a - b) for r, a, b in zip(reach, lows, pads, strict=True)]
    if mode in {"reflect", "circular"}:
        least = [max(n, p + (mode == "reflect")) for n, p in zip(least, pads, strict=True)]
    size = [n + draw(st.integers(0, 4 if dims < 3 else 2)) for n in least]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    options |= {"padding_mode": mode, "bias": draw(st.booleans())}
    given = tensor(*draw(batches), channels, *size)
    return Sample(f"Conv{dims}d", (channels, outputs, kernel), options, (given,))


@st.composite
def transposed_convolutions(draw) -> Sample:
    """Transposed convolution layers whose output has at least one pixel."""
    dims, groups, resized = draw(small), draw(small), draw(st.booleans())
    channels, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel, dilation, stride = (draw(st.tuples(*[small] * dims)) for _ in range(3))
    size = [draw(st.integers(1, 4 if dims < 3 else 3)) for _ in range(dims)]
    limits = stride if resized else map(max, stride, dilation)
    extra = tuple(draw(st.integers(0, limit - 1)) for limit in limits)
    axes = zip(size, kernel, dilation, stride, extra, strict=True)
    whole = [(n - 1) * s + d * (k - 1) + 1 + e for n, k, d, s, e in axes]
    padding = tuple(draw(st.integers(0, min(3, (n - 1) // 2))) for n in whole)
    options = {"stride": stride, "padding": padding, "groups": groups, "dilation": dilation}
    options |= {"bias": draw(st.booleans())}
    named = {}
    if resized:
        named = {"output_size": [n - 2 * p for n, p in zip(whole, padding, strict=True)]}
    else:
        options["output_padding"] = extra
    given = tensor(*draw(batches), channels, *size)
    name = f"ConvTranspose{dims}d"
    return Sample(name, (channels, outputs, kernel), options, (given,), named)


@st.composite
def pads(draw) -> Sample:
    """Padding in every mode, with crops."""
    mode = draw(st.sampled_from(["constant", "reflect", "replicate", "circular"]))
    if mode == "constant":
        shape = draw(st.lists(st.integers(0, 5), min_size=1, max_size=6))
        dims = draw(st.integers(0, len(shape)))
    else:
        dims = draw(small)
        size = [draw(st.integers(1, 5 if dims < 3 else 3)) for _ in range(dims)]
        shape = [*draw(batches), draw(small), *size]
    pairs = [draw(edges(mode, n)) for n in reversed(shape[len(shape) - dims :])]
    options = {"pad": [number for pair in pairs for number in pair], "mode": mode}
    if mode == "constant":
        options["value"] = draw(st.sampled_from([None, 0.0, -1.5]))
    return Sample("pad", (), options, (tensor(*shape),))


def edges(mode: str, length: int) -> st.SearchStrategy[tuple[int, int]]:
    """What an axis can be padded by."""

    def fit(pair: tuple[int, int]) -> bool:
        left = length + min(pair[0], 0) + min(pair[1], 0)
        if mode in {"reflect", "replicate"}:
            return length + sum(pair) >= 1
        return left >= (max(*pair, 0) if mode == "circular" else 0)

    side = st.integers(-length, min(3, length - 1) if mode == "reflect" else 3)
    return st.tuples(side, side).filter(fit)


@st.composite
def folds(draw) -> Sample:
    """Windows as columns, or columns as windows."""
    kernel, dilation, stride = (draw(st.tuples(small, small)) for _ in range(3))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    least = [max(1, r - 2 * p) for r, p in zip(reach, padding, strict=True)]
    size = tuple(n + draw(st.integers(0, 4)) for n in least)
    channels, batch = draw(small), draw(batches)
    if draw(st.booleans()):
        given = tensor(*batch, channels, *size)
        return Sample("Unfold", (kernel, dilation, padding, stride), {}, (given,))
    rows = zip(size, reach, padding, stride, strict=True)
    count = prod((n + 2 * p - r) // s + 1 for n, r, p, s in rows)
    given = tensor(*batch, channels * prod(kernel), count)
    return Sample("Fold", (size, kernel, dilation, padding, stride), {}, (given,))


GENERATED = {
    "conv": convolutions(),
    "conv_transpose": transposed_convolutions(),
    "pad": pads(),
    "fold": folds(),
}

RNGS = nnx.Rngs(0)
ROWS, SIGNAL, IMAGE = jnp.ones((4, 3)), jnp.ones((2, 4, 5)), jnp.ones((2, 4, 5, 6))
VOLUME, COLUMNS = jnp.ones((2, 4, 3, 3, 3)), jnp.ones((2, 12, 20))
UP = fdl.nn.ConvTranspose1d(4, 2, 3, stride=3, rngs=RNGS)

REFUSED = [
    # convolutions
    refused(
        ValueError, "conv1d;input;(N, C, L);(2, 4, 5, 6)", F.conv1d, IMAGE, jnp.ones((3, 4, 3))
    ),
    refused(ValueError, "conv1d;bias;(O,);(1, 3)", F.conv1d, SIGNAL, jnp.ones((3, 4, 3)), ROWS[:1]),
    refused(ValueError, "conv1d;weight;(0, 4, 3)", F.conv1d, SIGNAL, jnp.ones((0, 4, 3))),
    refused(ValueError, "conv1d;weight;(3, 0, 3)", F.conv1d, SIGNAL[:, :0], jnp.ones((3, 0, 3))),
    refused(
        ValueError,
        "conv3d;input;(2, 4, 0, 3, 3)",
        F.conv3d,
        VOLUME[:, :, :0],
        jnp.ones((3, 4, 1, 1, 1)),
    ),
    refused(
        ValueError, "conv3d;input;(4, 4, 4);(3, 3, 3)", F.conv3d, VOLUME, jnp.ones((3, 4, 4, 4, 4))
    ),
    refused(ValueError, "Conv1d;groups;in_channels=3", fdl.nn.Conv1d, 3, 4, 3, groups=2, rngs=RNGS),
    refused(ValueError, "Conv3d;kernel_size;3, got 2", fdl.nn.Conv3d, 3, 4, (3, 3), rngs=RNGS),
    refused(
        ValueError,
        "Conv1d;padding;circular;6",
        fdl.nn.Conv1d(4, 4, 3, padding=6, padding_mode="circular", rngs=RNGS),
        SIGNAL,
    ),
    # transposed convolutions
    refused(
        ValueError,
        "conv_transpose1d;output_padding;less than stride;(1,)",
        F.conv_transpose1d,
        SIGNAL,
        jnp.ones((4, 2, 3)),
        output_padding=1,
    ),
    refused(
        ValueError,
        "conv_transpose1d;padding;(-1,)",
        F.conv_transpose1d,
        SIGNAL,
        jnp.ones((4, 2, 3)),
        padding=4,
    ),
    refused(
        ValueError,
        "conv_transpose1d;padding;'same'",
        F.conv_transpose1d,
        SIGNAL,
        jnp.ones((4, 2, 3)),
        padding="same",
    ),
    refused(
        ValueError,
        "conv_transpose1d;groups;4 input;got 3",
        F.conv_transpose1d,
        SIGNAL,
        jnp.ones((4, 2, 3)),
        groups=3,
    ),
    refused(
        ValueError,
        "conv_transpose2d;input channels;2;4",
        F.conv_transpose2d,
        IMAGE,
        jnp.ones((2, 4, 3, 3)),
    ),
    refused(
        ValueError,
        "conv_transpose1d;bias;4;got 2",
        F.conv_transpose1d,
        SIGNAL,
        jnp.ones((4, 2, 3)),
        jnp.ones(2),
        groups=2,
    ),
    refused(
        TypeError,
        "conv_transpose1d;float32;bfloat16",
        F.conv_transpose1d,
        SIGNAL,
        jnp.ones((4, 2, 3), "bfloat16"),
    ),
    refused(
        ValueError, "ConvTranspose1d;output_size;[15] to [17];(18,)", UP, SIGNAL, output_size=(18,)
    ),
    refused(
        ValueError,
        "ConvTranspose2d;padding_mode;'reflect'",
        fdl.nn.ConvTranspose2d,
        3,
        4,
        3,
        padding_mode="reflect",
        rngs=RNGS,
    ),
    refused(
        ValueError,
        "ConvTranspose2d;padding;'same'",
        fdl.nn.ConvTranspose2d,
        3,
        4,
        3,
        padding="same",
        rngs=RNGS,
    ),
    # padding
    refused(ValueError, "pad;padding;(1, 1, 1)", F.pad, ROWS, (1, 1, 1)),
    refused(ValueError, "pad;padding;2 axes", F.pad, ROWS, (1,) * 6),
    refused(ValueError, "pad;mode;'reflect';'edge'", F.pad, ROWS, (1, 1), "edge"),
    refused(ValueError, "pad;value;None;1.0", F.pad, ROWS, (1, 1), "reflect", 1.0),
    refused(ValueError, "pad;input;(N, C, L);(2, 4, 5, 6)", F.pad, IMAGE, (1, 1), "reflect"),
    refused(ValueError, "pad;padding;1 to 3 axes;got 4", F.pad, IMAGE, (1,) * 8, "replicate"),
    refused(ValueError, "pad;padding;reflect;(4,);5", F.pad, SIGNAL, (5, 0), "reflect"),
    refused(ValueError, "pad;padding;circular;(4,);5", F.pad, SIGNAL, (-1, 5), "circular"),
    refused(ValueError, "pad;padding;crop;(3,);-2", F.pad, ROWS, (-2, -2)),
    refused(ValueError, "pad;padding;left;-3", F.pad, SIGNAL, (-2, -3), "replicate"),
    refused(ValueError, "pad;input;(2, 0, 5)", F.pad, SIGNAL[:, :0], (1, 1), "replicate"),
    refused(ValueError, "ZeroPad2d;padding;4, got 2", fdl.nn.ZeroPad2d, (1, 1)),
    # windows
    refused(ValueError, "unfold;input;(N, C, H, W);(4, 3)", F.unfold, ROWS, 2),
    refused(ValueError, "unfold;input;(6, 6);(5, 6)", F.unfold, IMAGE, 6),
    refused(ValueError, "unfold;kernel_size;2, got 3", F.unfold, IMAGE, (2, 2, 2)),
    refused(ValueError, "unfold;padding;-1", F.unfold, IMAGE, 2, padding=-1),
    refused(ValueError, "fold;input;multiple of 9;12", F.fold, COLUMNS, (5, 6), 3),
    refused(ValueError, "fold;last axis;25;got 20", F.fold, COLUMNS, (6, 6), 2),
    refused(ValueError, "fold;output_size;(1, 6)", F.fold, COLUMNS, (1, 6), 2),
    # linear maps
    refused(ValueError, "linear;bias;(2,);(3,)", F.linear, ROWS, jnp.ones((2, 3)), jnp.ones(3)),
    refused(ValueError, "linear;bias;(1,);(3,)", F.linear, ROWS, jnp.ones((1, 3)), jnp.ones(3)),
    refused(ValueError, "linear;weight;(O, I);(1, 2, 3)", F.linear, ROWS, jnp.ones((1, 2, 3))),
    refused(ValueError, "linear;input;scalar", F.linear, jnp.ones(()), jnp.ones((2, 1))),
    refused(
        ValueError,
        "bilinear;input2;(1, 2)",
        F.bilinear,
        ROWS,
        jnp.ones((1, 2)),
        jnp.ones((5, 3, 2)),
    ),
    refused(
        ValueError, "bilinear;input2 features;2;got 3", F.bilinear, ROWS, ROWS, jnp.ones((5, 3, 2))
    ),
    refused(
        ValueError,
        "bilinear;bias;5;got 1",
        F.bilinear,
        ROWS,
        ROWS,
        jnp.ones((5, 3, 3)),
        jnp.ones(1),
    ),
    refused(ValueError, "Bilinear;in1_features;0", fdl.nn.Bilinear, 0, 2, 3, rngs=RNGS),
]
