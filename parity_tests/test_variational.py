"""Variational autoencoder: its divergence, its noise, its two modes, and its bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from nearness import assert_near, check
from scipy import stats
from torch.distributions import Independent, Normal, kl_divergence
from zoo import autoencoders

import fdl
import fdl.functional as F
from fdl.models.variational_autoencoder import VariationalAutoencoder

SIZES = [20, 12, 3]
P_VALUE = 1e-3
"""A fixed seed that fails a true hypothesis this seldom would be bad luck."""


@pytest.fixture(scope="module")
def network():
    model = fdl.models.variational_autoencoder(SIZES)
    return model, *model.init(jax.random.key(0))


def inputs(rows: int) -> jax.Array:
    return jax.random.uniform(jax.random.key(1), (rows, SIZES[0]), jnp.float32)


# --- divergence


def torch_kl(mean, log_variance):
    own = Normal(mean, torch.exp(0.5 * log_variance))
    standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(Independent(own, 1), Independent(standard, 1))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 5.0])
def test_kl_and_its_gradient_are_torchs(scale):
    generator = np.random.default_rng(0)
    mean, log_variance = generator.normal(scale=scale, size=(2, 7, 5))
    check(torch_kl, fdl.models.kl_from_standard_normal, mean, log_variance)


def test_kl_of_the_standard_normal_is_zero_and_least():
    zero = jnp.zeros((1, 4))
    kl = fdl.models.kl_from_standard_normal
    assert kl(zero, zero) == 0
    for argument in (0, 1):
        gradient = jax.grad(lambda *x: kl(*x).sum(), argument)(zero, zero)
        np.testing.assert_array_equal(gradient, zero)
    assert kl(zero + 1e-2, zero) > 0
    assert kl(zero, zero - 1e-2) > 0


# --- noise


class Undecoded(VariationalAutoencoder):
    """Returns the code in place of the reconstruction."""

    def __init__(self, rngs):
        super().__init__(SIZES, fdl.nn.ReLU, None, rngs=rngs)
        self.decoder = fdl.nn.Identity()


def drawn(rows: int, key: jax.Array, train: bool = True) -> np.ndarray:
    """The noise of a pass, recovered from its codes."""
    model = fdl.as_model(Undecoded)
    params, buffers = model.init(jax.random.key(0))
    output, _ = model.apply(params, buffers, inputs(rows), train=train, key=key)
    deviation = jnp.exp(0.5 * output.log_variance)
    return np.asarray((output.reconstruction - output.mean) / deviation)


def test_noise_in_training_is_standard_normal_and_independent():
    noise = drawn(4000, jax.random.key(3))
    for column in noise.T:
        assert stats.kstest(column, "norm").pvalue > P_VALUE
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert stats.pearsonr(noise[:, i], noise[:, j]).pvalue > P_VALUE


def test_noise_is_the_keys():
    one, again, other = (drawn(8, jax.random.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


def test_evaluation_decodes_the_mean(network):
    model, params, buffers = network
    assert not drawn(8, jax.random.key(3), train=False).any()
    without, _ = model.apply(params, buffers, inputs(8))
    keyed, _ = model.apply(params, buffers, inputs(8), key=jax.random.key(5))
    zero, _ = model.apply(params, buffers, inputs(8), jnp.zeros((8, SIZES[-1])))
    for output in (keyed, zero):
        jax.tree.map(np.testing.assert_array_equal, without, output)


def test_evaluation_equals_torch(network):
    model, params, buffers = network
    twin = autoencoders.VariationalAutoencoder(SIZES, torch.nn.Sigmoid)
    twin.load_state_dict(fdl.interop.to_torch(params, buffers))
    expected = twin(torch.from_numpy(np.array(inputs(8))))
    output, _ = model.apply(params, buffers, inputs(8))
    assert output._fields == expected._fields
    for got, wanted in zip(output, expected, strict=True):
        assert_near(got, wanted.detach().numpy())


@pytest.mark.parametrize("train", [False, True])
def test_given_noise_is_used_in_both_modes(network, train):
    model, params, buffers = network
    keys = [jax.random.key(seed) for seed in (0, 1)]
    epsilon = jax.random.normal(jax.random.key(2), (8, SIZES[-1]))
    first, second = (
        model.apply(params, buffers, inputs(8), epsilon, train=train, key=key)[0] for key in keys
    )
    jax.tree.map(np.testing.assert_array_equal, first, second)
    undecoded = fdl.as_model(Undecoded)
    kept = {name: tensor for name, tensor in params.items() if not name.startswith("decoder.")}
    output, _ = undecoded.apply(kept, {}, inputs(8), epsilon, train=train, key=keys[0])
    assert_near(output.reconstruction, output.mean + jnp.exp(output.log_variance / 2) * epsilon)


def test_training_without_a_key_says_so(network):
    model, params, buffers = network
    with pytest.raises(ValueError, match=r"key: expected a jax.random.key, got None"):
        model.apply(params, buffers, inputs(8), train=True)


# --- the bound


@pytest.mark.parametrize("beta", [0.0, 1.0, 2.5])
def test_loss_is_summed_over_features_and_averaged_over_rows(network, beta):
    model, params, buffers = network
    output, _ = model.apply(params, buffers, inputs(8), train=True, key=jax.random.key(1))
    each = F.binary_cross_entropy(output.reconstruction, inputs(8), reduction="none").sum(axis=1)
    assert_near(fdl.models.elbo(beta=beta)(output, inputs(8)), (each + beta * output.kl).mean())


def test_training_lowers_the_bound_on_real_digits():
    digits = fdl.data.digits().images.reshape(-1, 64)
    model = fdl.models.variational_autoencoder([64, 48, 4])
    loss_fn = fdl.train.supervised(model, fdl.models.elbo(), kl=lambda output, _: output.kl.mean())
    optimizer = fdl.optim.adam(3e-3)
    params, buffers = model.init(jax.random.key(0))
    state = fdl.train.init_state(params, buffers, optimizer, key=jax.random.key(1))
    before = fdl.train.evaluate(loss_fn, params, buffers, (digits, digits))
    step = fdl.train.make_step(loss_fn, optimizer)
    for epoch in range(8):
        for batch in fdl.data.batches((digits, digits), 64, seed=epoch, drop_last=True):
            state, _ = step(state, batch)
    after = fdl.train.evaluate(loss_fn, state.params, state.buffers, (digits, digits))
    mean_digit = np.broadcast_to(digits.mean(axis=0), digits.shape)
    simplest = F.binary_cross_entropy(mean_digit, digits, reduction="sum") / len(digits)
    assert after["loss"] < simplest < before["loss"]
    assert after["kl"] > 1, "the code tells nothing"


@pytest.mark.parametrize("sizes", [[20, 3], [20, 0, 3]])
def test_wrong_sizes_say_what_is_expected(sizes):
    with pytest.raises(ValueError, match=r"variational_autoencoder: sizes: expected three or more"):
        fdl.models.variational_autoencoder(sizes)
