"""fdl.as_model: any NNX network as pure functions, with nothing mutated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import fdl
from fdl import nn


class Mixed(nnx.Module):
    """A user's network: fdl layers, plain Flax layers, two inputs, a tree of outputs."""

    def __init__(self, rngs: nnx.Rngs):
        self.left = nn.Sequential(nn.Linear(3, 4, rngs=rngs), nn.ReLU())
        self.right = nnx.Linear(2, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.List([nn.Linear(4, 2, rngs=rngs), nn.Dropout(0.5, rngs=rngs)])
        self.relu = nn.ReLU()

    def __call__(self, a, b):
        joined = self.norm(self.relu(self.left(a) + self.right(b)))
        hidden = self.relu(self.drop(joined))
        return {"out": self.head[1](self.head[0](hidden)), "hidden": hidden}


MODEL = fdl.as_model(Mixed)
INPUTS = (jnp.linspace(-1, 1, 24).reshape(8, 3), jnp.linspace(2, -2, 16).reshape(8, 2))


@pytest.fixture
def tensors():
    return MODEL.init(jax.random.key(0))


def test_names_are_attribute_paths(tensors):
    params, buffers = tensors
    assert {"left.0.weight", "right.kernel", "norm.scale", "head.0.bias"} <= params.keys()
    assert buffers.keys() == {"norm.mean", "norm.var"}


def test_several_inputs_and_any_output(tensors):
    output, _ = MODEL.apply(*tensors, *INPUTS)
    assert output["out"].shape == (8, 2)
    assert output["hidden"].shape == (8, 4)


def test_training_returns_buffers_and_changes_nothing(tensors):
    before = jax.tree.map(np.array, tensors)
    _, updated = MODEL.apply(*tensors, *INPUTS, train=True, key=jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, tensors, before)
    assert not np.array_equal(updated["norm.mean"], before[1]["norm.mean"])
    _, untouched = MODEL.apply(*tensors, *INPUTS)
    jax.tree.map(np.testing.assert_array_equal, untouched, before[1])


def test_a_key_is_a_mask(tensors):
    def hidden(seed):
        key = jax.random.key(seed)
        return MODEL.apply(*tensors, *INPUTS, train=True, key=key)[0]["hidden"]

    assert np.array_equal(hidden(1), hidden(1))
    assert not np.array_equal(hidden(1), hidden(2))


def test_each_dropout_has_a_mask_of_its_own():
    twice = fdl.as_model(
        lambda rngs: nn.Sequential(nn.Dropout(0.5, rngs=rngs), nn.Dropout(0.5, rngs=rngs))
    )
    ones = jnp.ones(64)
    trace = twice.trace({}, {}, ones, train=True, key=jax.random.key(0))
    first, second = trace["0"] > 0, trace["1"] > 0
    assert np.any(first & ~second)  # equal masks would drop nothing more


@pytest.mark.parametrize("train", [False, True])
def test_trace_sees_every_call(tensors, train):
    key = jax.random.key(1) if train else None
    outputs = MODEL.trace(*tensors, *INPUTS, train=train, key=key)
    expected, _ = MODEL.apply(*tensors, *INPUTS, train=train, key=key)
    jax.tree.map(np.testing.assert_array_equal, outputs[""], expected)
    assert {"left", "left.0", "left.1", "right", "norm", "drop", "relu", "relu#2"} <= outputs.keys()
    assert np.array_equal(outputs["relu#2"], expected["hidden"])
    assert not np.array_equal(outputs["relu"], outputs["relu#2"])


def test_one_program_serves_all_steps(tensors):
    traces = []

    @jax.jit
    def forward(params, buffers, key):
        traces.append(1)
        return MODEL.apply(params, buffers, *INPUTS, train=True, key=key)

    params, buffers = tensors
    for step in range(3):
        _, buffers = forward(params, buffers, jax.random.key(step))
    assert len(traces) == 1


def test_transformations_compose(tensors):
    params, buffers = tensors

    def loss(params, key):
        output, _ = MODEL.apply(params, buffers, *INPUTS, train=True, key=key)
        return output["out"].sum()

    keys = jax.random.split(jax.random.key(0), 5)
    grads = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(params, keys)
    assert all(grads[name].shape == (5, *params[name].shape) for name in params)

    def body(buffers, key):
        _, buffers = MODEL.apply(params, buffers, *INPUTS, train=True, key=key)
        return buffers, None

    final, _ = jax.lax.scan(body, buffers, keys)
    assert final.keys() == buffers.keys()


def test_shared_modules_are_one_parameter():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.first = nn.Linear(3, 3, rngs=rngs)
            self.again = self.first

        def __call__(self, x):
            return self.again(self.first(x))

    model = fdl.as_model(Tied)
    params, buffers = model.init(jax.random.key(0))
    assert len(params) == 2
    x = jnp.ones((2, 3))
    weight, bias = (next(v for k, v in params.items() if k.endswith(n)) for n in ("weight", "bias"))
    expected = (x @ weight.T + bias) @ weight.T + bias
    np.testing.assert_array_equal(model.apply(params, buffers, x)[0], expected)


def test_layers_are_ordinary_nnx_modules():
    rngs = nnx.Rngs(0)
    net = nn.Sequential(nn.Linear(3, 4, rngs=rngs), nn.BatchNorm2d(4), nn.Dropout(0.5, rngs=rngs))
    images = jnp.arange(96.0).reshape(2, 4, 4, 3)

    @nnx.jit
    def forward(net, x):
        return net[2](net[1](net[0](x).transpose(0, 3, 1, 2)))

    first, second = forward(net, images), forward(net, images)
    assert not np.array_equal(first, second)  # the stream moved on
    assert int(net[1].num_batches_tracked[...]) == 2
    net.eval()
    assert np.array_equal(forward(net, images), forward(net, images))
    net.train()
    assert net[2].training


def test_missing_key_is_named(tensors):
    with pytest.raises(ValueError, match=r"key: expected a jax.random.key, got None.*'drop'"):
        MODEL.apply(*tensors, *INPUTS, train=True)


def test_all_wrong_tensors_are_listed_at_once(tensors):
    params, buffers = tensors
    wrong = {**params, "extra": jnp.ones(1), "head.0.bias": jnp.ones(7)}
    del wrong["left.0.weight"]
    with pytest.raises(ValueError, match="3 problems") as caught:
        MODEL.apply(wrong, buffers, *INPUTS)
    message = str(caught.value)
    assert "missing 'left.0.weight' (4, 3)" in message
    assert "unexpected 'extra' (1,)" in message
    assert "'head.0.bias': expected shape (2,), got (7,)" in message
    with pytest.raises(ValueError, match="buffers do not fit"):
        MODEL.apply(params, {}, *INPUTS)
