"""A table that the forward pass rewrites is a parameter again before the optimizer sees it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from samples.embedding import GENERATOR

import fdl
import fdl.functional as F

ROWS = [torch.randint(7, (5, 3), generator=GENERATOR).numpy() for _ in range(4)]
BATCHES = [(ids, np.arange(5) % 2) for ids in ROWS]
DECAY = 0.1


class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(9, 4, max_norm=1.0)
        self.head = torch.nn.Linear(12, 2)

    def forward(self, ids):
        return self.head(self.table(ids).flatten(1))


class Network(fdl.nn.Module):
    def __init__(self, rngs):
        self.table = fdl.nn.Embedding(9, 4, max_norm=1.0, rngs=rngs)
        self.head = fdl.nn.Linear(12, 2, rngs=rngs)

    def __call__(self, ids):
        return self.head(self.table(ids).reshape(len(ids), -1))


def torch_optimizer(parameters):
    return torch.optim.SGD(parameters, lr=0.5, momentum=0.9, weight_decay=DECAY)


def optimizer():
    return fdl.optim.sgd(0.5, momentum=0.9, weight_decay=DECAY)


def test_training_equals_torch():
    with jax.enable_x64(True):
        reference, model = Torch().double(), fdl.as_model(Network)
        own = torch_optimizer(reference.parameters())
        params, buffers = fdl.interop.from_torch(reference, like=model)
        state = fdl.train.init_state(params, buffers, optimizer(), key=jax.random.key(0))
        step = fdl.train.make_step(fdl.train.supervised(model, F.cross_entropy), optimizer())
        for ids, labels in BATCHES:
            own.zero_grad()
            output = reference(torch.tensor(ids))
            torch.nn.functional.cross_entropy(output, torch.tensor(labels)).backward()
            own.step()
            state, _ = step(state, (jnp.asarray(ids), jnp.asarray(labels)))
            assert state.buffers == {}
            for name, tensor in reference.named_parameters():
                error = np.abs(state.params[name] - tensor.detach().numpy()).max()
                assert error < 1e-12, name


def test_comparison_of_several_steps_is_equal():
    report = compared(lambda rngs: Network(rngs))
    assert report.equal, str(report)


def test_comparison_finds_a_missing_max_norm():
    def build(rngs):
        network = Network(rngs)
        network.table.max_norm = None
        return network

    assert not compared(build).equal


def compared(build):
    return fdl.parity.compare(
        Torch(),
        fdl.as_model(build),
        BATCHES,
        loss="cross_entropy",
        optimizer=(torch_optimizer, optimizer()),
        steps=4,
    )


@pytest.mark.parametrize("name", ["Embedding", "EmbeddingBag"])
def test_an_id_out_of_range_is_nan_under_jit(name):
    layer = getattr(fdl.nn, name)(3, 2, rngs=nnx.Rngs(0))
    model = fdl.as_model(lambda _: layer)
    given = model.init(jax.random.key(0))
    output, _ = jax.jit(model.apply)(*given, jnp.array([[0, 2], [1, -1], [3, 1]]))
    per_bag = np.isnan(output).reshape(3, -1).any(1)
    assert per_bag.tolist() == [False, True, True]
