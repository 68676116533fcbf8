"""Programs for a batch of any size, as jax.export makes them from a symbolic shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nearness import assert_near

import fdl.functional as F
from fdl import models
from fdl.functional import _product
from fdl.functional._convolution import cpu
from fdl.train import supervised

BERT = models.BertConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
)
NETWORKS = {
    "cnn": (models.cnn(), (1, 28, 28)),
    "lstm": (models.lstm(6, 8, 3), (7, 6)),
    "mlp": (models.mlp([784, 32, 10]), (784,)),
    "resnet18": (models.resnet18(), (3, 32, 32)),
}
PLATFORMS = ["cpu", "cuda", "tpu"]


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def exported(function, *arguments, platforms=("cpu",)):
    """A program of a function whose last arguments have the same first axis, of any length."""
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = [jax.ShapeDtypeStruct((batch, *row), dtype) for row, dtype in arguments]
    return jax.export.export(jax.jit(function), platforms=platforms)(*shapes)


@pytest.mark.parametrize("intel", [False, True])
@pytest.mark.parametrize(
    ("function", "row", "weight"),
    [(F.linear, (3,), (4, 3)), (F.conv2d, (4, 5, 5), (4, 4, 3, 3))],
    ids=["product", "convolution"],
)
def test_gradients(function, row, weight, intel, monkeypatch):
    for module in (_product, cpu):
        monkeypatch.setattr(module, "is_intel", lambda: intel)
    w = drawn(*weight)
    gradients = jax.jit(jax.grad(lambda x, w: jnp.sin(function(x, w)).sum(), (0, 1)))
    program = exported(lambda x: gradients(x, w), (row, jnp.float32))
    for rows in (1, 6):
        x = drawn(rows, *row)
        jax.tree.map(assert_near, program.call(x), gradients(x, w))


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs(name):
    model, row = NETWORKS[name]
    params, buffers = model.init(jax.random.key(0))

    def output(x):
        return model.apply(params, buffers, x)[0]

    program = exported(output, (row, jnp.float32), platforms=PLATFORMS)
    for rows in (1, 5):
        x = drawn(rows, *row)
        assert_near(program.call(x), jax.jit(output)(x))


@pytest.mark.parametrize("name", ["cnn", "lstm", "mlp"])
def test_training(name):
    model, row = NETWORKS[name]
    params, buffers = model.init(jax.random.key(0))
    loss_fn = supervised(model, F.cross_entropy)

    def gradients(x, labels):
        def loss(params):
            return loss_fn(params, buffers, (x, labels), train=True, key=jax.random.key(0))[0]

        return jax.value_and_grad(loss)(params)

    program = exported(gradients, (row, jnp.float32), ((), jnp.int32))
    x, labels = drawn(4, *row), jnp.array([0, 2, 1, 2])
    jax.tree.map(assert_near, program.call(x, labels), jax.jit(gradients)(x, labels))


def test_bert():
    model = models.bert(BERT)
    params, buffers = model.init(jax.random.key(0))

    def output(tokens, mask):
        return model.apply(params, buffers, tokens, mask)[0]

    program = exported(output, ((5,), jnp.int32), ((5,), jnp.int32), platforms=PLATFORMS)
    tokens = jnp.arange(15).reshape(3, 5)
    mask = jnp.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    found, expected = program.call(tokens, mask), jax.jit(output)(tokens, mask)
    jax.tree.map(assert_near, tuple(found), tuple(expected))


def test_chunks_of_rows_are_all_rows():
    options = F.LinearCrossEntropyOptions(batch_chunk_size=2)
    weight = drawn(4, 3)

    def loss(x, labels):
        return F.linear_cross_entropy(x, weight, labels, options=options)

    program = exported(loss, ((3,), jnp.float32), ((), jnp.int32))
    x, labels = drawn(5, 3), jnp.arange(5) % 4
    assert_near(program.call(x, labels), loss(x, labels))
