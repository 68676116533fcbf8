"""Which leaf of a JAX parameter tree is which key of torch's ``state_dict``."""

from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import permutations
from math import prod
from pprint import pformat
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from fdl.parity._roles import COUNTER, Shape, flax_layout, transposed
from fdl.parity._suggest import Found, match

Names = Mapping[str, str | tuple[str, tuple[int, ...]]]
"""Their path to torch's key, or to ``(key, permutation)``: theirs is torch's, transposed so."""


class Leaf(NamedTuple):
    """One entry of a checked mapping.

    Attributes:
        path: of the leaf in their tree, as in :func:`paths`.
        key: torch's ``state_dict`` key.
        permutation: theirs == ``torch_tensor.transpose(permutation)``; None: same layout.
    """

    path: str
    key: str
    permutation: tuple[int, ...] | None


def suggest_names(reference: Any, params: Any) -> Names:
    """Proposes which leaf of a JAX parameter tree is which tensor of a torch module.

    Leaves are matched module by module: first by shape, and among equal shapes by the words and
    numbers that both sides' names share. Leaf names give the role (``kernel``, ``w``, ``scale``,
    ``embedding`` are torch's ``weight``) and the layout: a ``kernel`` is Flax's, a ``weight``
    torch's own. What fits in two ways is refused, not guessed.

    Args:
        reference: a ``torch.nn.Module`` or a ``state_dict``; shapes instead of tensors will do.
        params: any tree of arrays or ``jax.ShapeDtypeStruct``: Flax Linen (with ``batch_stats``:
            ``{"params": ..., "batch_stats": ...}``), Flax NNX, Equinox, Haiku, plain dicts.

    Returns:
        ``{path: key}`` or ``{path: (key, permutation)}`` for every leaf, in the tree's order.

    Raises:
        ValueError: if leaves fit in more than one way or not at all; the error lists them, and
            gives what is certain as a start to be completed by hand.
        TypeError: if the reference is neither a module nor a mapping.

    Shapes cannot show two things, and comparing outputs does: a Linear behind a flattened image
    whose pixels come in another order, and a transposed convolution whose kernel is flipped
    (Flax: ``transpose_kernel=False``).

    Example:
        >>> import jax, torch
        >>> from fdl.parity.names import suggest_names
        >>> twin = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
        >>> def dense(*shape):
        ...     return {"kernel": jax.numpy.ones(shape), "bias": jax.numpy.ones(shape[-1])}
        >>> for path, entry in suggest_names(twin, {"out": dense(8, 2), "in": dense(4, 8)}).items():
        ...     print(path, entry)
        in.bias 0.bias
        in.kernel ('0.weight', (1, 0))
        out.bias 1.bias
        out.kernel ('1.weight', (1, 0))
    """
    state, theirs = _shapes_of(reference), _shapes_in(params)
    found = match(theirs, state)
    names = {
        path: key if permutation is None else (key, permutation)
        for path, (key, permutation) in found.pairs.items()
    }
    if found.doubts or found.surplus or found.missing:
        raise ValueError(_refusal(found, theirs, state, names))
    resolve(names, state, params)
    return names


def resolve(names: Names, state: Mapping[str, tuple[int, ...]], tree: Any) -> list[Leaf]:
    """Checks a mapping completely: every leaf and every key once, and every shape.

    Args:
        names: the mapping.
        state: the shapes of torch's ``state_dict``.
        tree: their parameter tree.

    Returns:
        The entries, in the tree's order. ``num_batches_tracked`` may be left out, nothing else.

    Raises:
        ValueError: if the mapping has any fault; the error lists all of them.

    Example:
        >>> import jax.numpy as jnp
        >>> from fdl.parity.names import resolve
        >>> tree = {"kernel": jnp.ones((2, 3))}
        >>> resolve({"kernel": ("weight", (1, 0))}, {"weight": (3, 2)}, tree)
        [Leaf(path='kernel', key='weight', permutation=(1, 0))]
    """
    theirs = _shapes_in(tree)
    entries = {path: _entry(entry) for path, entry in names.items()}
    faults = [*_unnamed(theirs, names, state)]
    leaves = [Leaf(path, *entry) for path in theirs if (entry := entries.get(path)) is not None]
    for leaf in leaves:
        faults += _misfits(leaf, theirs[leaf.path], state)
    faults += _miscounted(entries, state)
    if faults:
        raise ValueError(
            f"names do not fit this tree and this state_dict ({len(faults)} problems):\n  "
            + "\n  ".join(faults)
            + "\nEach leaf of the tree needs one entry {path: key} or {path: (key, permutation)}, "
            "and each key one leaf."
        )
    return [leaf._replace(permutation=_moving(leaf.permutation)) for leaf in leaves]


def paths(tree: Any) -> list[str | None]:
    """Names the leaves of a tree as a mapping names them.

    Args:
        tree: any tree; an NNX variable counts as one leaf, without ``.value`` in its path.

    Returns:
        One path for each of ``jax.tree.leaves(tree)``, for example ``"Dense_0.kernel"``; None
        for what is no parameter or buffer: anything but arrays, and JAX's random states.

    Example:
        >>> import jax.numpy as jnp
        >>> from fdl.parity.names import paths
        >>> paths({"layers": [{"weight": jnp.ones(2), "name": "first"}]})
        [None, 'layers.0.weight']
    """
    return [
        jax.tree_util.keystr(path, simple=True, separator=".") if _is_tensor(leaf) else None
        for path, leaf in _flat(tree)
    ]


# --- the two sides


def _flat(tree: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(
        tree, is_leaf=lambda node: isinstance(node, nnx.Variable)
    ):
        if isinstance(leaf, nnx.Variable):
            for inner, value in jax.tree_util.tree_leaves_with_path(leaf.get_value()):
                yield (*path, *inner), value
        else:
            yield path, leaf


def _is_tensor(leaf: Any) -> bool:
    """Arrays, but no random keys and counters: uint32 is what JAX keeps them in, torch has none."""
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not isinstance(getattr(leaf, "shape", None), tuple):
        return False
    return not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) and dtype != jnp.uint32


def _shapes_in(tree: Any) -> dict[str, Shape]:
    named = [
        (path, leaf.shape)
        for path, (_, leaf) in zip(paths(tree), _flat(tree), strict=True)
        if path is not None
    ]
    twice = [path for path, count in Counter(path for path, _ in named).items() if count > 1]
    if twice:
        raise ValueError(
            f"params: expected one leaf for each path, got more for {twice}. Rename the keys that "
            "have a dot in them."
        )
    return dict(named)


def _shapes_of(reference: Any) -> dict[str, Shape]:
    if not isinstance(reference, Mapping) and not hasattr(reference, "state_dict"):
        raise TypeError(
            "reference: expected a torch.nn.Module or a state_dict, got "
            f"{type(reference).__name__}. Pass the module itself, or module.state_dict()."
        )
    state = reference if isinstance(reference, Mapping) else reference.state_dict()
    return {key: tuple(getattr(tensor, "shape", tensor)) for key, tensor in state.items()}


# --- a mapping's faults


def _entry(entry: Any) -> tuple[str, tuple[int, ...] | None] | None:
    """Key and permutation of an entry, None if it is neither of the two forms."""
    match entry:
        case str():
            return entry, None
        case [str() as key, [*axes]] if all(type(axis) is int for axis in axes):
            return key, tuple(axes)
    return None


def _unnamed(
    theirs: Mapping[str, Shape], names: Mapping[str, Any], state: Mapping[str, Shape]
) -> Iterator[str]:
    for path, shape in theirs.items():
        if path not in names:
            yield f"{path!r} {shape}: the tree has it, names do not; add an entry"
    for path in names:
        if path not in theirs:
            yield f"{path!r}: names have it, the tree does not" + _did_you_mean(path, theirs)
    for path, given in names.items():
        entry = _entry(given)
        if entry is None:
            yield f"{path!r}: expected 'key' or ('key', permutation), got {given!r}"
        elif entry[0] not in state:
            unknown = f"{path!r}: the state_dict has no key {entry[0]!r}"
            yield unknown + _did_you_mean(entry[0], state)


def _miscounted(
    entries: Mapping[str, tuple[str, Any] | None], state: Mapping[str, Shape]
) -> Iterator[str]:
    users: dict[str, list[str]] = {}
    for path, entry in entries.items():
        if entry is not None:
            users.setdefault(entry[0], []).append(path)
    for key, same in users.items():
        if len(same) > 1:
            yield f"key {key!r}: used {len(same)} times, by {', '.join(map(repr, same))}"
    for key, shape in state.items():
        if key not in users and key.rpartition(".")[2] != COUNTER:
            yield f"key {key!r} {shape}: not used; name the leaf that holds it"


def _misfits(leaf: Leaf, shape: Shape, state: Mapping[str, Shape]) -> Iterator[str]:
    tensor = state.get(leaf.key)
    if tensor is None:
        return
    if leaf.permutation is not None and sorted(leaf.permutation) != [*range(len(tensor))]:
        yield (
            f"{leaf.path!r}: permutation: expected the axes of {leaf.key!r} {tensor} in some "
            f"order, got {leaf.permutation}" + _remedy(leaf.key, shape, tensor)
        )
    elif transposed(tensor, leaf.permutation) != shape:
        by = "" if leaf.permutation is None else f" transposed by {leaf.permutation}"
        yield (
            f"{leaf.path!r}: expected shape {transposed(tensor, leaf.permutation)} of "
            f"{leaf.key!r}{by}, got {shape}" + _remedy(leaf.key, shape, tensor)
        )


def _remedy(key: str, shape: Shape, tensor: Shape) -> str:
    rank = len(tensor)
    usual = dict.fromkeys([None, flax_layout(rank)])
    for choices in (usual, permutations(range(rank)) if sorted(shape) == sorted(tensor) else ()):
        fitting = [p for p in choices if len(shape) == rank and transposed(tensor, p) == shape]
        if fitting:
            entries = " or ".join(repr(key if p is None else (key, p)) for p in fitting)
            return f"; write {entries}" + (": shapes do not tell which" if fitting[1:] else "")
    if prod(shape) == prod(tensor):
        return "; a permutation cannot reshape: keep this leaf in torch's shape, reshape in use"
    return "; is it another layer's, or are the sizes not the same?"


def _did_you_mean(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _moving(permutation: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """None for a permutation that moves no axis."""
    still = permutation is None or permutation == (*range(len(permutation)),)
    return None if still else permutation


def _refusal(
    found: Found, theirs: Mapping[str, Shape], state: Mapping[str, Shape], names: Names
) -> str:
    lines = [f"more than one way: {doubt}" for doubt in found.doubts]
    lines += [
        f"surplus: {path!r} {theirs[path]} fits no key that is free" for path in found.surplus
    ]
    lines += [f"missing: no leaf fits {key!r} {state[key]}" for key in found.missing]
    return (
        "suggest_names: params: expected to fit reference in exactly one way, got\n  "
        + "\n  ".join(lines)
        + "\nName these yourself, with entries {path: key} or {path: (key, permutation)} beside "
        f"what is certain ({len(names)} of {len(theirs)} leaves):\n"
        + pformat(names, sort_dicts=False, width=100)
    )
