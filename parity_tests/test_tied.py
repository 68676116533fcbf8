"""A tensor that a network uses twice: one parameter here, each of its names in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from nearness import assert_near
from safetensors.torch import load_file

import fdl
from fdl import nn


class Tied(nn.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.embedding = nn.Embedding(5, 4, rngs=rngs)
        self.fc = nn.Linear(4, 5, rngs=rngs)
        self.fc.weight = self.embedding.weight

    def __call__(self, ids: jax.Array) -> jax.Array:
        return self.fc(self.embedding(ids))


class TorchTied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 4)
        self.fc = torch.nn.Linear(4, 5)
        self.fc.weight = self.embedding.weight


MODEL = fdl.as_model(Tied)
IDS = jnp.arange(5)


@pytest.fixture
def tensors() -> tuple[fdl.Params, fdl.Buffers]:
    return MODEL.init(jax.random.key(0))


def test_there_is_one_parameter_and_both_names_are_known(tensors):
    assert tensors[0].keys() == {"embedding.weight", "fc.bias"}
    assert dict(MODEL.tied) == {"fc.weight": "embedding.weight"}
    assert dict(fdl.models.mlp([3, 2]).tied) == {}


def test_a_model_is_a_static_argument(tensors):
    apply = jax.jit(lambda model, *args: model.apply(*args)[0], static_argnums=0)
    expected, _ = MODEL.apply(*tensors, IDS)
    np.testing.assert_array_equal(apply(MODEL, *tensors, IDS), expected)


def test_gradients_of_both_uses_are_added(tensors):
    params, buffers = tensors

    def loss(table, head):
        tied = dict(params, **{"embedding.weight": table})
        embedded = MODEL.trace(tied, buffers, IDS)["embedding"]
        return ((embedded @ head.T + params["fc.bias"]) ** 2).sum()

    def whole(params):
        return (MODEL.apply(params, buffers, IDS)[0] ** 2).sum()

    table = params["embedding.weight"]
    one, other = jax.grad(loss, (0, 1))(table, table)
    assert_near(jax.grad(whole)(params)["embedding.weight"], one + other)


def test_torch_loads_it_strictly_and_back(tensors, tmp_path):
    twin = TorchTied()
    twin.load_state_dict(fdl.interop.to_torch(*tensors, like=MODEL), strict=True)
    fdl.interop.save_safetensors(tmp_path / "w.safetensors", *tensors, like=MODEL)
    twin.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    for source in (twin, twin.state_dict()):
        back = fdl.interop.from_torch(source, like=MODEL)
        jax.tree.map(np.testing.assert_array_equal, back, tensors)
    back = fdl.interop.load_safetensors(tmp_path / "w.safetensors", like=MODEL)
    jax.tree.map(np.testing.assert_array_equal, back, tensors)


@pytest.mark.parametrize("left_out", ["fc.weight", "embedding.weight"])
def test_either_name_is_enough(tensors, left_out):
    named = fdl.interop.to_torch(*tensors, like=MODEL)
    del named[left_out]
    back = fdl.interop.from_torch(named, like=MODEL)
    jax.tree.map(np.testing.assert_array_equal, back, tensors)


def test_two_values_for_one_tensor_are_refused(tensors):
    named = fdl.interop.to_torch(*tensors, like=MODEL)
    named["fc.weight"] = named["fc.weight"] + 1
    with pytest.raises(ValueError, match=r"'fc.weight': expected the values of 'embedding.weight'"):
        fdl.interop.from_torch(named, like=MODEL)
