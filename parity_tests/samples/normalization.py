"""Normalisation layers and functions, and parametrised weights."""

import warnings
from collections.abc import Callable
from functools import partial
from math import inf, nan, prod

import jax.numpy as jnp
import torch
from flax import nnx
from hypothesis import strategies as st
from jax import lax

import fdl
import fdl.functional as F
from samples.refusal import refused
from samples.sample import FdlFunction, Sample, TorchFunction


def tensor(*shape: int, seed: int = 0, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
    """Normal numbers, the same each time."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (mean + std * drawn).requires_grad_()


def exact(*rows: list[float]) -> torch.Tensor:
    """These numbers."""
    return torch.tensor(rows, dtype=torch.float64).requires_grad_()


def far(*shape: int) -> torch.Tensor:
    """Numbers far from zero and near each other, where a fast variance cancels."""
    return tensor(*shape, mean=100.0, std=0.01)


def called(name: str, *inputs: torch.Tensor, label: str = "", **options) -> Sample:
    """A function; tensors among the options are given by name."""
    named = {k: x for k, x in options.items() if torch.is_tensor(x)}
    static = {k: x for k, x in options.items() if k not in named}
    return Sample(name, (), static, inputs, named, label)


def made(name: str, *args, given: torch.Tensor, label: str = "own", **options) -> Sample:
    """A layer."""
    return Sample(name, args, options, (given,), {}, label)


KINKS = exact([0.0, 0, 0], [1, 0, -2], [2, -2, 2], [1e-13, 0, 0], [0, 1e-12, 0], [-1, -2, 1])

LAYERS = [
    made("BatchNorm1d", 3, given=far(8, 3), label="far from zero"),
    made("BatchNorm2d", 3, momentum=0.0, given=tensor(2, 3, 0, 2), label="no pixels"),
    made("BatchNorm3d", 2, momentum=None, given=tensor(1, 2, 1, 1, 2), label="2 values"),
    made("BatchNorm1d", 2, given=exact([1.0, 5], [1, 5], [1, 5]), label="constant"),
    made("SyncBatchNorm", 3, given=tensor(4, 3)),
    made("SyncBatchNorm", 3, 1e-3, None, bias=False, given=tensor(2, 3, 2, 1, 2, 2)),
    made("InstanceNorm1d", 3, momentum=None, track_running_stats=True, given=tensor(2, 3, 4)),
    made("InstanceNorm2d", 3, affine=True, track_running_stats=True, given=far(2, 3, 3, 3)),
    made("InstanceNorm1d", 3, track_running_stats=True, given=tensor(2, 3, 0), label="empty"),
    made("InstanceNorm1d", 3, track_running_stats=True, given=tensor(0, 3, 2), label="no samples"),
    made("LayerNorm", 6, given=far(3, 6), label="far from zero"),
    made("LayerNorm", (2, 3), 0.0, given=tensor(2, 3), label="whole"),
    made("GroupNorm", 2, 4, given=far(2, 4, 3), label="far from zero"),
    made("GroupNorm", 2, 6, given=tensor(0, 6, 2), label="no samples"),
    made("GroupNorm", 3, 6, given=tensor(2, 6, 0), label="no pixels"),
    made("RMSNorm", 3, given=exact([0.0, 0, 0], [1e-9, -2e-9, 0], [1, 2, -3]), label="tiny"),
    made("RMSNorm", (2, 3), given=tensor(2, 3)),
    made("LocalResponseNorm", 4, 2.0, 1.5, 0.5, given=tensor(2, 3, 2, 2, 1, 2)),
    made("LocalResponseNorm", 9, 1.0, given=tensor(2, 3, 4), label="wider than the channels"),
    made("LocalResponseNorm", 2, given=tensor(2, 3, 0, 2), label="empty"),
]


def with_statistics(name: str, statistics: bool, **options) -> Sample:
    """A function that returns the running statistics, which torch's changes in place."""
    function = getattr(torch.nn.functional, name)

    def in_torch(input, mean, var, *affine):
        moved = (mean.detach().clone(), var.detach().clone()) if statistics else (None, None)
        return function(input, *moved, *affine, **options), *moved

    def in_fdl(input, mean, var, *affine):
        stopped = lax.stop_gradient((mean, var)) if statistics else (None, None)
        return tuple(getattr(F, name)(input, *stopped, *affine, **options))

    builders = partial(TorchFunction, in_torch), partial(FdlFunction, in_fdl, {})
    given = tensor(2, 3, 4), tensor(3), tensor(3).exp().detach(), tensor(3), tensor(3, seed=1)
    return Sample(name, (), options, given, {}, f"statistics={statistics}", builders)


FUNCTIONS = [
    with_statistics("batch_norm", True, training=True, momentum=0.3),
    with_statistics("batch_norm", True, eps=0.1),
    with_statistics("instance_norm", True, momentum=0.3),
    with_statistics("instance_norm", True, use_input_stats=False, eps=0.1),
    with_statistics("instance_norm", False),
    called("layer_norm", tensor(2, 3, 4), normalized_shape=(4,)),
    called(
        "layer_norm",
        tensor(2, 3, 4),
        normalized_shape=(3, 4),
        weight=tensor(3, 4, seed=1),
        bias=tensor(3, 4, seed=2),
        eps=0.1,
    ),
    called("layer_norm", exact([1.0, nan], [1, inf], [2, 3]), normalized_shape=(2,)),
    called("rms_norm", tensor(2, 3, 4), normalized_shape=(3, 4), weight=tensor(3, 4, seed=1)),
    called("rms_norm", exact([1.0, nan], [1, inf], [2, 3]), normalized_shape=(2,), eps=0.1),
    called("group_norm", tensor(2, 6, 2), num_groups=3),
    called("group_norm", tensor(1, 4), num_groups=2, weight=tensor(4), bias=tensor(4, seed=1)),
    called("local_response_norm", tensor(2, 4, 3), size=3, alpha=0.5, beta=0.0),
    called("local_response_norm", tensor(2, 4, 3, 1), size=2, alpha=0.5, k=0.0),
    called("normalize", tensor(2, 3, 4), dim=(0, 2)),
    *(
        called("normalize", KINKS, p=p, label=f"p={p}")
        for p in (2.0, 1.0, 3.0, 1.5, 0.5, 0.0, inf, -inf, -1.0, -2.0)
    ),
    called("normalize", tensor(2, 3, 4), p=3, dim=-1, eps=2.0, label="eps above"),
    called("normalize", tensor(2, 3), dim=(), label="all axes"),
    called("normalize", tensor(2, 0), label="empty"),
    called("normalize", exact([nan, 1.0], [inf, 1.0]), label="not finite"),
]


def parametrised(
    function: str,
    layer: str,
    *sizes: int,
    given: torch.Tensor,
    newer: bool = False,
    removed: bool = False,
    **options,
) -> Sample:
    """A layer with a weight that torch's and fdl's function of this name computes."""

    def utils(nn):
        return nn.utils.parametrizations if newer else nn.utils

    def in_torch() -> torch.nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            made = getattr(utils(torch.nn), function)(getattr(torch.nn, layer)(*sizes), **options)
        if not removed:
            return made
        tensors = getattr(torch.nn.utils, f"remove_{function}")(made).state_dict()
        plain = getattr(torch.nn, layer)(*sizes)  # torch leaves a hook that refuses state_dicts
        plain.load_state_dict(tensors)
        return plain

    def in_fdl(rngs: nnx.Rngs) -> nnx.Module:
        random = {"rngs": rngs} if function == "spectral_norm" else {}
        plain = getattr(fdl.nn, layer)(*sizes, rngs=rngs)
        made = getattr(utils(fdl.nn), function)(plain, **options, **random)
        return getattr(fdl.nn.utils, f"remove_{function}")(made) if removed else made

    label = f"{layer} {'newer' if newer else 'older'}{' removed' * removed}"
    return Sample(function, sizes, options, (given,), {}, label, (in_torch, in_fdl))


def variants(function: str, **common) -> list[Sample]:
    """Both styles of a function, on layers of each kind."""
    make: Callable[..., Sample] = partial(parametrised, function, **common)
    return [
        make("Linear", 3, 2, given=tensor(4, 3)),
        make("Linear", 3, 2, given=tensor(4, 3), dim=1),
        make("Conv1d", 3, 2, 2, given=tensor(2, 3, 4)),
        make("Conv2d", 2, 3, 2, given=tensor(2, 2, 3, 3)),
        make("ConvTranspose2d", 2, 3, 2, given=tensor(2, 2, 2, 3)),
        make("ConvTranspose1d", 2, 3, 2, given=tensor(2, 2, 3), dim=0),
    ]


SAMPLES = [
    *LAYERS,
    *FUNCTIONS,
    *variants("weight_norm"),
    *variants("weight_norm", newer=True),
    *variants("spectral_norm"),
    *variants("spectral_norm", newer=True),
    *(
        parametrised(f, "LSTM", 3, 2, given=tensor(4, 2, 3), name="weight_hh_l0", newer=newer)
        for f, newer in [("weight_norm", False), ("weight_norm", True), ("spectral_norm", False)]
    ),
    parametrised("weight_norm", "Linear", 3, 2, given=tensor(4, 3), dim=None),
    parametrised("weight_norm", "Conv2d", 2, 3, 2, given=tensor(2, 2, 3, 3), dim=None, newer=True),
    parametrised("weight_norm", "Linear", 3, 2, given=tensor(4, 3), name="bias"),
    parametrised("spectral_norm", "Linear", 3, 2, given=tensor(4, 3), n_power_iterations=3),
    parametrised("spectral_norm", "Linear", 3, 2, given=tensor(4, 3), eps=10.0),
    parametrised("weight_norm", "Linear", 3, 2, given=tensor(4, 3), removed=True),
    parametrised("spectral_norm", "Linear", 3, 2, given=tensor(4, 3), removed=True),
]


def _lengths(axes: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(1, 4)] * axes)


@st.composite
def _norms(draw: st.DrawFn) -> Sample:
    """Any normalisation layer on any shape that it takes, save groups of one value.

    Torch leaves rounding of the mean there, over a standard deviation of zero.
    """
    kind = draw(st.sampled_from([_batch, _instance, _group, _trailing, _local]))
    name, args, options, shape = draw(kind())
    far_away = draw(st.booleans())
    given = far(*shape) if far_away else tensor(*shape, seed=draw(st.integers(0, 99)))
    return Sample(name, args, options, (given,), {}, f"{shape}{' far' * far_away}")


@st.composite
def _channelwise(draw: st.DrawFn) -> tuple[int, dict]:
    """Channels and options that batch and instance normalisation share."""
    options = {
        "eps": draw(st.sampled_from([1e-5, 0.1])),
        "momentum": draw(st.sampled_from([0.1, 0.0, 1.0, None])),
        "affine": draw(st.booleans()),
        "track_running_stats": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    return draw(st.integers(1, 4)), options


@st.composite
def _batch(draw: st.DrawFn) -> tuple:
    channels, options = draw(_channelwise())
    dims = draw(st.integers(1, 3))
    spatial = draw(_lengths(draw(st.integers(0, 1)) if dims == 1 else dims))
    least = 2 if prod(spatial) == 1 else 1
    samples = draw(st.one_of(st.just(0), st.integers(least, 3)))
    return f"BatchNorm{dims}d", (channels,), options, (samples, channels, *spatial)


@st.composite
def _instance(draw: st.DrawFn) -> tuple:
    channels, options = draw(_channelwise())
    dims = draw(st.integers(1, 3))
    spatial = draw(_lengths(dims).filter(lambda lengths: prod(lengths) > 1))
    plain = not (options["affine"] or options["track_running_stats"])
    none = [(0,)] if plain else []  # torch's own is an IndexError there
    batch = draw(st.sampled_from([(), *none, (1,), (3,)]))
    return f"InstanceNorm{dims}d", (channels,), options, (*batch, channels, *spatial)


@st.composite
def _group(draw: st.DrawFn) -> tuple:
    groups, spatial = draw(st.integers(1, 3)), draw(_lengths(draw(st.integers(0, 3))))
    each = draw(st.integers(1 if prod(spatial) > 1 else 2, 3))
    samples = draw(st.integers(0, 3))
    options = {"affine": draw(st.booleans()), "bias": draw(st.booleans())}
    return "GroupNorm", (groups, groups * each), options, (samples, groups * each, *spatial)


@st.composite
def _trailing(draw: st.DrawFn) -> tuple:
    shape = draw(st.integers(1, 3).flatmap(_lengths).filter(lambda lengths: prod(lengths) > 1))
    batch = draw(st.one_of(st.integers(0, 2).flatmap(_lengths), st.just((0,))))
    name = draw(st.sampled_from(["LayerNorm", "RMSNorm"]))
    eps = draw(st.sampled_from([1e-5, 0.1] if name == "LayerNorm" else [None, 1e-5, 0.1]))
    options = {"eps": eps, "elementwise_affine": draw(st.booleans())}
    bias = {"bias": draw(st.booleans())} if name == "LayerNorm" else {}
    size = shape[0] if len(shape) == 1 and draw(st.booleans()) else shape
    return name, (size,), options | bias, (*batch, *shape)


@st.composite
def _local(draw: st.DrawFn) -> tuple:
    size = draw(st.integers(1, 6))
    options = {
        "alpha": draw(st.sampled_from([1e-4, 2.0])),
        "beta": draw(st.sampled_from([0.75, 1.0, 2.0])),
        "k": draw(st.sampled_from([1.0, 0.5])),
    }
    shape = (draw(st.integers(0, 2)), *draw(_lengths(draw(st.integers(2, 4)))))
    return "LocalResponseNorm", (size,), options, shape


GENERATED = {"norm": _norms()}

ROWS, IMAGES, HALF = jnp.ones((3, 4)), jnp.ones((2, 4, 3, 3)), jnp.ones(4, jnp.bfloat16)


def linear() -> fdl.nn.Linear:
    """A layer to parametrise."""
    return fdl.nn.Linear(3, 2, rngs=nnx.Rngs(0))


def twice() -> nnx.Module:
    """A weight that is computed already, computed again."""
    return fdl.nn.utils.weight_norm(fdl.nn.utils.weight_norm(linear()))


evaluated = partial(F.instance_norm, use_input_stats=False)
spectral = partial(fdl.nn.utils.spectral_norm, rngs=nnx.Rngs(0))
newer_spectral = partial(fdl.nn.utils.parametrizations.spectral_norm, rngs=nnx.Rngs(0))

REFUSED = [
    refused(ValueError, "batch_norm;eps;0", F.batch_norm, ROWS, None, None, training=True, eps=0.0),
    refused(ValueError, "batch_norm;eps;-1", F.batch_norm, ROWS, ROWS[0], ROWS[0], eps=-1.0),
    refused(ValueError, "batch_norm;both or neither;Pass", F.batch_norm, ROWS, ROWS[0], None),
    refused(ValueError, "batch_norm;(N, C, ...);(4,)", F.batch_norm, ROWS[0], None, None),
    refused(ValueError, "BatchNorm2d;(N, C, H, W);(3, 4)", fdl.nn.BatchNorm2d(4), ROWS),
    refused(ValueError, "SyncBatchNorm;(N, C, ...);(4,)", fdl.nn.SyncBatchNorm(4), ROWS[0]),
    refused(ValueError, "instance_norm;more than 1;(3, 4)", F.instance_norm, ROWS),
    refused(
        ValueError,
        "instance_norm;running_mean;None",
        F.instance_norm,
        IMAGES,
        use_input_stats=False,
    ),
    refused(TypeError, "instance_norm;weight bfloat16", F.instance_norm, IMAGES, weight=HALF),
    refused(
        ValueError, "InstanceNorm2d;num_features;3;4", fdl.nn.InstanceNorm2d(3, affine=True), IMAGES
    ),
    refused(ValueError, "InstanceNorm1d;(C, L);(2, 4, 3, 3)", fdl.nn.InstanceNorm1d(4), IMAGES),
    refused(ValueError, "layer_norm;normalized_shape;(3,);(3, 4)", F.layer_norm, ROWS, 3),
    refused(ValueError, "layer_norm;normalized_shape;()", F.layer_norm, ROWS, ()),
    refused(ValueError, "layer_norm;bias;(4,);(3,)", F.layer_norm, ROWS, 4, None, jnp.ones(3)),
    refused(ValueError, "rms_norm;weight;(4,);(1, 4)", F.rms_norm, ROWS, 4, jnp.ones((1, 4))),
    refused(TypeError, "rms_norm;weight bfloat16", F.rms_norm, ROWS, 4, HALF),
    refused(ValueError, "group_norm;num_groups;4;3", F.group_norm, IMAGES, 3),
    refused(ValueError, "group_norm;num_groups;4;0", F.group_norm, IMAGES, 0),
    refused(ValueError, "group_norm;more than 1;(1, 4)", F.group_norm, ROWS[:1], 4),
    refused(ValueError, "group_norm;weight;3;4", F.group_norm, IMAGES, 2, jnp.ones(3)),
    refused(ValueError, "GroupNorm;num_groups;10;3", fdl.nn.GroupNorm, 3, 10),
    refused(ValueError, "local_response_norm;(N, C, L, ...)", F.local_response_norm, ROWS, 2),
    refused(ValueError, "local_response_norm;size;0", F.local_response_norm, IMAGES, 0),
    refused(ValueError, "normalize;dim;(3, 4);2", F.normalize, ROWS, dim=2),
    refused(ValueError, "normalize;inf;(3, 0)", F.normalize, ROWS[:, :0], p=inf),
    refused(TypeError, "normalize;int32", F.normalize, jnp.ones((2, 2), jnp.int32)),
    refused(ValueError, "weight_norm;name;'w';weight", fdl.nn.utils.weight_norm, linear(), "w"),
    refused(ValueError, "weight_norm;name;computed from others already", twice),
    refused(ValueError, "weight_norm;dim;2", fdl.nn.utils.weight_norm, linear(), dim=2),
    refused(
        ValueError, "remove_weight_norm;name;'weight'", fdl.nn.utils.remove_weight_norm, linear()
    ),
    refused(ValueError, "spectral_norm;name;2 axes;(2,)", spectral, linear(), "bias"),
    refused(ValueError, "spectral_norm;iterations;0", newer_spectral, linear(), "weight", 0),
    refused(ValueError, "spectral_norm;dim;-3", spectral, linear(), dim=-3),
]
