"""Networks over images compute the same with channels last inside as without."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nearness import assert_equal

import fdl
import fdl.functional as F
from fdl import _model
from fdl._channels_last import with_channels_last


def through(function, *operands):
    """A function of images, jitted, its results with channels last inside and without."""
    inside = jax.jit(lambda *operands: with_channels_last(function, operands))
    return inside(*operands), function(*operands)


KERNEL = np.random.default_rng(1).normal(size=(4, 4, 3, 3))
OPERATIONS = {
    "elementwise": lambda x: jnp.tanh(x) * 2 + jnp.where(x > 0, x, 0.5),
    "two images": lambda x: x * x[::-1],
    "by channel": lambda x: x + jnp.arange(4.0).reshape(-1, 1, 1),
    "by pixel": lambda x: x * jnp.arange(6.0),
    "mean by channel": lambda x: x - x.mean((0, 2, 3), keepdims=True),
    "mean over channels": lambda x: x.mean(1),
    "largest of rows": lambda x: x.max(2),
    "sum of samples": lambda x: x.sum(0),
    "sum of planes": lambda x: x.sum((2, 3)),
    "sum of all": jnp.sum,
    "cumulated": lambda x: jnp.cumsum(x, 1),
    "joined channels": lambda x: jnp.concatenate([x, jnp.ones_like(x)], 1),
    "joined rows": lambda x: jnp.concatenate([x, 2 * x], 2),
    "padded": lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 2), (3, 1))),
    "cut out": lambda x: x[:, 1:3, 2:, ::2],
    "flattened": lambda x: x.reshape(len(x), -1),
    "pooled": lambda x: F.max_pool2d(x, 2),
    "averaged": lambda x: F.avg_pool2d(x, 2),
    "jitted": jax.jit(lambda x: jnp.exp(x)),
    "rematerialised": jax.checkpoint(lambda x: jnp.sin(x)),
    "in a loop": lambda x: jax.lax.fori_loop(0, 3, lambda _, y: jnp.cos(y), x),
    "normalised": lambda x: F.batch_norm(x, None, None, training=True).output,
    "upsampled": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "transposed convolution": lambda x: F.conv_transpose2d(x, jnp.asarray(KERNEL)),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
@pytest.mark.usefixtures("x64")
def test_results_and_gradients_stay_the_same(operation):
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 8)))

    def function(x):
        y = operation(F.conv2d(x, jnp.asarray(KERNEL), padding=(1, 0)))
        return F.conv2d(y, jnp.ones((3, y.shape[1], 1, 1))) if y.ndim == 4 else y

    def squares(x):
        return jnp.sum(jnp.square(function(x)))

    ours, expected = through(function, images)
    assert_equal({"output": ours}, {"output": np.asarray(expected)})
    ours, expected = through(jax.grad(squares), images)
    assert_equal({"gradient": ours}, {"gradient": np.asarray(expected)})
    gradient = jax.jit(jax.grad(lambda x: with_channels_last(squares, (x,))))
    assert_equal({"gradient": gradient(images)}, {"gradient": np.asarray(expected)})


@pytest.mark.usefixtures("x64")
def test_sequences_and_volumes_have_channels_too():
    for axes in (1, 3):
        images = jnp.ones((2, 3, *(4,) * axes))
        convolve = getattr(F, f"conv{axes}d")
        kernel = jnp.ones((5, 3, *(2,) * axes))
        ours, expected = through(lambda x, f=convolve, w=kernel: F.relu(f(x, w)).sum(1), images)
        assert_equal({"output": ours}, {"output": np.asarray(expected)})


def test_what_is_no_array_stays_as_it_is():
    def function(x, options):
        assert options == {"mode": "nearest", "factor": 2.0}
        return F.interpolate(x, scale_factor=options["factor"], mode=options["mode"])

    options = {"mode": "nearest", "factor": 2.0}
    inside = jax.jit(lambda x: with_channels_last(function, (x, options)))
    assert inside(jnp.ones((1, 2, 3, 3))).shape == (1, 2, 6, 6)


def network(rngs):
    return fdl.nn.Sequential(
        fdl.nn.Conv2d(3, 8, 3, rngs=rngs),
        fdl.nn.BatchNorm2d(8, rngs=rngs),
        fdl.nn.ReLU(),
        fdl.nn.Conv2d(8, 8, 3, padding=1, rngs=rngs),
        fdl.nn.MaxPool2d(2),
        fdl.nn.Conv2d(8, 4, 3, rngs=rngs),
    )


def axes_of_channels(monkeypatch, *, inside):
    """Where the elementwise operations of a training step have the 8 channels of their images."""
    if not inside:
        monkeypatch.setattr(_model, "with_channels_last", lambda function, args: function(*args))
    model = fdl.as_model(network)
    params, buffers = model.init(jax.random.key(0))

    def loss(params, x):
        return jnp.sum(model.apply(params, buffers, x, train=True)[0] ** 2)

    traced = str(jax.make_jaxpr(jax.grad(loss))(params, jnp.ones((2, 3, 12, 12))))
    shapes = re.findall(r"f32\[(\d+),(\d+),(\d+),(\d+)\] = (?:mul|sub|select_n)", traced)
    return {shape.index("8") for shape in shapes if "8" in shape and shape[0] == "2"}


def test_images_are_turned_at_the_edges_alone(monkeypatch):
    assert axes_of_channels(monkeypatch, inside=True) == {3}
    assert 1 in axes_of_channels(monkeypatch, inside=False)


def test_no_traced_value_no_detour(monkeypatch):
    monkeypatch.setattr(_model, "with_channels_last", None)
    model = fdl.as_model(network)
    params, buffers = model.init(jax.random.key(0))
    output, _ = model.apply(params, buffers, jnp.ones((2, 3, 12, 12)))
    assert output.shape == (2, 4, 3, 3)
