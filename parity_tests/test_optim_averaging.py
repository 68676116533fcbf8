"""Averages of weights against torch.optim.swa_utils: every tensor after every update."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from nearness import assert_equal
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, get_ema_multi_avg_fn, update_bn

import fdl
import fdl.functional as F

UPDATES = 6
IMAGES = np.random.default_rng(0).normal(size=(30, 2, 6, 6))


def half_way(averaged, current, num_averaged):
    return averaged + (current - averaged) * num_averaged / (num_averaged + 1)


EMA_FN = {"avg_fn": get_ema_avg_fn(0.9)}
EMA_MULTI_FN = {"multi_avg_fn": get_ema_multi_avg_fn(0.9)}
CASES = {
    "swa": ({}, fdl.optim.swa()),
    "swa use_buffers": ({"use_buffers": True}, fdl.optim.swa(use_buffers=True)),
    "ema": (EMA_FN, fdl.optim.ema(0.9)),
    "ema use_buffers": ({**EMA_FN, "use_buffers": True}, fdl.optim.ema(0.9, use_buffers=True)),
    "ema multi": (EMA_MULTI_FN, fdl.optim.ema(0.9)),
    "ema multi use_buffers": (
        {**EMA_MULTI_FN, "use_buffers": True},
        fdl.optim.ema(0.9, use_buffers=True),
    ),
    "ema 0.999": ({"avg_fn": get_ema_avg_fn()}, fdl.optim.ema()),
    "avg_fn": ({"avg_fn": half_way}, fdl.optim.averaged_model(half_way)),
    "avg_fn use_buffers": (
        {"avg_fn": half_way, "use_buffers": True},
        fdl.optim.averaged_model(half_way, use_buffers=True),
    ),
}


def convolutional():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3)).double()


def tensors(module):
    return {k: v.numpy().copy() for k, v in module.state_dict().items()}


def as_jax(module):
    params = {k: jnp.asarray(v.detach().numpy()) for k, v in module.named_parameters()}
    return params, {k: jnp.asarray(v.numpy()) for k, v in module.named_buffers()}


@pytest.mark.parametrize("case", CASES)
def test_every_update_equals_torchs(case, wide_default):
    options, averaging = CASES[case]
    twin = convolutional()
    reference = AveragedModel(twin, **options)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.5)
    with jax.enable_x64(True):
        state, update = averaging.init(*as_jax(twin)), jax.jit(averaging.update)
        for number in range(UPDATES):
            for images in IMAGES[number * 5 : number * 5 + 5, None]:
                optimizer.zero_grad()
                twin(torch.tensor(images)).pow(2).mean().backward()
                optimizer.step()
            reference.update_parameters(twin)
            state = update(state, *as_jax(twin))
            got = {**state.params, **state.buffers}
            assert_equal(got, tensors(reference.module))
            assert int(state.n_averaged) == int(reference.n_averaged) == number + 1
    assert update._cache_size() == 1
    assert got["1.num_batches_tracked"].dtype == jnp.int64


def test_averaged_integers_are_truncated():
    """So that a batch norm's count of 5, 8, 11, ... averages to less than their mean."""
    averaging = fdl.optim.swa(use_buffers=True)
    state = averaging.init({}, {"n": jnp.asarray(0)})
    path = []
    for count in (5, 8, 11, 14, -14):
        state = averaging.update(state, {}, {"n": jnp.asarray(count)})
        path.append(int(state.buffers["n"]))
    assert path == [5, 6, 7, 8, 3]


def test_the_average_survives_a_step_that_donates():
    model, averaging = fdl.as_model(lambda rngs: fdl.nn.BatchNorm1d(3)), fdl.optim.swa()
    loss_fn = fdl.train.supervised(model, F.mse_loss)
    optimizer = fdl.optim.sgd(0.1)
    step = fdl.train.make_step(loss_fn, optimizer)
    key = jax.random.key(0)
    state = fdl.train.init_state(*model.init(key), optimizer, key=key)
    average = averaging.init(state.params, state.buffers)
    batch = jnp.arange(6.0).reshape(2, 3), jnp.ones((2, 3))
    for update in (averaging.update, jax.jit(averaging.update)):
        state, _ = step(state, batch)
        average = update(average, state.params, state.buffers)
        expected = jnp.copy(state.buffers["running_mean"])  # a view from NumPy would keep it alive
        state, _ = step(state, batch)
        np.testing.assert_array_equal(average.buffers["running_mean"], expected)
        assert np.isfinite(average.params["weight"]).all()


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_what_torch_refuses_is_refused(decay):
    with pytest.raises(ValueError, match="Invalid decay"):
        get_ema_avg_fn(decay)
    with pytest.raises(ValueError, match=rf"ema: decay: expected .*got {decay}"):
        fdl.optim.ema(decay)


@pytest.mark.parametrize("wide", [False, True])
def test_dtypes_stay(wide):
    with jax.enable_x64(wide):
        params = {"w": jnp.ones(2, jnp.bfloat16), "b": jnp.ones((), jnp.float32)}
        for averaging in (fdl.optim.swa(), fdl.optim.ema(0.5)):
            state = averaging.update(averaging.init(params, {}), params, {})
            assert {k: v.dtype for k, v in state.params.items()} == {
                k: v.dtype for k, v in params.items()
            }


# --- update_bn


def build(network, layers):
    """Batch norms of every kind of momentum, one of them shared, and an instance norm."""
    network.given = layers.BatchNorm2d(2, momentum=0.3)
    network.average = layers.BatchNorm2d(2, momentum=None)
    network.still = layers.BatchNorm2d(2, momentum=0.0)
    network.instance = layers.InstanceNorm2d(2, affine=True, track_running_stats=True)
    network.shared = layers.BatchNorm2d(2)
    network.untracked = layers.BatchNorm2d(2, track_running_stats=False)


def run(network, x):
    x = network.still(network.average(network.given(x) ** 2) ** 2) ** 2
    return network.untracked(network.shared(network.shared(network.instance(x) ** 2) ** 2))


class Norms(fdl.nn.Module):
    def __init__(self, rngs):
        build(self, fdl.nn)

    def __call__(self, x):
        return run(self, x)


class Twin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        build(self, torch.nn)

    def forward(self, x):
        return run(self, x)


def chunks(as_tensor):
    return [as_tensor(IMAGES[start : start + 8]) for start in range(0, 30, 8)]


@pytest.mark.parametrize("labelled", [False, True])
def test_update_bn_equals_torchs(labelled):
    twin = Twin().double()
    with torch.no_grad():
        twin(torch.tensor(IMAGES[:7]))  # what it has seen already
        twin.given.running_mean.fill_(torch.nan)
        twin.shared.running_var.fill_(torch.inf)
    with jax.enable_x64(True):
        model, (params, buffers) = fdl.as_model(Norms), as_jax(twin)
        update_bn([(x, None) if labelled else x for x in chunks(torch.tensor)], twin.eval())
        batches = ((x, None) if labelled else x for x in chunks(jnp.asarray))
        got = fdl.optim.update_bn(model, params, buffers, batches)
        assert_equal({**params, **got}, tensors(twin))
        assert got["shared.num_batches_tracked"] == 8
        _, after = model.apply(params, got, IMAGES[:8], train=True)  # each with its own momentum
        twin.train()(torch.tensor(IMAGES[:8]))
        assert_equal({**params, **after}, tensors(twin))


def test_update_bn_of_averaged_weights_as_torchs_page_shows_it():
    twin = convolutional()
    reference = AveragedModel(twin)
    averaging = fdl.optim.swa()
    with jax.enable_x64(True):
        model = fdl.as_model(
            lambda rngs: fdl.nn.Sequential(fdl.nn.Conv2d(2, 3, 3, rngs=rngs), fdl.nn.BatchNorm2d(3))
        )
        state = averaging.init(*as_jax(twin))
        for scale in (1.0, 3.0):
            with torch.no_grad():
                twin[0].weight.mul_(scale)
            reference.update_parameters(twin)
            state = averaging.update(state, *as_jax(twin))
        update_bn(chunks(torch.tensor), reference)
        buffers = fdl.optim.update_bn(model, state.params, state.buffers, chunks(jnp.asarray))
        assert_equal({**state.params, **buffers}, tensors(reference.module))
        loaded = copy.deepcopy(twin)
        loaded.load_state_dict(fdl.interop.to_torch(state.params, buffers))
        assert_equal(tensors(loaded), tensors(reference.module))


def test_update_bn_without_batch_norms_changes_nothing():
    model = fdl.as_model(lambda rngs: fdl.nn.InstanceNorm2d(2, track_running_stats=True))
    params, buffers = model.init(jax.random.key(0))
    assert fdl.optim.update_bn(model, params, buffers, chunks(jnp.float32)) is buffers


def test_update_bn_draws_masks_from_the_key():
    def network(rngs):
        return fdl.nn.Sequential(fdl.nn.Dropout(0.5, rngs=rngs), fdl.nn.BatchNorm2d(2))

    model = fdl.as_model(network)
    params, buffers = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match="key: expected"):
        fdl.optim.update_bn(model, params, buffers, chunks(jnp.float32))
    means = [
        fdl.optim.update_bn(model, params, buffers, [jnp.ones((1, 2, 40, 40))] * count, key=key)
        for count, key in ((1, jax.random.key(1)), (2, jax.random.key(1)), (1, jax.random.key(2)))
    ]
    means = [found["1.running_mean"].tolist() for found in means]
    assert means[0] != means[1] != means[2] != means[0]


def test_update_bn_needs_batches():
    model = fdl.as_model(lambda rngs: fdl.nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match="update_bn: batches: expected one or more, got none"):
        fdl.optim.update_bn(model, *model.init(jax.random.key(0)), iter(()))
