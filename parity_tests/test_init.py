"""Initial parameters have torch's distributions: the two-sample Kolmogorov-Smirnov test."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from samples.catalogue import shown
from samples.sample import Sample
from scipy.stats import ks_2samp

import fdl

SIGNIFICANCE = 1e-3
"""Samples of one distribution come out less likely than this once in a thousand tests."""
MOST = 20_000
"""Elements of a tensor that are compared."""

LAYERS = {
    "Linear": ("Linear", (50, 4000), {}, 1 / math.sqrt(50)),
    "Linear of one input": ("Linear", (1, 5000), {}, 1.0),
    "Conv2d": ("Conv2d", (3, 4000, (3, 2)), {}, 1 / math.sqrt(18)),
    "Conv2d groups": ("Conv2d", (16, 4000, 3), {"groups": 8}, 1 / math.sqrt(18)),
    "Conv2d depthwise": ("Conv2d", (4000, 4000, 3), {"groups": 4000}, 1 / 3),
    "LSTM": ("LSTM", (30, 500), {"num_layers": 2}, 1 / math.sqrt(500)),
    "LSTM projected": (
        "LSTM",
        (30, 500),
        {"proj_size": 40, "bidirectional": True},
        1 / math.sqrt(500),
    ),
}
LAYERS_DRAWN = 100
each_layer = pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS)


def draws(sample: Sample) -> bool:
    """Whether it has parameters of its own; a stack copies those of the layer that it is given."""
    given = any(isinstance(argument, torch.nn.Module) for argument in sample.args)
    return not given and any(True for _ in sample.in_torch().parameters())


def fdl_parameters(case, seed: int = 0) -> dict[str, np.ndarray]:
    name, args, kwargs, _ = case
    model = fdl.as_model(lambda rngs: getattr(fdl.nn, name)(*args, **kwargs, rngs=rngs))
    params, _ = model.init(jax.random.key(seed))
    return {key: np.asarray(value) for key, value in params.items()}


def torch_parameters(case) -> dict[str, np.ndarray]:
    name, args, kwargs, _ = case
    torch.manual_seed(0)
    module = getattr(torch.nn, name)(*args, **kwargs)
    return {key: value.detach().numpy() for key, value in module.named_parameters()}


def likelihood(sample: np.ndarray, other: np.ndarray) -> float:
    return ks_2samp(sample.ravel()[:MOST], other.ravel()[:MOST]).pvalue


@each_layer
def test_distribution_is_torchs(case):
    drawn, expected = fdl_parameters(case), torch_parameters(case)
    assert drawn.keys() == expected.keys()
    found = {name: likelihood(drawn[name], expected[name]) for name in expected}
    assert min(found.values()) > SIGNIFICANCE, found


@each_layer
def test_bounds_are_kept_and_reached(case):
    bound = np.float32(case[-1])
    for name, values in fdl_parameters(case).items():
        assert np.abs(values).max() <= bound, name
        assert np.abs(values).max() > bound * (1 - 10 / values.size), name


@pytest.mark.parametrize("name", [n for n, s in shown().items() if draws(s)])
def test_every_layer_starts_as_torchs(name):
    """Many small layers of each kind, all their elements together."""
    sample = shown()[name].cast("float32")
    model = fdl.as_model(sample.in_fdl)
    drawn, _ = jax.jit(jax.vmap(model.init))(jax.random.split(jax.random.key(0), LAYERS_DRAWN))
    torch.manual_seed(0)
    made = [dict(sample.in_torch().named_parameters()) for _ in range(LAYERS_DRAWN)]
    for key, values in drawn.items():
        expected = np.stack([parameters[key].detach().numpy() for parameters in made])
        assert values.shape == expected.shape
        assert likelihood(np.asarray(values), expected) > SIGNIFICANCE / 10, key


MISTAKES = {
    "lecun_normal": jax.nn.initializers.lecun_normal(in_axis=1, out_axis=0),
    "he_uniform": jax.nn.initializers.he_uniform(in_axis=1, out_axis=0),
    "fan_out": fdl.nn.init.uniform(fdl.nn.init.default_bound(4000)),
    "a bound 5 % too wide": fdl.nn.init.uniform(1.05 * fdl.nn.init.default_bound(50)),
    "always positive": lambda *args: jnp.abs(
        fdl.nn.init.uniform(fdl.nn.init.default_bound(50))(*args)
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_another_distribution_is_found(mistake):
    expected = torch_parameters(LAYERS["Linear"])["weight"]
    wrong = np.asarray(MISTAKES[mistake](jax.random.key(0), expected.shape, jnp.float32))
    assert likelihood(wrong, expected) < SIGNIFICANCE


def test_batch_norm_starts_as_torchs():
    model = fdl.as_model(lambda _: fdl.nn.BatchNorm2d(3))
    params, buffers = model.init(jax.random.key(0))
    expected = torch.nn.BatchNorm2d(3).state_dict()
    assert {**params, **buffers}.keys() == expected.keys()
    for name, array in {**params, **buffers}.items():
        np.testing.assert_array_equal(array, expected[name].numpy())


@each_layer
def test_key_decides(case):
    first, again, other = (fdl_parameters(case, seed) for seed in (0, 0, 1))
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
        assert not np.array_equal(values, other[name]), name


def test_parameters_of_one_shape_differ():
    model = fdl.models.mlp([30, 30, 30, 30])
    params, _ = model.init(jax.random.key(0))
    weights = [params[name] for name in ("0.weight", "2.weight", "4.weight")]
    gates = fdl_parameters(("LSTM", (30, 30), {"num_layers": 2, "bidirectional": True}, None))
    for same_shape in (weights, [g for g in gates.values() if g.shape == (120, 30)]):
        flat = np.stack([np.ravel(values) for values in same_shape])
        correlations = np.corrcoef(flat) - np.eye(len(flat))
        assert np.abs(correlations).max() < 5 / math.sqrt(flat.shape[1])


def test_dtype_is_asked_for():
    layer = fdl.nn.LSTM(3, 4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    parameters = jax.tree.leaves(nnx.state(layer, nnx.Param))
    assert {str(leaf.dtype) for leaf in parameters} == {"bfloat16"}
    with jax.enable_x64(True):
        params, _ = fdl.models.mlp([3, 2]).init(jax.random.key(0))
        assert {str(value.dtype) for value in params.values()} == {"float64"}


def test_a_layer_without_inputs():
    params = fdl_parameters(("Linear", (0, 3), {}, None))
    assert params["weight"].shape == (3, 0)
    assert not params["bias"].any()
