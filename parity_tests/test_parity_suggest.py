"""Which leaf is which tensor: found from names and shapes, refused where two ways fit."""

from typing import Any

import pytest
import torch
from named_trees import dense, leaf, linears, refused

from fdl.parity.names import suggest_names


def test_reference_of_another_type():
    with pytest.raises(TypeError, match=r"reference: expected a torch\.nn\.Module"):
        suggest_names([1, 2], {})


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
