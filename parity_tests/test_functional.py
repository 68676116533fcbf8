"""fdl.functional against torch.nn.functional in float64, with the cases that layers do not reach.

Values and gradients; ties, kinks and numbers that are not finite included.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as tF
from hypothesis import given, settings
from hypothesis import strategies as st
from nearness import check

import fdl.functional as F
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# --- conv2d


@st.composite
def convolutions(draw):
    """Shapes and arguments that fit each other."""
    sizes = st.integers(1, 3)
    groups, kernel, dilation = draw(sizes), (draw(sizes), draw(sizes)), (draw(sizes), draw(sizes))
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = draw(st.sampled_from(["valid", "same", 0, 1, (2, 0), (1, 3)]))
    stride = 1 if padding == "same" else draw(st.sampled_from([1, 2, (1, 3)]))
    height, width = (n + draw(st.integers(0, 4)) for n in extent)
    channels, outputs = groups * draw(sizes), groups * draw(sizes)
    image = (*draw(st.sampled_from([(2,), ()])), channels, height, width)
    weight = (outputs, channels // groups, *kernel)
    return image, weight, (stride, padding, dilation, groups), draw(st.booleans())


@settings(max_examples=12)
@given(convolutions())
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_conv2d(case):
    image, weight, arguments, biased = case
    arrays = [normal(*image), normal(*weight, seed=1)] + [normal(weight[0], seed=2)] * biased

    def call(f, x, w, b=None):
        return f.conv2d(x, w, b, *arguments)

    check(partial(call, tF), partial(call, F), *arrays)


# --- elementwise


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_activation_at_kinks_and_extremes(name):
    points = np.array([-np.inf, -800.0, -1.5, -1e-300, -0.0, 0.0, 1e-300, 1.5, 800.0, np.inf])
    check(getattr(tF, name), getattr(F, name), points)


@pytest.mark.parametrize("name", ["gelu", "tanh"])
def test_one_array_is_kept_for_the_derivative(name):
    x = jnp.linspace(-4.0, 4.0, 9)
    _, pull = jax.vjp(getattr(F, name), x)
    kept = [leaf.shape for leaf in jax.tree.leaves(pull) if leaf.ndim]
    assert kept == [x.shape]


def test_relu_passes_nan_on():
    assert np.isnan(F.relu(np.array([np.nan]))).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_mse_loss(reduction, shape):
    arrays = normal(*shape), normal(*shape, seed=1)
    check(
        partial(tF.mse_loss, reduction=reduction), partial(F.mse_loss, reduction=reduction), *arrays
    )


@pytest.mark.parametrize("leading", [(), (0,), (4,), (2, 1, 3)])
def test_linear(leading):
    check(tF.linear, F.linear, normal(*leading, 5), normal(3, 5, seed=1), normal(3, seed=2))


# --- dropout

KEY = jax.random.key(0)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_scales_what_it_keeps(p):
    dropped = np.asarray(F.dropout(jnp.ones(10_000), p, key=KEY))
    np.testing.assert_array_equal(np.unique(dropped), np.array([0, 1 / (1 - p)], dropped.dtype))
    deviation = np.sqrt(p * (1 - p) / dropped.size)
    assert abs(np.mean(dropped == 0) - p) < 5 * deviation


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (1.0, True), (0.0, False), (0.7, False)])
def test_dropout_without_chance(p, training):
    check(
        partial(tF.dropout, p=p, training=training),
        partial(F.dropout, p=p, training=training, key=KEY),
        normal(3, 4),
    )


def test_dropout_is_a_function_of_its_key():
    first, again, other = (F.dropout(jnp.ones(99), key=k) for k in (KEY, KEY, jax.random.key(1)))
    assert (first == again).all()
    assert not (first == other).all()


def test_dropout_gradient_is_its_mask():
    gradient = jax.grad(lambda x: F.dropout(x, 0.3, key=KEY).sum())(jnp.ones(99))
    np.testing.assert_array_equal(gradient, F.dropout(jnp.ones(99), 0.3, key=KEY))


# --- batch_norm


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 4), (1, 2, 3, 3), (2, 2, 2, 2, 2)])
def test_batch_norm_of_any_rank(training, shape):
    """Torch's side effect on the running statistics is the second and third output."""

    def reference(x, mean, var, weight, bias):
        mean, var = mean.detach().clone(), var.detach().clone()
        output = tF.batch_norm(x, mean, var, weight, bias, training=training, momentum=0.3)
        return output, mean, var

    def candidate(x, mean, var, weight, bias):
        stopped = jax.lax.stop_gradient((mean, var))
        return tuple(F.batch_norm(x, *stopped, weight, bias, training=training, momentum=0.3))

    statistics = normal(2, seed=1), normal(2, seed=2) ** 2
    check(reference, candidate, normal(*shape), *statistics, normal(2, seed=3), normal(2, seed=4))


def test_batch_norm_statistics_carry_no_gradient():
    def moved(x):
        mean, var = F.batch_norm(x, jnp.zeros(2), jnp.ones(2), training=True)[1:]
        return mean.sum() + var.sum()

    assert not jax.grad(moved)(jnp.asarray(normal(4, 2), jnp.float32)).any()


@pytest.mark.optimised
def test_batch_norm_of_a_large_mean_is_as_precise_as_torch():
    images = 100 + 0.01 * normal(16, 3, 5, 5)
    single = images.astype(np.float32)

    def reference(x):
        return tF.batch_norm(torch.tensor(x), None, None, training=True).numpy()

    oracle, own = reference(images), reference(single)
    output = np.asarray(F.batch_norm(jnp.asarray(single), None, None, training=True).output)
    error, reference_error = (distance(x, oracle, maximum(oracle), maximum) for x in (output, own))
    assert error <= TOLERANCE.float32(reference_error)
