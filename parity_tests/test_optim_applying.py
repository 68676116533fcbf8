"""A whole step of an optimizer, with kernels as rows and as they are."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from nearness import assert_equal

import fdl
from fdl.functional._formulations import forced
from fdl.optim.applying import Elementwise
from fdl.parity._record import leaves

OPTIMIZERS = {
    "adadelta": fdl.optim.adadelta(),
    "adagrad": fdl.optim.adagrad(),
    "adam": fdl.optim.adam(weight_decay=0.1),
    "adam, amsgrad": fdl.optim.adam(amsgrad=True),
    "adamw": fdl.optim.adamw(lr=fdl.optim.step_lr(0.1, step_size=2)),
    "adamax": fdl.optim.adamax(),
    "nadam": fdl.optim.nadam(),
    "radam": fdl.optim.radam(),
    "rmsprop": fdl.optim.rmsprop(momentum=0.9, centered=True),
    "sgd": fdl.optim.sgd(momentum=0.9, nesterov=True),
}
SHAPES = {"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "linear.weight": (5, 4), "scale": ()}


def numbers(tree):
    return {name: np.asarray(leaf) for name, leaf in leaves(tree)}


def drawn(seed, dtype="float64"):
    generator = np.random.default_rng(seed)
    return {k: jnp.asarray(generator.normal(size=shape), dtype) for k, shape in SHAPES.items()}


@pytest.mark.parametrize("formulation", ["library", "rows"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
@pytest.mark.usefixtures("x64")
def test_a_step_is_the_update_added(optimizer, formulation):
    assert isinstance(optimizer, Elementwise)
    ours = expected = drawn(0)
    state = other = optimizer.init(expected)
    with forced({"update": formulation}):
        step = jax.jit(lambda *now: fdl.optim.apply_gradients(optimizer, *now))
        for seed in range(1, 4):
            updates, other = optimizer.update(drawn(seed), other, expected)
            expected = optax.apply_updates(expected, updates)
            ours, state = step(ours, state, drawn(seed))
    assert_equal(dict(leaves((ours, state))), numbers((expected, other)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), (ours, state)) == jax.tree.map(
        lambda x: (x.shape, x.dtype), (expected, other)
    )


def compiled_for_a_cpu(optimizer):
    params = drawn(0, "float32")
    step = jax.jit(lambda *now: fdl.optim.apply_gradients(optimizer, *now))
    return step.lower(params, optimizer.init(params), params).compile().as_text()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="rows are for CPUs")
def test_kernels_are_rows_on_a_cpu():
    with forced({"update": None}):
        text = compiled_for_a_cpu(fdl.optim.adamw())
    fusions = [line.split("=")[1] for line in text.splitlines() if " fusion(" in line]
    assert any("f32[4,27]" in fusion for fusion in fusions)
    assert not any("f32[4,3,3,3]" in fusion.split("fusion(")[0] for fusion in fusions)


def test_optimizers_that_need_whole_matrices_see_them():
    seen = []

    def update(updates, state, params=None):
        seen.extend(x.shape for x in updates.values())
        return updates, state

    optimizer = optax.GradientTransformation(lambda params: (), update)
    params = drawn(0, "float32")
    fdl.optim.apply_gradients(optimizer, params, (), params)
    assert seen == [*SHAPES.values()]


@pytest.mark.usefixtures("x64")
def test_it_can_be_differentiated_through():
    def after(lr):
        optimizer = fdl.optim.sgd(lr)
        params = drawn(0)
        moved, _ = fdl.optim.apply_gradients(optimizer, params, optimizer.init(params), drawn(1))
        return sum(x.sum() for x in moved.values())

    expected = -sum(x.sum() for x in drawn(1).values())
    assert_equal({"lr": jax.grad(after)(jnp.asarray(0.1))}, {"lr": np.asarray(expected)})
