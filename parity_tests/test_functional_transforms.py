"""JAX's transformations of every function and layer: vmap, export, bfloat16, second derivatives."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as tF
from flax import nnx
from nearness import assert_equal, jax_values

import fdl
import fdl.functional as F

KEY = jax.random.key(0)
IMAGE, SEQUENCE = (2, 4, 6, 6), (5, 2, 3)
LABELS = np.array([0, 2, 2, 1])
LSTM_SHAPES = [(16, 3), (16, 4), (16,), (16,)]


class Case(NamedTuple):
    """A function of float arrays that returns one, the first array being its input."""

    function: Callable[..., Any]
    shapes: Sequence[tuple[int, ...]]


def lstm(x, *weights):
    return F.lstm(x, None, [[F.LSTMWeights(*weights)]])[0]


def batch_norm(x, weight, bias):
    return F.batch_norm(x, None, None, weight, bias, training=True).output


def of_layer(build: Callable[[nnx.Rngs], nnx.Module], shape: tuple[int, ...]) -> Case:
    """A layer in training mode, its parameters among the arrays."""
    model = fdl.as_model(build)
    params, buffers = model.init(KEY)

    def function(x, *values):
        named = dict(zip(params, values, strict=True))
        output, _ = model.apply(named, buffers, x, train=True, key=KEY)
        return output[0] if isinstance(output, tuple) else output

    return Case(function, [shape, *(array.shape for array in params.values())])


CASES = {
    "linear": Case(F.linear, [(4, 3), (2, 3), (2,)]),
    "conv2d": Case(partial(F.conv2d, padding="same", groups=2), [IMAGE, (6, 2, 3, 3), (6,)]),
    "max_pool2d": Case(partial(F.max_pool2d, kernel_size=3, stride=2, padding=1), [IMAGE]),
    "relu": Case(F.relu, [IMAGE]),
    "sigmoid": Case(F.sigmoid, [IMAGE]),
    "tanh": Case(F.tanh, [IMAGE]),
    "dropout": Case(partial(F.dropout, p=0.3, key=KEY), [IMAGE]),
    "batch_norm": Case(batch_norm, [IMAGE, (4,), (4,)]),
    "lstm": Case(lstm, [SEQUENCE, *LSTM_SHAPES]),
    "mse_loss": Case(F.mse_loss, [(4, 3), (4, 3)]),
    "cross_entropy": Case(lambda x: F.cross_entropy(x, jnp.asarray(LABELS)), [(4, 3)]),
    "Linear": of_layer(lambda rngs: fdl.nn.Linear(3, 2, rngs=rngs), (4, 3)),
    "Conv2d": of_layer(
        lambda rngs: fdl.nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect", rngs=rngs), IMAGE
    ),
    "MaxPool2d": of_layer(lambda _: fdl.nn.MaxPool2d(2, dilation=2), IMAGE),
    "ReLU": of_layer(lambda _: fdl.nn.ReLU(), IMAGE),
    "Sigmoid": of_layer(lambda _: fdl.nn.Sigmoid(), IMAGE),
    "Tanh": of_layer(lambda _: fdl.nn.Tanh(), IMAGE),
    "Flatten": of_layer(lambda _: fdl.nn.Flatten(), IMAGE),
    "Dropout": of_layer(lambda rngs: fdl.nn.Dropout(0.5, rngs=rngs), IMAGE),
    "BatchNorm2d": of_layer(lambda _: fdl.nn.BatchNorm2d(4), IMAGE),
    "LSTM": of_layer(
        lambda rngs: fdl.nn.LSTM(3, 4, 2, dropout=0.5, bidirectional=True, proj_size=2, rngs=rngs),
        SEQUENCE,
    ),
    "Sequential": of_layer(
        lambda rngs: fdl.nn.Sequential(fdl.nn.Linear(3, 2, rngs=rngs), fdl.nn.Tanh()), (4, 3)
    ),
}
each_case = pytest.mark.parametrize("name", CASES)


def arrays_of(shapes: Sequence[tuple[int, ...]], *, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape) for shape in shapes]


@each_case
def test_vmap_is_a_loop(name):
    function, (shape, *others) = CASES[name]
    inputs, *rest = arrays_of([(3, *shape), *others])
    with jax.enable_x64(True):
        values = jax.jit(partial(jax_values, function))
        batched = jax.vmap(lambda x: values([x, *map(jnp.asarray, rest)]))(jnp.asarray(inputs))
        looped = [values([x, *rest]) for x in inputs]
        stacked = {key: np.stack([row[key] for row in looped]) for key in looped[0]}
        assert_equal(batched, stacked)


@each_case
def test_lowers_for_accelerators(name):
    function, shapes = CASES[name]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    values = jax.jit(lambda *arrays: jax_values(function, arrays))
    for platform in ("cuda", "tpu"):
        assert jax.export.export(values, platforms=[platform])(*arrays).platforms == (platform,)


@each_case
def test_bfloat16_in_bfloat16_out(name):
    function, shapes = CASES[name]
    arrays = [jnp.asarray(array, jnp.bfloat16) for array in arrays_of(shapes)]
    values = jax.jit(partial(jax_values, function))(arrays)
    assert {key: str(value.dtype) for key, value in values.items()} == dict.fromkeys(
        values, "bfloat16"
    )
    assert all(jnp.isfinite(value).all() for value in values.values())


def torch_lstm(x, *weights):
    zeros = x.new_zeros((1, x.shape[1], 4))
    return torch.lstm(x, (zeros, zeros), weights, True, 1, 0.0, False, False, False)[0]


TWICE = {
    "linear": tF.linear,
    "conv2d": lambda x, w, b: tF.conv2d(x, w, b, padding="same", groups=2),
    "max_pool2d": lambda x: tF.max_pool2d(x, 3, 2, 1),
    "relu": tF.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "batch_norm": lambda x, w, b: tF.batch_norm(x, None, None, w, b, training=True),
    "lstm": torch_lstm,
    "mse_loss": tF.mse_loss,
    "cross_entropy": lambda x: tF.cross_entropy(x, torch.tensor(LABELS)),
}


def torch_hvp(function, arrays, tangents):
    """The Hessian of the output's squared sum, times a vector."""
    tensors = [torch.tensor(array).requires_grad_() for array in arrays]
    value = function(*tensors).square().sum()
    grads = torch.autograd.grad(value, tensors, create_graph=True)
    along = sum((g * torch.tensor(t)).sum() for g, t in zip(grads, tangents, strict=True))
    return [h.numpy() for h in torch.autograd.grad(along, tensors, materialize_grads=True)]


def fdl_hvp(function, arrays, tangents):
    gradient = jax.grad(lambda *x: jnp.square(function(*x)).sum(), tuple(range(len(arrays))))
    arrays, tangents = (tuple(map(jnp.asarray, side)) for side in (arrays, tangents))
    return jax.jit(lambda *side: jax.jvp(gradient, *side)[1])(arrays, tangents)


@pytest.mark.parametrize("name", TWICE)
def test_second_derivative(name):
    function, shapes = CASES[name]
    arrays, tangents = arrays_of(shapes), arrays_of(shapes, seed=1)
    expected = torch_hvp(TWICE[name], arrays, tangents)
    with jax.enable_x64(True):
        got = fdl_hvp(function, arrays, tangents)
        assert_equal(dict(enumerate(got)), dict(enumerate(expected)))
