"""Which leaf is which tensor: found from names and shapes, refused where two ways fit."""

import ast
from dataclasses import dataclass
from typing import Any

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from fdl.parity._suggest import flax_layout, transposed
from fdl.parity.names import Leaf, paths, resolve, suggest_names


def leaf(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def dense(inputs: int, outputs: int) -> dict[str, Any]:
    return {"kernel": leaf(inputs, outputs), "bias": leaf(outputs)}


def linears(**sizes: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of torch Linears: name to (in, out)."""
    return {
        f"{name.replace('__', '.')}.{role}": shape
        for name, (inputs, outputs) in sizes.items()
        for role, shape in [("weight", (outputs, inputs)), ("bias", (outputs,))]
    }


def refused(reference: Any, params: Any) -> tuple[str, dict[str, Any]]:
    """The error's text and the start that it gives."""
    with pytest.raises(ValueError, match="in exactly one way") as error:
        suggest_names(reference, params)
    text, _, start = str(error.value).partition("leaves):\n")
    return text, ast.literal_eval(start)


# --- by shapes


def test_shapes_alone_decide_whatever_the_names():
    reference = linears(fc1=(3, 5), fc2=(5, 7), fc3=(7, 2))
    tree = {"fc3": dense(3, 5), "fc1": dense(5, 7), "zebra": dense(7, 2)}
    assert suggest_names(reference, tree) == {
        "fc1.bias": "fc2.bias",
        "fc1.kernel": ("fc2.weight", (1, 0)),
        "fc3.bias": "fc1.bias",
        "fc3.kernel": ("fc1.weight", (1, 0)),
        "zebra.bias": "fc3.bias",
        "zebra.kernel": ("fc3.weight", (1, 0)),
    }


def test_equal_biases_follow_their_weights():
    reference = linears(a=(1, 64), b=(2, 64), c=(3, 64), d=(4, 64))
    names = suggest_names(reference, {f"Dense_{i}": dense(4 - i, 64) for i in range(4)})
    assert [names[f"Dense_{i}.bias"] for i in range(4)] == ["d.bias", "c.bias", "b.bias", "a.bias"]


def test_pairs_and_flat_lists_without_names():
    reference = linears(fc1=(3, 5), fc2=(5, 5))
    del reference["fc2.bias"]
    expected = [("fc1.weight", (1, 0)), "fc1.bias"]
    square = {"kernel": leaf(5, 5)}
    pair = suggest_names(reference, [(leaf(3, 5), leaf(5)), square])
    flat = suggest_names(reference, [leaf(3, 5), leaf(5), square])
    assert [pair["0.0"], pair["0.1"]] == expected
    assert [flat["0"], flat["1"]] == expected


def test_names_and_roles_in_one_word():
    reference = {"l.weight_ih_l0": (16, 3), "l.weight_hh_l0": (16, 4)}
    reference |= {"l.bias_ih_l0": (16,), "l.bias_hh_l0": (16,)}
    tree = {"w_ih": leaf(3, 16), "w_hh": leaf(4, 16), "b_ih": leaf(16), "b_hh": leaf(16)}
    assert suggest_names(reference, tree) == {
        "b_hh": "l.bias_hh_l0",
        "b_ih": "l.bias_ih_l0",
        "w_hh": ("l.weight_hh_l0", (1, 0)),
        "w_ih": ("l.weight_ih_l0", (1, 0)),
    }


def test_a_free_layout_is_settled_by_what_is_left():
    """The kernel can only be a.weight, so that the w is b.weight, in torch's layout."""
    names = suggest_names(
        {"a.weight": (5, 4), "b.weight": (4, 5)},
        {"x": {"w": leaf(4, 5)}, "y": {"kernel": leaf(4, 5)}},
    )
    assert names == {"x.w": "b.weight", "y.kernel": ("a.weight", (1, 0))}


def test_nothing_is_settled_where_the_counts_differ():
    reference = {"a.weight": (5, 4), "aa.weight": (5, 4), "b.weight": (4, 5)}
    tree = {"x": {"w": leaf(4, 5)}, "y": {"kernel": leaf(4, 5)}}
    text, start = refused(reference, tree)
    assert "'x.w' (4, 5) fits 'a.weight', 'aa.weight', 'b.weight' (2 for 3)" in text
    assert start == {}


def test_nothing_is_settled_where_two_need_the_same():
    reference = {"a.weight": (5, 4), "b.weight": (4, 5), "bb.weight": (4, 5)}
    tree = {"y": {"kernel": leaf(4, 5)}, "z": {"kernel": leaf(4, 5)}, "x": {"w": leaf(4, 5)}}
    text, start = refused(reference, tree)
    assert "'y.kernel' (4, 5), 'z.kernel' (4, 5): each fits 'a.weight'" in text
    assert start == {}


# --- by roles


def test_roles_tell_modules_of_equal_sizes_apart():
    """Linen keeps a BatchNorm's leaves in two places; torch counts its batches besides."""
    norm = {"scale": leaf(4), "bias": leaf(4)}
    tree = {
        "params": {"x": norm, "y": norm, "z": {"scale": leaf(4)}},
        "batch_stats": {"y": {"mean": leaf(4), "var": leaf(4)}},
    }
    reference = torch.nn.Sequential(
        torch.nn.BatchNorm1d(4), torch.nn.LayerNorm(4), torch.nn.RMSNorm(4)
    )
    assert suggest_names(reference, tree) == {
        "batch_stats.y.mean": "0.running_mean",
        "batch_stats.y.var": "0.running_var",
        "params.x.bias": "1.bias",
        "params.x.scale": "1.weight",
        "params.y.bias": "0.bias",
        "params.y.scale": "0.weight",
        "params.z.scale": "2.weight",
    }


def test_a_matrix_is_no_bias():
    reference = {"lora_A.weight": (4, 3), "lora_B.weight": (5, 4)}
    assert suggest_names(reference, {"lora_a": leaf(3, 4), "lora_b": leaf(4, 5)}) == {
        "lora_a": ("lora_A.weight", (1, 0)),
        "lora_b": ("lora_B.weight", (1, 0)),
    }


@pytest.mark.parametrize(
    ("name", "shape", "tensor", "permutation"),
    [
        ("kernel", (5, 5), (5, 5), (1, 0)),
        ("weight", (5, 5), (5, 5), None),
        ("embedding", (5, 5), (5, 5), None),
        ("scale", (5,), (5,), None),
        ("gamma", (5, 1, 1), (5, 1, 1), None),
        ("w", (4, 5), (5, 4), (1, 0)),
        ("w", (5, 4), (5, 4), None),
        ("kernel", (3, 4, 5), (5, 4, 3), (2, 1, 0)),
        ("kernel", (3, 3, 3, 3), (3, 3, 3, 3), (2, 3, 1, 0)),
        ("kernel", (1, 2, 3, 4, 5), (5, 4, 1, 2, 3), (2, 3, 4, 1, 0)),
        ("weight", (3, 3, 3, 3), (3, 3, 3, 3), None),
    ],
)
def test_layout_by_role_and_rank(name, shape, tensor, permutation):
    expected = "weight" if permutation is None else ("weight", permutation)
    assert suggest_names({"weight": tensor}, {name: leaf(*shape)}) == {name: expected}


@pytest.mark.parametrize("name", ["matrix", "w"])
def test_square_without_orientation_is_refused(name):
    text, start = refused({"fc.weight": (4, 4), "fc.bias": (4,)}, {name: leaf(4, 4), "b": leaf(4)})
    assert f"'{name}' (4, 4) is 'fc.weight' either as it is or as ('fc.weight', (1, 0))" in text
    assert start == {"b": "fc.bias"}


def test_kernel_in_torchs_layout_does_not_fit():
    text, start = refused({"fc.weight": (2, 3)}, {"fc": {"kernel": leaf(2, 3)}})
    assert "surplus: 'fc.kernel' (2, 3)" in text
    assert "missing: no leaf fits 'fc.weight' (2, 3)" in text
    assert start == {}


# --- by names


def test_two_equal_layers_are_refused_by_name():
    tree = {"Dense_0": dense(4, 4), "Dense_1": dense(4, 4), "out": dense(4, 2)}
    text, start = refused(linears(fc_a=(4, 4), fc_b=(4, 4), head=(4, 2)), tree)
    assert (
        "'Dense_0.kernel' (4, 4), 'Dense_1.kernel' (4, 4): each fits 'fc_a.weight', 'fc_b.weight'"
    ) in text
    assert start == {"out.bias": "head.bias", "out.kernel": ("head.weight", (1, 0))}


@pytest.mark.parametrize("keys", [("0", "2"), ("0", "1"), ("fc1", "fc2"), ("fc0", "fc1")])
def test_numbers_behind_other_words_are_refused(keys):
    """Flax's numbers are the order of construction, which need not be that of torch's names."""
    tree = {"Dense_0": dense(4, 4), "Dense_1": dense(4, 4)}
    text, start = refused(linears(**dict.fromkeys(keys, (4, 4))), tree)
    assert all(f"'{key}.weight'" in text for key in keys)
    assert start == {}


def test_gaps_in_numbers_do_not_match_by_accident():
    """layers_2 is layers.4 here; its name says layers.2."""
    reference = linears(layers__0=(4, 4), layers__2=(4, 4), layers__4=(4, 4))
    _, start = refused(reference, {f"layers_{i}": dense(4, 4) for i in range(3)})
    assert start == {}
    _, start = refused(
        linears(layers__0=(4, 4), layers__2=(4, 4), head=(4, 4)),
        {f"layers_{i}": dense(4, 4) for i in range(3)},
    )
    assert start == {}


def test_numbers_must_agree_in_the_whole_family():
    """Both sides have a 0 and a 2 of equal shape, but count differently."""
    reference = linears(layers__0=(4, 4), layers__2=(4, 4), layers__4=(4, 5))
    tree = {"layers_0": dense(4, 4), "layers_1": dense(4, 5), "layers_2": dense(4, 4)}
    _, start = refused(reference, tree)
    assert start == {
        "layers_1.bias": "layers.4.bias",
        "layers_1.kernel": ("layers.4.weight", (1, 0)),
    }


def test_blocks_counted_from_elsewhere_are_refused():
    tree = {f"Block_{i}": {"q": dense(4, 4)} for i in (0, 1)}
    _, start = refused(linears(h__1__q=(4, 4), h__2__q=(4, 4)), tree)
    assert start == {}


LAYERS = linears(**{f"layers__{i}__fc{j}": (4, 4) for i in range(2) for j in range(2)})


def test_equal_words_and_numbers_decide():
    tree = {f"layers_{i}": {f"mlp_fc_{j}": dense(4, 4) for j in range(2)} for i in range(2)}
    names = suggest_names(LAYERS, tree)
    assert names["layers_0.mlp_fc_1.bias"] == "layers.0.fc1.bias"
    assert names["layers_1.mlp_fc_0.kernel"] == ("layers.1.fc0.weight", (1, 0))


def test_equal_numbers_inside_a_name_narrow_down():
    tree = {f"layers_{i}": {f"Dense_{j}": dense(4, 4) for j in range(2)} for i in range(2)}
    text, start = refused(LAYERS, tree)
    assert (
        "'layers_1.Dense_0.kernel' (4, 4), 'layers_1.Dense_1.kernel' (4, 4): each fits "
        "'layers.1.fc0.weight', 'layers.1.fc1.weight'\n"
    ) in text
    assert start == {}


def test_a_shared_word_decides_and_leaves_one_way_for_the_rest():
    tree = {"thing": dense(4, 4), "Head": dense(4, 4)}
    names = suggest_names(linears(fc=(4, 4), net__head=(4, 4)), tree)
    assert names["Head.bias"] == "net.head.bias"
    assert names["thing.bias"] == "fc.bias"


def test_names_do_not_overrule_shapes():
    """A `w` fits either orientation here, a `kernel` one: bee.kernel is not bee.weight."""
    reference = {
        "one.weight": (5, 4),
        "two.weight": (5, 4),
        "bee.weight": (4, 5),
        "c.weight": (4, 5),
    }
    tree = {"bee": {"kernel": leaf(4, 5)}, "d": {"kernel": leaf(4, 5)}}
    tree |= {"x": {"w": leaf(4, 5)}, "y": {"w": leaf(4, 5)}}
    text, start = refused(reference, tree)
    assert "'bee.kernel' (4, 5), 'd.kernel' (4, 5): each fits 'one.weight', 'two.weight'\n" in text
    assert start == {}


def test_words_of_a_whole_side_say_nothing():
    tree = {"proj": {name: dense(4, 4) for name in "qkxy"}}
    reference = linears(q=(4, 4), k=(4, 4), proj__one=(4, 4), proj__two=(4, 4))
    _, start = refused(reference, tree)
    assert list(start) == ["proj.k.bias", "proj.k.kernel", "proj.q.bias", "proj.q.kernel"]


def test_two_claims_on_one_module_are_refused():
    tree = {"a": {"head": dense(4, 4)}, "b": {"head": dense(4, 4)}, "c": dense(4, 4)}
    _, start = refused(linears(head=(4, 4), p=(4, 4), q=(4, 4)), tree)
    assert start == {}


def test_crossed_words_are_refused():
    tree = {"encoder": {"fc": dense(4, 4)}, "decoder": {"out": dense(4, 4)}}
    _, start = refused(linears(encoder__out=(4, 4), decoder__fc=(4, 4)), tree)
    assert start == {}


def block(*names: str) -> dict[str, Any]:
    return {name: dense(8, 8) for name in names}


def attention(layers: int) -> dict[str, tuple[int, ...]]:
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    return linears(**{f"h__{i}__attn__{name}": (8, 8) for i in range(layers) for name in names})


def test_attention_of_equal_shapes_is_refused_layer_by_layer():
    tree = {f"Block_{i}": block("query", "key", "value", "out") for i in range(2)}
    text, start = refused(attention(2), tree)
    assert (
        "'Block_1.key.kernel' (8, 8), 'Block_1.query.kernel' (8, 8), 'Block_1.value.kernel' (8, 8):"
        " each fits 'h.1.attn.q_proj.weight', 'h.1.attn.k_proj.weight', 'h.1.attn.v_proj.weight'"
    ) in text
    assert start == {
        f"Block_{i}.out.{name}": entry
        for i in range(2)
        for name, entry in [
            ("bias", f"h.{i}.attn.out_proj.bias"),
            ("kernel", (f"h.{i}.attn.out_proj.weight", (1, 0))),
        ]
    }


def test_attention_by_name():
    names = suggest_names(attention(12), {f"Block_{i}": block(*"qkv", "out") for i in range(12)})
    assert names["Block_10.v.bias"] == "h.10.attn.v_proj.bias"
    assert len(names) == len(set(map(str, names.values()))) == 12 * 8


def test_the_error_lists_surplus_and_missing():
    tree = {"a": dense(3, 5), "extra": leaf(9), "b": {"kernel": leaf(5, 2)}}
    text, start = refused(linears(fc1=(3, 5), fc2=(5, 2)), tree)
    assert "surplus: 'extra' (9,) fits no key that is free" in text
    assert "missing: no leaf fits 'fc2.bias' (2,)" in text
    assert start == {
        "a.bias": "fc1.bias",
        "a.kernel": ("fc1.weight", (1, 0)),
        "b.kernel": ("fc2.weight", (1, 0)),
    }


def test_a_missing_layer_is_not_filled_by_force():
    text, start = refused(linears(fc1=(4, 4), fc2=(4, 4)), {"layer": dense(4, 4)})
    assert "'layer.kernel' (4, 4) fits 'fc1.weight', 'fc2.weight' (1 for 2)" in text
    assert start == {}


# --- real trees

CNN_REFERENCE = torch.nn.Sequential(
    torch.nn.Conv2d(1, 4, 3),
    torch.nn.BatchNorm2d(4),
    torch.nn.ReLU(),
    torch.nn.Conv2d(4, 6, 3, bias=False),
    torch.nn.BatchNorm2d(6),
    torch.nn.Flatten(),
    torch.nn.Linear(6, 2),
)


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


class NNXCNN(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.convs = nnx.List(
            [
                nnx.Conv(1, 4, (3, 3), rngs=rngs),
                nnx.Conv(4, 6, (3, 3), use_bias=False, rngs=rngs),
            ]
        )
        self.norms = nnx.List([nnx.BatchNorm(4, rngs=rngs), nnx.BatchNorm(6, rngs=rngs)])
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(6, 2, rngs=rngs)


def nnx_trees() -> dict[str, Any]:
    module = nnx.eval_shape(lambda: NNXCNN(nnx.Rngs(0)))
    state = nnx.state(module)
    return {"module": module, "state": state, "pure": nnx.to_pure_dict(state)}


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


@pytest.mark.parametrize("form", ["module", "state", "pure"])
def test_paths_are_parallel_to_the_leaves(form):
    tree = nnx_trees()[form]
    by_path = dict(zip(paths(tree), jax.tree.leaves(tree), strict=True))
    assert by_path["head.kernel"].shape == (6, 2)
    assert not any("dropout" in path for path in by_path if path)


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


def test_reference_of_another_type():
    with pytest.raises(TypeError, match=r"reference: expected a torch\.nn\.Module"):
        suggest_names([1, 2], {})


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
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), expected, atol=1e-5)


# --- every network with unique shapes


@st.composite
def networks(draw: st.DrawFn) -> tuple[dict, dict, dict]:
    """(torch's shapes, a renamed and permuted tree, the mapping between them)."""
    kinds = draw(st.lists(st.sampled_from(["linear", "conv", "bn", "plain"]), min_size=1))
    sizes = draw(st.permutations(range(4, 5 + len(kinds))))
    name = st.text("abWz01_/", min_size=1, max_size=6)
    count = len(kinds)
    modules = draw(st.lists(name, min_size=count, max_size=count, unique=True))
    state, tree, names = {}, {}, {}
    for index, (kind, module) in enumerate(zip(kinds, modules, strict=True)):
        inputs, outputs = sizes[index], sizes[index + 1]
        tensors = {
            "linear": {"weight": (outputs, inputs), "bias": (outputs,)},
            "conv": {"weight": (outputs, inputs, 3, 2), "bias": (outputs,)},
            "plain": {"weight": (outputs, inputs)},
            "bn": dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (outputs,)),
        }[kind]
        tree[module] = {}
        for role, shape in tensors.items():
            words = {"weight": ["kernel", "weight", "w"], "bias": ["bias", "b", "beta"]}
            word = draw(st.sampled_from(words.get(role, [role, role.removeprefix("running_")])))
            flax_like = word == "kernel" or (word == "w" and draw(st.booleans()))
            permutation = flax_layout(len(shape)) if flax_like else None
            key = f"{index}.{role}"
            state[key] = shape
            tree[module][word] = leaf(*transposed(shape, permutation))
            names[f"{module}.{word}"] = (key, permutation) if permutation else key
    return state, tree, names


@given(networks())
def test_unique_shapes_come_back_exactly(network):
    state, tree, names = network
    assert suggest_names(state, tree) == names
    resolved = resolve(names, state, tree)
    assert [leaf.path for leaf in resolved] == paths(tree)
    assert {leaf.path: leaf.key for leaf in resolved} == {
        path: entry if isinstance(entry, str) else entry[0] for path, entry in names.items()
    }


# --- resolve

STATE = {"fc.weight": (3, 2), "fc.bias": (3,), "bn.num_batches_tracked": ()}
TREE = {"kernel": leaf(2, 3), "bias": leaf(3), "settings": None}


def test_resolve_in_the_trees_order():
    names = {"kernel": ("fc.weight", [1, 0]), "bias": ("fc.bias", (0,))}
    assert resolve(names, STATE, TREE) == [
        Leaf("bias", "fc.bias", None),
        Leaf("kernel", "fc.weight", (1, 0)),
    ]


def test_resolve_lists_every_fault_at_once():
    state = {"a": (3, 2), "b": (4,), "c": (2, 6), "d": (5, 5), "e": (6,), "f": (2, 3), "g": ()}
    tree = {
        "axes": leaf(5, 5),
        "form": leaf(1),
        "nameless": leaf(9),
        "reshaped": leaf(3, 4),
        "straight": leaf(3, 2),
        "turned": leaf(2, 3),
        "twice": leaf(4),
        "typo": leaf(6),
        "unlike": leaf(7),
    }
    names = {
        "axes": ("d", (0, 2)),
        "form": 3,
        "gone.kernl": "g",
        "reshaped": "c",
        "straight": ("f", (0, 1)),
        "turned": "a",
        "twice": "b",
        "typo": "ee",
        "unlike": "b",
    }
    with pytest.raises(ValueError, match=r"\(11 problems\)") as error:
        resolve(names, state, tree)
    assert str(error.value).splitlines()[1:-1] == [
        "  'nameless' (9,): the tree has it, names do not; add an entry",
        "  'gone.kernl': names have it, the tree does not",
        "  'form': expected 'key' or ('key', permutation), got 3",
        "  'typo': the state_dict has no key 'ee'; did you mean 'e'?",
        "  'axes': permutation: expected the axes of 'd' (5, 5) in some order, got (0, 2); "
        "write 'd' or ('d', (1, 0)): shapes do not tell which",
        "  'reshaped': expected shape (2, 6) of 'c', got (3, 4); a permutation cannot reshape: "
        "keep this leaf in torch's shape, reshape in use",
        "  'straight': expected shape (2, 3) of 'f' transposed by (0, 1), got (3, 2); "
        "write ('f', (1, 0))",
        "  'turned': expected shape (3, 2) of 'a', got (2, 3); write ('a', (1, 0))",
        "  'unlike': expected shape (4,) of 'b', got (7,); is it another layer's, or are the "
        "sizes not the same?",
        "  key 'b': used 2 times, by 'twice', 'unlike'",
        "  key 'e' (6,): not used; name the leaf that holds it",
    ]


def test_resolve_suggests_the_leaf_that_was_meant():
    with pytest.raises(ValueError, match="did you mean 'kernel'"):
        resolve({"kernel.value": ("fc.weight", (1, 0)), "bias": "fc.bias"}, STATE, TREE)


def test_two_leaves_of_one_path():
    tree = {"a.b": leaf(1), "a": {"b": leaf(1)}}
    with pytest.raises(ValueError, match=r"one leaf for each path, got more for \['a\.b'\]"):
        resolve({}, {}, tree)
