"""Samples of activations, softmax, dropout and containers that torch's table lacks."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import jax.numpy as jnp
import torch
from flax import nnx as flax

import fdl
import fdl.functional as F
from samples.refusal import refused
from samples.sample import Sample

GENERATOR = torch.Generator().manual_seed(0)
KINKS = (-7.0, -3.0, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0, 10.0, 20.0, 21.0)
EXTREMES = (-math.inf, -800.0, 0.25, 800.0, math.inf, math.nan)


def given(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).requires_grad_()


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64).requires_grad_()


def kinks(name: str, *args: Any, at: tuple[float, ...] = KINKS, **options: Any) -> Sample:
    """A layer at the points where its formula changes."""
    return Sample(name, args, options, (given(*at),), label="kinks")


def extremes(name: str, *args: Any) -> Sample:
    """A layer where numbers end."""
    return Sample(name, args, {}, (given(*EXTREMES),), label="extremes")


ELEMENTWISE = (
    *("ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Softplus"),
    *("Softsign", "Softshrink", "Hardshrink", "Tanhshrink", "Hardtanh", "Hardswish"),
    *("Hardsigmoid", "LogSigmoid", "Sigmoid", "Tanh", "PReLU"),
)
ACTIVATIONS = [
    *(kinks(name) for name in ELEMENTWISE),
    *(extremes(name) for name in ELEMENTWISE),
    extremes("Threshold", 0.25, 3.0),
    kinks("LeakyReLU", -0.5),
    kinks("ELU", 2.0),
    kinks("CELU", -0.5),
    kinks("GELU", "tanh"),
    kinks("Softplus", beta=0.5, threshold=10.0),
    kinks("Softplus", beta=-2.0, threshold=1.0),
    kinks("Softshrink", 0.0),
    kinks("Hardshrink", -1.0),
    kinks("Hardtanh", -0.5, 6.0),
    kinks("Threshold", 1.0, -2.0),
    kinks("RReLU", 0.25, 0.25),
    extremes("RReLU", 0.25, 0.25),
    Sample("PReLU", (3,), {"init": -0.5}, (normal(2, 3, 2, 2),)),
    Sample("prelu", (), {}, (normal(4, 3), normal(3)), label="channels"),
    Sample("prelu", (), {}, (given(*KINKS), given(0.3)), label="weight is learnt"),
    Sample("prelu", (), {}, (normal(4, 3), normal().detach().requires_grad_()), label="scalar"),
    Sample("rrelu", (), {"lower": 0.1, "upper": 0.7}, (given(*KINKS),)),
    Sample("rrelu", (), {"lower": 0.3, "upper": 0.3, "training": True}, (given(*KINKS),)),
    Sample("hardtanh", (), {"min_val": 1.0, "max_val": 1.0}, (given(0.0, 1.0, 2.0),)),
    Sample("GLU", (1,), {}, (normal(2, 4, 3),)),
    Sample("glu", (), {"dim": 0}, (normal(4, 0),), label="empty"),
]
ROWS = ((1.0, 1.0, -math.inf), (800.0, -800.0, 0.0), (-math.inf,) * 3, (math.inf, 0.0, 1.0))
SOFTMAXES = [
    *(
        Sample(name, (-1,), {}, (torch.tensor(ROWS, dtype=torch.float64).requires_grad_(),))
        for name in ("Softmax", "Softmin", "LogSoftmax")
    ),
    *(Sample(name, (), {"dim": -1}, (given(3.0)[0],)) for name in ("softmax", "log_softmax")),
    Sample("softmax", (), {"dim": 0}, (normal(3, 0),), label="empty"),
]


def dropped(name: str, p: float, *shape: int) -> Sample:
    return Sample(name, (p,), {}, (normal(*shape),), label=f"{p} {len(shape)}-D")


DROPOUTS = [
    *(dropped("Dropout", p, 2, 3, 4) for p in (0.0, 0.4, 1.0)),
    *(dropped("AlphaDropout", p, 2, 3, 4) for p in (0.0, 0.4, 1.0)),
    *(dropped("FeatureAlphaDropout", p, 4, 3, 2) for p in (0.0, 0.4, 1.0)),
    *(dropped("FeatureAlphaDropout", 0.3, *shape) for shape in ((4, 3), (3, 2, 2, 1, 2))),
    *(dropped("Dropout1d", p, 4, 3, 2) for p in (0.4, 1.0)),
    dropped("Dropout1d", 0.4, 6, 3),
    *(dropped("Dropout2d", p, 4, 3, 2, 2) for p in (0.4, 1.0)),
    dropped("Dropout2d", 0.4, 4, 3, 2),
    *(dropped("Dropout3d", p, 4, 3, 2, 1, 2) for p in (0.4, 1.0)),
    dropped("Dropout3d", 0.4, 6, 2, 2, 2),
    *(
        Sample(name, (), {"p": 0.3, "training": True}, (normal(3, 4, 2),))
        for name in ("dropout", "dropout1d", "dropout2d", "alpha_dropout", "feature_alpha_dropout")
    ),
    Sample("dropout3d", (), {"p": 0.3}, (normal(3, 4, 2, 2),)),
    Sample("alpha_dropout", (), {}, (normal(3, 4),), label="not by default"),
    Sample("Dropout", (0.5,), {}, (given(*EXTREMES),), label="extremes"),
    Sample("AlphaDropout", (0.5,), {}, (given(*EXTREMES),), label="extremes"),
]


class TorchGumbel(torch.nn.Module):
    """Torch's function, with given noise in place of what it draws."""

    def __init__(self, options: dict[str, Any]):
        super().__init__()
        self.options = options

    def forward(self, logits: Any, noise: Any) -> Any:
        drawn = torch.exp(-noise)
        with mock.patch.object(torch.Tensor, "exponential_", return_value=drawn):
            return torch.nn.functional.gumbel_softmax(logits, **self.options)


class FdlGumbel(fdl.nn.Module):
    """The same in fdl."""

    def __init__(self, options: dict[str, Any], _rngs: flax.Rngs):
        self.function = partial(F.gumbel_softmax, **options)

    def __call__(self, logits: Any, noise: Any) -> Any:
        return self.function(logits, noise=noise)


def gumbel(**options: Any) -> Sample:
    builders = partial(TorchGumbel, options), partial(FdlGumbel, options)
    inputs = normal(4, 3), normal(4, 3).detach()
    return Sample("gumbel_softmax", (), {}, inputs, label=str(options), builders=builders)


GUMBELS = [gumbel(), gumbel(tau=0.3, dim=0), gumbel(hard=True)]


class TorchContained(torch.nn.Module):
    """Calls everything in a container, in order."""

    def __init__(self, modules: Callable[[Any], Any]):
        super().__init__()
        self.parts = modules(torch.nn)

    def forward(self, x: Any) -> Any:
        return chained(self.parts, x)


class FdlContained(fdl.nn.Module):
    """The same in fdl."""

    def __init__(self, modules: Callable[[Any], Any], rngs: flax.Rngs):
        self.parts = modules(Seeded(rngs))

    def __call__(self, x: Any) -> Any:
        return chained(self.parts, x)


class Seeded:
    """``fdl.nn`` whose linear layers are given random streams."""

    def __init__(self, rngs: flax.Rngs):
        self.rngs = rngs

    def __getattr__(self, name: str) -> Any:
        kind = getattr(fdl.nn, name)
        return partial(kind, rngs=self.rngs) if name == "Linear" else kind


def chained(parts: Any, x: Any) -> Any:
    values = parts.values() if hasattr(parts, "values") else parts
    for part in values:
        x = part(x)
    return x


def contained(name: str, modules: Callable[[Any], Any], label: str = "") -> Sample:
    """A container, made by one function of ``torch.nn`` or ``fdl.nn``."""
    builders = (lambda: TorchContained(modules)), partial(FdlContained, modules)
    return Sample(name, (), {}, (normal(2, 3),), label=label, builders=builders)


def grown_list(nn: Any) -> Any:
    layers = nn.ModuleList([nn.Linear(3, 4)])
    layers.append(nn.Tanh()).extend([nn.Linear(4, 3), nn.ReLU()])
    layers[1] = nn.Sigmoid()
    return layers + nn.ModuleList([nn.Linear(3, 2)])


def grown_dict(nn: Any) -> Any:
    layers = nn.ModuleDict({"zeta": nn.Linear(3, 4), "alpha": nn.Tanh()})
    layers["middle"] = nn.Linear(4, 2)
    layers.update([("alpha", nn.Sigmoid()), ("last", nn.ReLU())])
    return layers


def named_sequential(nn: Any) -> Any:
    return nn.Sequential(OrderedDict(zeta=nn.Linear(3, 4), alpha=nn.Tanh(), last=nn.Linear(4, 2)))


CONTAINERS = [
    contained("ModuleList", grown_list),
    contained("ModuleList", lambda nn: grown_list(nn)[3:], "sliced"),
    contained("ModuleDict", grown_dict),
    contained("Sequential", lambda nn: nn.Sequential(*[nn.Linear(3, 3)], nn.ReLU())),
    contained("Sequential", named_sequential, "named"),
    contained("Sequential", lambda nn: named_sequential(nn)[:2], "sliced"),
    contained("Sequential", lambda nn: nn.Sequential(nn.Linear(3, 3)).append(nn.Tanh())),
    contained("Sequential", lambda nn: nn.Sequential(nn.Tanh()) + nn.Sequential(nn.Linear(3, 3))),
    Sample("Identity", (54,), {"unused": 0.1}, (normal(2, 3),)),
    Sample("Flatten", (), {}, (normal(2, 3, 4),)),
    Sample("Flatten", (0,), {}, (normal(),), label="scalar"),
    Sample("Flatten", (-3, -2), {}, (normal(2, 3, 4, 0),), label="empty"),
    Sample("Unflatten", (1, (2, 3)), {}, (normal(2, 6),)),
    Sample("Unflatten", (-2, [2, -1, 1]), {}, (normal(2, 6, 3),)),
    Sample("Unflatten", (1, (-1, 3)), {}, (normal(2, 0),), label="empty"),
]
SAMPLES = [*ACTIVATIONS, *SOFTMAXES, *GUMBELS, *DROPOUTS, *CONTAINERS]

X = jnp.ones((2, 3))
RNGS = flax.Rngs(0)
RELU = fdl.nn.ReLU()


def calls(layer: fdl.nn.Module, x: Any = X) -> Callable[..., Any]:
    return lambda: layer(x)  # pyrefly: ignore


REFUSED = [
    refused(ValueError, "prelu;weight;(2,)", F.prelu, X, jnp.ones(2)),
    refused(ValueError, "prelu;weight;(1, 3)", F.prelu, X, jnp.ones((1, 3))),
    refused(TypeError, "prelu;weight bfloat16", F.prelu, X, jnp.ones(3, jnp.bfloat16)),
    refused(ValueError, "PReLU;num_parameters;0", fdl.nn.PReLU, 0),
    refused(ValueError, "rrelu;lower;0.5", F.rrelu, X, 0.5, 0.2),
    refused(ValueError, "rrelu;key", F.rrelu, X, training=True),
    refused(ValueError, "celu;alpha;0", F.celu, X, 0),
    refused(ValueError, "gelu;approximate;'erf'", F.gelu, X, "erf"),
    refused(ValueError, "glu;input;(2, 3)", F.glu, X),
    refused(ValueError, "glu;dim;2", F.glu, X, 2),
    refused(ValueError, "glu;dim", F.glu, jnp.ones(())),
    refused(ValueError, "softshrink;lambd;-1", F.softshrink, X, -1),
    refused(ValueError, "hardtanh;min_val;2", F.hardtanh, X, 2, 1),
    refused(ValueError, "Hardtanh;max_val;1", fdl.nn.Hardtanh, 1, 1),
    refused(ValueError, "softmax;dim;2", F.softmax, X, 2),
    refused(ValueError, "log_softmax;dim;-2", F.log_softmax, jnp.ones(3), -2),
    refused(TypeError, "softmax;input;int32", F.softmax, jnp.ones(3, jnp.int32), 0),
    refused(ValueError, "Softmax2d;input;(2, 3)", calls(fdl.nn.Softmax2d())),
    refused(ValueError, "gumbel_softmax;key;neither", F.gumbel_softmax, X),
    refused(ValueError, "gumbel_softmax;noise;(3,)", F.gumbel_softmax, X, noise=X[0]),
    refused(ValueError, "dropout;key", F.dropout, X),
    refused(ValueError, "alpha_dropout;p;1.5", F.alpha_dropout, X, 1.5),
    refused(ValueError, "dropout1d;input;(N, C, L)", F.dropout1d, jnp.ones((1, 2, 3, 4))),
    refused(ValueError, "dropout2d;input;(N, C, H, W)", F.dropout2d, X),
    refused(ValueError, "dropout3d;input;(2, 3)", F.dropout3d, X),
    refused(ValueError, "feature_alpha_dropout;(N, C, *)", F.feature_alpha_dropout, X[0]),
    refused(ValueError, "AlphaDropout;p;-0.1", fdl.nn.AlphaDropout, -0.1, rngs=RNGS),
    refused(ValueError, "Flatten;start_dim;(2, 3)", calls(fdl.nn.Flatten(2))),
    refused(TypeError, "Unflatten;unflattened_size;3", fdl.nn.Unflatten, 1, 3),
    refused(TypeError, "Unflatten;unflattened_size;1.0", fdl.nn.Unflatten, 1, (3, 1.0)),
    refused(ValueError, "Unflatten;unflattened_size;(2, 2)", calls(fdl.nn.Unflatten(1, (2, 2)))),
    refused(ValueError, "Unflatten;unflattened_size", calls(fdl.nn.Unflatten(1, (-1, -1)))),
    refused(ValueError, "Unflatten;unflattened_size;()", calls(fdl.nn.Unflatten(1, ()))),
    refused(ValueError, "Unflatten;dim;2", calls(fdl.nn.Unflatten(2, (3, 1)))),
    refused(TypeError, "Sequential;0;[", fdl.nn.Sequential, [RELU]),
    refused(ValueError, "Sequential;name;'append'", fdl.nn.Sequential, {"append": RELU}),
    refused(TypeError, "ModuleList;1;3", fdl.nn.ModuleList, [RELU, 3]),
    refused(ValueError, "ModuleDict;name;'a.b'", fdl.nn.ModuleDict, {"a.b": RELU}),
    refused(ValueError, "ModuleDict;name;'keys'", fdl.nn.ModuleDict, {"keys": RELU}),
    refused(TypeError, "ModuleDict;name;1", fdl.nn.ModuleDict, {1: RELU}),
]
