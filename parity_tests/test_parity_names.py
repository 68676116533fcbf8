"""Paths of a tree's leaves, and a mapping of them to torch's tensors, checked completely."""

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from named_trees import leaf, nnx_trees

from fdl.parity._roles import flax_layout, transposed
from fdl.parity.names import Leaf, paths, resolve, suggest_names

# --- paths


@pytest.mark.parametrize("form", ["module", "state", "pure"])
def test_paths_are_parallel_to_the_leaves(form):
    tree = nnx_trees()[form]
    by_path = dict(zip(paths(tree), jax.tree.leaves(tree), strict=True))
    assert by_path["head.kernel"].shape == (6, 2)
    assert not any("dropout" in path for path in by_path if path)


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
