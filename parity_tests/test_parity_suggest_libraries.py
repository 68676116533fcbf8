"""Which leaf is which tensor, in the trees of Linen, NNX, Equinox, Haiku and of torch itself."""

from dataclasses import dataclass
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from named_trees import CNN_REFERENCE, leaf, linears, nnx_trees, refused
from nearness import assert_near

from fdl.parity.names import resolve, suggest_names


class LinenCNN(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, images):
        x = flax.linen.Conv(4, (3, 3))(images)
        x = flax.linen.BatchNorm(use_running_average=True)(x)
        x = flax.linen.Conv(6, (3, 3), use_bias=False)(x)
        x = flax.linen.BatchNorm(use_running_average=True)(x)
        return flax.linen.Dense(2)(x.mean((1, 2)))


def test_linen_cnn():
    images = jnp.ones((1, 8, 8, 1))
    names = suggest_names(CNN_REFERENCE, jax.eval_shape(LinenCNN().init, jax.random.key(0), images))
    assert names == {
        "batch_stats.BatchNorm_0.mean": "1.running_mean",
        "batch_stats.BatchNorm_0.var": "1.running_var",
        "batch_stats.BatchNorm_1.mean": "4.running_mean",
        "batch_stats.BatchNorm_1.var": "4.running_var",
        "params.BatchNorm_0.bias": "1.bias",
        "params.BatchNorm_0.scale": "1.weight",
        "params.BatchNorm_1.bias": "4.bias",
        "params.BatchNorm_1.scale": "4.weight",
        "params.Conv_0.bias": "0.bias",
        "params.Conv_0.kernel": ("0.weight", (2, 3, 1, 0)),
        "params.Conv_1.kernel": ("3.weight", (2, 3, 1, 0)),
        "params.Dense_0.bias": "6.bias",
        "params.Dense_0.kernel": ("6.weight", (1, 0)),
    }


def test_linen_params_alone():
    tree = jax.eval_shape(flax.linen.Dense(3).init, jax.random.key(0), jnp.ones((1, 2)))
    names = suggest_names(torch.nn.Linear(2, 3), tree["params"])
    assert names == {"bias": "bias", "kernel": ("weight", (1, 0))}


@pytest.mark.parametrize("form", ["module", "state", "pure"])
def test_nnx_cnn(form):
    names = suggest_names(CNN_REFERENCE, nnx_trees()[form])
    assert dict(names) == {
        "convs.0.bias": "0.bias",
        "convs.0.kernel": ("0.weight", (2, 3, 1, 0)),
        "convs.1.kernel": ("3.weight", (2, 3, 1, 0)),
        "head.bias": "6.bias",
        "head.kernel": ("6.weight", (1, 0)),
        "norms.0.bias": "1.bias",
        "norms.0.mean": "1.running_mean",
        "norms.0.scale": "1.weight",
        "norms.0.var": "1.running_var",
        "norms.1.bias": "4.bias",
        "norms.1.mean": "4.running_mean",
        "norms.1.scale": "4.weight",
        "norms.1.var": "4.running_var",
    }


class TorchBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln1, self.ln2 = torch.nn.LayerNorm(8), torch.nn.LayerNorm(8)
        self.q, self.k, self.v, self.o = (torch.nn.Linear(8, 8) for _ in range(4))
        self.fc1, self.fc2 = torch.nn.Linear(8, 32), torch.nn.Linear(32, 8)


class LinenBlock(flax.linen.Module):
    named: bool

    @flax.linen.compact
    def __call__(self, x):
        def name(given):
            return given if self.named else None

        norm = flax.linen.LayerNorm(name=name("ln1"))(x)
        q, k, v = (flax.linen.Dense(8, name=name(n))(norm) for n in "qkv")
        x = flax.linen.Dense(8, name=name("o"))(q + k + v)
        x = flax.linen.LayerNorm(name=name("ln2"))(x)
        x = flax.linen.Dense(32, name=name("fc1"))(x)
        return flax.linen.Dense(8, name=name("fc2"))(x)


def test_transformer_block_by_name_or_not_at_all():
    trees = {
        named: jax.eval_shape(LinenBlock(named).init, jax.random.key(0), jnp.ones((1, 8)))
        for named in (True, False)
    }
    names = suggest_names(TorchBlock(), trees[True])
    assert names == {
        f"params.{module}.{name}": entry
        for module in ["fc1", "fc2", "k", "ln1", "ln2", "o", "q", "v"]
        for name, entry in (
            [("bias", f"{module}.bias"), ("scale", f"{module}.weight")]
            if module.startswith("ln")
            else [("bias", f"{module}.bias"), ("kernel", (f"{module}.weight", (1, 0)))]
        )
    }
    text, start = refused(TorchBlock(), trees[False])
    assert "each fits 'ln1.weight', 'ln2.weight'" in text
    assert "each fits 'q.weight', 'k.weight', 'v.weight', 'o.weight'" in text
    assert start == {
        "params.Dense_4.bias": "fc1.bias",
        "params.Dense_4.kernel": ("fc1.weight", (1, 0)),
        "params.Dense_5.bias": "fc2.bias",
        "params.Dense_5.kernel": ("fc2.weight", (1, 0)),
    }


@jax.tree_util.register_dataclass
@dataclass
class EquinoxLike:
    """Arrays among everything else: Equinox keeps functions and settings as leaves."""

    layers: list[Any]
    activation: Any = jax.nn.relu
    width: Any = 4
    name: Any = "mlp"
    bias: Any = None


def test_equinox_like_modules_in_torchs_layout():
    tree = EquinoxLike([EquinoxLike([], bias=leaf(4)), {"weight": leaf(4, 4), "bias": leaf(4)}])
    names = suggest_names({"layers.1.weight": (4, 4), "layers.1.bias": (4,), "b.bias": (4,)}, tree)
    assert names == {
        "layers.0.bias": "b.bias",
        "layers.1.bias": "layers.1.bias",
        "layers.1.weight": "layers.1.weight",
    }


def test_a_field_called_value_keeps_its_name():
    tree = {"attention": {"value": {"kernel": leaf(2, 3)}}, "value": leaf(7)}
    assert set(suggest_names({"v.weight": (3, 2), "x": (7,)}, tree)) == {
        "attention.value.kernel",
        "value",
    }


def test_haiku_tree():
    tree = {"mlp/~/linear_0": {"w": leaf(3, 5), "b": leaf(5)}, "ln": {"scale": leaf(5)}}
    tree["ln"]["offset"] = leaf(5)
    reference = linears(fc=(3, 5)) | {"norm.weight": (5,), "norm.bias": (5,)}
    text, _ = refused(reference | {"norm.weight": (5, 1)}, tree)
    assert "'norm.weight' (5, 1)" in text
    assert suggest_names(linears(fc=(3, 5)), {"mlp/~/linear_0": tree["mlp/~/linear_0"]}) == {
        "mlp/~/linear_0.b": "fc.bias",
        "mlp/~/linear_0.w": ("fc.weight", (1, 0)),
    }
    assert suggest_names(reference, tree)["ln.offset"] == "norm.bias"


def test_torchs_own_names_come_back_as_they_are():
    module = torch.nn.Sequential(CNN_REFERENCE, torch.nn.LSTM(3, 4, 2), torch.nn.PReLU())
    state = module.state_dict()
    tree = {key: leaf(*tensor.shape) for key, tensor in state.items()}
    assert suggest_names(module, tree) == {key: key for key in state}


@pytest.mark.parametrize(
    ("theirs", "torchs", "shape"),
    [
        (flax.linen.Dense(4), torch.nn.Linear(4, 4), (2, 4)),
        (flax.linen.Conv(4, (3, 3), padding=0), torch.nn.Conv2d(4, 4, 3), (2, 5, 6, 4)),
        (flax.linen.Conv(4, (3,), padding=0), torch.nn.Conv1d(4, 4, 3), (2, 5, 4)),
        (flax.linen.Conv(4, (3,) * 3, padding=0), torch.nn.Conv3d(4, 4, 3), (2, 5, 4, 6, 4)),
        (
            flax.linen.ConvTranspose(4, (3, 3), padding="VALID", transpose_kernel=True),
            torch.nn.ConvTranspose2d(4, 4, 3),
            (2, 5, 6, 4),
        ),
    ],
)
def test_the_permutation_gives_torchs_output(theirs, torchs, shape):
    """All sizes are equal, so that only the right order of axes gives the right numbers."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    tree = jax.eval_shape(theirs.init, jax.random.key(0), x)
    state = torchs.state_dict()
    names = suggest_names(torchs, tree)
    arrays = [
        state[leaf.key].numpy().transpose(leaf.permutation)
        for leaf in resolve(names, {key: tuple(t.shape) for key, t in state.items()}, tree)
    ]
    got = theirs.apply(jax.tree.unflatten(jax.tree.structure(tree), arrays), x)
    expected = torchs(torch.from_numpy(np.moveaxis(x, -1, 1))).detach().numpy()
    assert_near(np.moveaxis(got, -1, 1), expected)
