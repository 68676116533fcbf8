"""Denoising: what is corrupted, what is compared, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from nearness import assert_near
from scipy import stats

import fdl
import fdl.functional as F
from fdl.models import gaussian_noise, masking_noise
from fdl.parity import twins

P_VALUE = 1e-3
"""A fixed seed that fails a true hypothesis this seldom would be bad luck."""
CLEAN = jax.random.uniform(jax.random.key(9), (50, 40), jnp.float32, minval=0.1)


def given(noise, *, train: bool, seed: int = 0) -> jax.Array:
    """What the network is given, told by one that returns its input."""
    identity = fdl.as_model(lambda rngs: fdl.nn.Identity())
    seen = []

    def loss(output, target):
        np.testing.assert_array_equal(target, CLEAN)
        seen.append(output)
        return F.mse_loss(output, target)

    loss_fn = fdl.models.denoising(identity, noise, loss=loss)
    loss_fn({}, {}, (CLEAN, jnp.zeros(50)), train=train, key=jax.random.key(seed))
    return seen[0]


def test_gaussian_noise_has_its_deviation():
    noise = np.asarray(given(gaussian_noise(0.3), train=True) - CLEAN)
    assert stats.kstest(noise.ravel() / 0.3, "norm").pvalue > P_VALUE


def test_masking_noise_zeroes_its_share_and_leaves_the_rest():
    corrupted = np.asarray(given(masking_noise(0.25), train=True))
    zeroed = corrupted == 0
    assert stats.binomtest(int(zeroed.sum()), zeroed.size, 0.25).pvalue > P_VALUE
    np.testing.assert_array_equal(corrupted[~zeroed], np.asarray(CLEAN)[~zeroed])


@pytest.mark.parametrize("noise", [gaussian_noise(0.3), masking_noise(0.25)])
def test_noise_is_the_keys_and_training_has_it_alone(noise):
    one, again, other = (given(noise, train=True, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.testing.assert_array_equal(given(noise, train=False), CLEAN)


@pytest.mark.parametrize("noise", [gaussian_noise(0.0), masking_noise(0.0)])
def test_no_noise_leaves_the_input(noise):
    np.testing.assert_array_equal(given(noise, train=True), CLEAN)


def test_loss_and_gradient_equal_torchs_on_the_same_corrupted_input():
    model, twin = fdl.models.autoencoder([40, 12, 4]), twins.autoencoder([40, 12, 4])
    params, buffers = fdl.interop.from_torch(twin, like=model)
    loss_fn = fdl.models.denoising(model, gaussian_noise(0.3))
    corrupted = given(gaussian_noise(0.3), train=True)

    def objective(params):
        return loss_fn(params, buffers, (CLEAN,), train=True, key=jax.random.key(0))

    (value, (_, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(params)
    expected = torch.nn.functional.mse_loss(
        twin(torch.tensor(np.array(corrupted))), torch.tensor(np.array(CLEAN))
    )
    expected.backward()
    assert metrics.keys() == {"loss"}
    assert_near(value, expected.item())
    for name, parameter in twin.named_parameters():
        assert_near(grads[name], parameter.grad.numpy())


def test_training_learns_to_undo_noise_on_real_digits():
    digits = fdl.data.digits().images.reshape(-1, 64)
    model = fdl.models.autoencoder([64, 128, 32])
    optimizer = fdl.optim.adam(2e-3)
    step = fdl.train.make_step(fdl.models.denoising(model, masking_noise(0.3)), optimizer)
    state = fdl.train.init_state(*model.init(jax.random.key(0)), optimizer, key=jax.random.key(1))
    for epoch in range(15):
        for batch in fdl.data.batches((digits,), 64, seed=epoch, drop_last=True):
            state, _ = step(state, batch)
    noisy = np.asarray(masking_noise(0.3)(jax.random.key(5), jnp.asarray(digits)))
    rebuilt = fdl.train.predict(model, state.params, state.buffers, noisy)
    assert np.mean((rebuilt - digits) ** 2) < np.mean((noisy - digits) ** 2) / 2


def test_training_without_a_key_says_so():
    model = fdl.models.autoencoder([40, 4])
    loss_fn = fdl.models.denoising(model, masking_noise(0.5))
    with pytest.raises(ValueError, match=r"denoising: key: expected a jax.random.key in training"):
        loss_fn(*model.init(jax.random.key(0)), (CLEAN,), train=True, key=None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gaussian_noise(-0.1), "gaussian_noise: sigma: expected 0 or more, got -0.1"),
        (lambda: gaussian_noise(float("nan")), "gaussian_noise: sigma: .* got nan"),
        (lambda: masking_noise(1.5), "masking_noise: p: expected a probability .* got 1.5"),
    ],
)
def test_wrong_noise_says_what_is_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()
