"""Containers name and find their layers as torch's do."""

from functools import partial

import jax
import pytest
import torch
from flax import nnx

import fdl


def nested_torch() -> torch.nn.Module:
    features = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Dropout(0.5))
    return torch.nn.Sequential(features, torch.nn.ReLU(), torch.nn.Linear(5, 2))


def nested_fdl(rngs: nnx.Rngs) -> nnx.Module:
    linear, dropout = partial(fdl.nn.Linear, rngs=rngs), fdl.nn.Dropout(0.5, rngs=rngs)
    features = fdl.nn.Sequential(linear(3, 5), fdl.nn.Tanh(), dropout)
    return fdl.nn.Sequential(features, fdl.nn.ReLU(), linear(5, 2))


def test_parameters_have_torchs_names_at_any_depth():
    params, buffers = fdl.as_model(nested_fdl).init(jax.random.key(0))
    assert set(params) == set(nested_torch().state_dict())
    assert buffers == {}


def test_sequential_is_indexed_as_torchs():
    net = nested_fdl(nnx.Rngs(0))
    assert isinstance(net, fdl.nn.Sequential)
    assert len(net) == len(nested_torch())
    assert net[-1] is net[2]
    with pytest.raises(IndexError):
        net[3]
