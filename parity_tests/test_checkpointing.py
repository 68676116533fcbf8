"""Computing again instead of remembering: the same numbers, in less memory."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nearness import assert_equal

import fdl
from fdl.functional._formulations import forced
from fdl.nn.utils import checkpoint

KEY = jax.random.key(0)


class Block(fdl.nn.Module):
    """A residual block with all that a forward pass can do: statistics, dropout, parameters."""

    def __init__(self, channels: int, dropout: float, rngs):
        self.conv1 = fdl.nn.Conv2d(channels, channels, 3, padding=1, bias=False, rngs=rngs)
        self.bn1 = fdl.nn.BatchNorm2d(channels)
        self.conv2 = fdl.nn.Conv2d(channels, channels, 3, padding=1, rngs=rngs)
        self.dropout = fdl.nn.Dropout(dropout, rngs=rngs)

    def __call__(self, x):
        hidden = fdl.functional.silu(self.bn1(self.conv1(x)))
        return x + self.dropout(self.conv2(fdl.functional.silu(hidden)))


def deep(blocks: int, *, remat: bool, dropout: float = 0.3, channels: int = 4) -> fdl.Model:
    class Deep(fdl.nn.Module):
        def __init__(self, rngs):
            self.blocks = fdl.nn.ModuleList([Block(channels, dropout, rngs) for _ in range(blocks)])

        def __call__(self, x):
            for block in self.blocks:
                x = checkpoint(block, x) if remat else block(x)
            return x

    return fdl.as_model(Deep)


def evaluated(model: fdl.Model, params, buffers, images, *, train: bool):
    """Output, buffers, and gradients of parameters and inputs."""

    def loss(params, images):
        output, updated = model.apply(params, buffers, images, train=train, key=KEY)
        return (output**2).sum(), (output, updated)

    (gradients, (output, updated)) = jax.grad(loss, (0, 1), has_aux=True)(params, images)
    of_params, of_images = gradients
    return {
        **{f"gradient {name}": value for name, value in of_params.items()},
        **{f"buffer {name}": value for name, value in updated.items()},
        "input gradient": of_images,
        "output": output,
    }


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("jitted", [True, False], ids=["jit", "eager"])
def test_everything_is_equal_with_and_without(train, jitted, x64):
    plain, again = deep(2, remat=False), deep(2, remat=True)
    params, buffers = plain.init(KEY)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 5)))
    results = []
    for model in (plain, again):

        def run(params, buffers, images, model=model):
            return evaluated(model, params, buffers, images, train=train)

        results.append((jax.jit(run) if jitted else run)(params, buffers, images))
    expected, got = results
    assert_equal(got, {name: np.asarray(value) for name, value in expected.items()})
    counts = {int(v) for name, v in got.items() if name.endswith("num_batches_tracked")}
    assert counts == {int(train)}  # once, although the forward pass is computed twice


def test_the_same_key_drops_the_same_and_another_key_does_not(x64):
    plain, again = deep(2, remat=False), deep(2, remat=True)
    params, buffers = plain.init(KEY)
    images = jnp.ones((1, 4, 5, 5))
    outputs = [
        model.apply(params, buffers, images, train=True, key=key)[0]
        for model, key in itertools.product((plain, again), (KEY, jax.random.key(1)))
    ]
    assert_equal({"output": outputs[2]}, {"output": np.asarray(outputs[0])})
    assert float(jnp.abs(outputs[0] - outputs[1]).max()) > 0
    assert float(jnp.abs(outputs[2] - outputs[3]).max()) > 0


def test_parameters_stay_parameters_unless_the_block_rewrites_them(x64):
    def build(remat):
        class Lookup(fdl.nn.Module):
            def __init__(self, rngs):
                self.table = fdl.nn.Sequential(fdl.nn.Embedding(5, 3, max_norm=0.5, rngs=rngs))

            def __call__(self, tokens):
                return checkpoint(self.table, tokens) if remat else self.table(tokens)

        return fdl.as_model(Lookup)

    tokens = jnp.array([0, 3])
    params, buffers = build(False).init(KEY)
    plain, again = (
        build(remat).apply(params, buffers, tokens, train=True) for remat in (False, True)
    )
    assert again[1].keys() == plain[1].keys() == {"table.0.weight"}
    assert_equal(again[1], {name: np.asarray(value) for name, value in plain[1].items()})
    _, buffers_after = deep(1, remat=True).apply(
        *deep(1, remat=True).init(KEY), jnp.ones((1, 4, 5, 5)), train=True, key=KEY
    )
    assert all("bn1" in name for name in buffers_after)


def test_the_gradient_computes_the_forward_pass_again():
    def convolutions(*, remat: bool) -> int:
        with forced({"convolution": "library"}):
            return gradient(deep(3, remat=remat)).as_text().count("stablehlo.convolution")

    inner = 3  # in each block the first convolution; the second's result nobody needs
    assert convolutions(remat=True) == convolutions(remat=False) + inner


@pytest.mark.optimised
def test_the_compiled_gradient_of_a_deep_network_needs_less_memory():
    plain, again = (temporary(deep(8, remat=remat)) for remat in (False, True))
    assert again < plain / 2


def gradient(model: fdl.Model) -> jax.stages.Lowered:
    """The program of a gradient in training."""
    params, buffers = jax.eval_shape(model.init, KEY)
    images = jax.ShapeDtypeStruct((8, 4, 32, 32), jnp.float32)

    def loss(params, buffers, images):
        output, updated = model.apply(params, buffers, images, train=True, key=KEY)
        return (output**2).sum(), updated

    return jax.jit(jax.grad(loss, has_aux=True)).lower(params, buffers, images)


def temporary(model: fdl.Model) -> int:
    """Bytes that the program needs beside arguments and results, barriers kept as on a GPU."""
    options = {"xla_disable_hlo_passes": "cse_barrier_expander"}
    compiled = gradient(model).compile(compiler_options=options)
    return compiled.memory_analysis().temp_size_in_bytes


def test_modules_inside_are_seen_as_without():
    plain, again = deep(2, remat=False), deep(2, remat=True)
    params, buffers = plain.init(KEY)
    images = jnp.ones((1, 4, 5, 5))
    traces = [model.trace(params, buffers, images) for model in (plain, again)]
    assert [*traces[0]] == [*traces[1]]
    jax.tree.map(np.testing.assert_array_equal, *traces)
