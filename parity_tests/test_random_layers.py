"""What is drawn in training: distributions, and torch's own numbers where it draws the same."""

from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as tF
from flax import nnx
from nearness import check
from samples.engine import compared
from samples.sample import FdlFunction, Sample

import fdl
import fdl.functional as F
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, root_mean_square

KEY = jax.random.key(0)
LOWER, UPPER = 0.1, 0.7
SIGMAS = 5
"""How many standard deviations a mean may be off."""


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# --- rrelu


def slopes(size: int) -> np.ndarray:
    return -np.asarray(F.rrelu(-jnp.ones(size), LOWER, UPPER, training=True, key=KEY))


def test_rrelu_slopes_are_uniform():
    drawn = slopes(10_000)
    assert LOWER <= drawn.min() < LOWER + 0.01
    assert UPPER - 0.01 < drawn.max() < UPPER
    deviation = (UPPER - LOWER) / np.sqrt(12 * drawn.size)
    assert abs(drawn.mean() - (LOWER + UPPER) / 2) < SIGMAS * deviation
    assert drawn.std() == pytest.approx((UPPER - LOWER) / np.sqrt(12), rel=0.05)


def test_rrelu_gradient_is_its_slope():
    function = partial(F.rrelu, lower=LOWER, upper=UPPER, training=True, key=KEY)
    points = jnp.array([-2.0, -1.0, 0.0, 1.0, 3.0])
    drawn = -function(-jnp.ones(5))
    gradient = jax.grad(lambda x: function(x).sum())(points)
    expected = np.where(points > 0, 1, drawn)
    np.testing.assert_array_equal(gradient, expected)
    np.testing.assert_array_equal(function(points), points * expected)


def test_rrelu_layer_draws_anew_in_training_only():
    layer = fdl.nn.RReLU(LOWER, UPPER, rngs=nnx.Rngs(0))
    x = -jnp.ones(8)
    assert not np.array_equal(layer(x), layer(x))
    layer.eval()
    np.testing.assert_array_equal(layer(x), F.leaky_relu(x, (LOWER + UPPER) / 2))


# --- gumbel_softmax


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("dim", "tau"), [(-1, 1.0), (0, 0.3)])
def test_gumbel_softmax_with_torchs_noise(hard, dim, tau):
    logits = normal(4, 3, 5)
    torch.manual_seed(0)
    noise = -torch.empty(4, 3, 5, dtype=torch.float64).exponential_().log()

    def reference(x):
        torch.manual_seed(0)
        return tF.gumbel_softmax(x, tau, hard, dim=dim)

    def candidate(x):
        given = jnp.asarray(noise.numpy())
        return F.gumbel_softmax(x, tau, hard, dim=dim, noise=given)

    check(reference, candidate, logits)


def test_gumbel_softmax_of_a_scalar_is_certain():
    for hard in (False, True):
        assert float(F.gumbel_softmax(jnp.array(0.3), hard=hard, key=KEY)) == 1


def test_gumbel_softmax_draws_the_categories():
    probabilities = np.array([0.1, 0.2, 0.7])
    logits = jnp.broadcast_to(jnp.log(probabilities), (10_000, 3))
    counts = np.asarray(F.gumbel_softmax(logits, hard=True, key=KEY)).mean(0)
    deviations = np.sqrt(probabilities * (1 - probabilities) / 10_000)
    assert (abs(counts - probabilities) < SIGMAS * deviations).all()


# --- dropout

KINDS = {
    "dropout": (2, 3, 4, 2),
    "dropout1d": (64, 3, 4),
    "dropout2d": (64, 3, 4, 2),
    "dropout3d": (64, 3, 4, 2, 2),
    "alpha_dropout": (2, 3, 4, 2),
    "feature_alpha_dropout": (64, 3, 4, 2),
}
UNBATCHED = {"dropout1d": (64, 4), "dropout2d": (64, 3, 4), "dropout3d": (64, 2, 2, 4)}


def torch_mask(name: str, shape: tuple[int, ...], p: float) -> np.ndarray:
    """What torch itself keeps after seed 0: where an input of ones stays larger."""
    torch.manual_seed(0)
    output = getattr(tF, name)(torch.ones(shape, dtype=torch.float64), p, True)
    return (output == output.max()).numpy()


@pytest.mark.parametrize(("name", "shape"), [*KINDS.items(), *UNBATCHED.items()])
@pytest.mark.filterwarnings("ignore:dropout2d. Received a 3D input:UserWarning")
def test_dropout_with_the_mask_that_torch_drew(name, shape):
    """No mask is injected into torch here: its own is read off and handed to fdl."""
    p = 0.3
    mask = torch_mask(name, shape, p)
    assert 0 < mask.mean() < 1
    asked = []

    def bernoulli(key, keep, shape):
        assert keep == 1 - p
        asked.append(shape)
        own = mask[tuple(slice(0, length) for length in shape)]
        np.testing.assert_array_equal(np.broadcast_to(own, mask.shape), mask)
        return jnp.asarray(own)

    def reference(x):
        torch.manual_seed(0)
        return getattr(tF, name)(x, p, True)

    with mock.patch.object(jax.random, "bernoulli", bernoulli):
        check(reference, partial(getattr(F, name), p=p, training=True, key=KEY), normal(*shape))
    assert len(asked) == 1


@pytest.mark.parametrize("name", KINDS)
def test_injected_masks_have_torchs_shape(name):
    """The engine's stand-in for torch's dropout draws as many numbers as torch does."""
    right, wrong = ({"p": p, "training": True} for p in (0.3, 0.31))
    x = torch.tensor(normal(*KINDS[name]), requires_grad=True)
    sample = Sample(name, (), right, (x,))
    assert all(row.equal for row in compared(sample, train=True))
    fault = partial(FdlFunction, getattr(F, name), wrong)
    sample = sample._replace(builders=(sample.in_torch, fault))
    assert not all(row.equal for row in compared(sample, train=True))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("p", [0.1, 0.6])
def test_dropout_keeps_rate_and_moments(name, p):
    shape = (200, 100, *(1,) * (len(KINDS[name]) - 2))
    noise = jnp.asarray(normal(*shape), jnp.float32)
    function = partial(getattr(F, name), p=p, training=True, key=KEY)
    dropped = np.asarray(jax.grad(lambda x: function(x).sum())(noise)) == 0
    assert abs(dropped.mean() - p) < SIGMAS * np.sqrt(p * (1 - p) / noise.size)
    output = np.asarray(function(noise))
    variance = 1.0 if "alpha" in name else 1 / (1 - p)
    assert abs(output.mean()) < SIGMAS * np.sqrt(variance / noise.size)
    assert output.var() == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"])
def test_whole_channels_are_dropped_and_each_call_draws(name):
    layer = getattr(fdl.nn, name)(0.5, rngs=nnx.Rngs(0))
    x = jnp.ones(KINDS["feature_alpha_dropout" if "Alpha" in name else name.lower()])
    first, second = np.asarray(layer(x)), np.asarray(layer(x))
    rows = first.reshape(64, 3, -1)
    assert (rows == rows[..., :1]).all()
    assert len(np.unique(rows)) == 2
    assert not np.array_equal(first, second)
    layer.eval()
    np.testing.assert_array_equal(layer(x), x)


# --- what no sample shows of softmax


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (2, 3, 4, 2)])
@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
def test_softmax_without_an_axis_warns_and_takes_torchs(name, shape):
    with pytest.warns(UserWarning, match="dim"):
        check(getattr(tF, name), getattr(F, name), normal(*shape))


@pytest.mark.parametrize("name", ["softmax", "softmin", "log_softmax"])
@pytest.mark.parametrize("given", [[[1, 2], [5, -5]], 3])
def test_softmax_converts_first(name, given):
    with jax.enable_x64(True):
        got = getattr(F, name)(jnp.asarray(given), -1, dtype=jnp.float64)
    assert got.dtype == np.float64
    expected = getattr(tF, name)(torch.tensor(given), -1, dtype=torch.float64).numpy()
    assert distance(np.asarray(got), expected, 1.0, root_mean_square) <= TOLERANCE.float64
