"""What the name and the shape of a leaf say: its module, its role there, the layout of its axes.

Roles are torch's, layouts torch's or Flax's; a leaf whose name does not tell may have any.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

Shape = tuple[int, ...]
Permutation = tuple[int, ...]

COUNTER = "num_batches_tracked"
"""A buffer that only torch has, and that a candidate may leave out."""

_ROLES = {
    **dict.fromkeys(["kernel", "weight", "w", "scale", "gamma"], "weight"),
    **dict.fromkeys(["embedding", "embeddings"], "weight"),
    **dict.fromkeys(["bias", "b", "beta", "offset"], "bias"),
    **dict.fromkeys(["running_mean", "moving_mean", "mean"], "running_mean"),
    **dict.fromkeys(["running_var", "moving_var", "moving_variance", "var"], "running_var"),
    COUNTER: COUNTER,
}
_WORDS = {tuple(word.split("_")): word for word in sorted(_ROLES, key=len, reverse=True)}
_LAYOUTS = {"kernel": "flax", "w": None}  # by these words; the other words of _ROLES: torch's
_COLLECTIONS = ("params", "batch_stats")  # Linen's: both hold leaves of the same modules


class Kind(NamedTuple):
    """What decides whether two leaves fit.

    Attributes:
        role: a torch tensor's own name (``"weight"``, ``"running_mean"``), None if unknown.
        layout: ``"torch"`` or ``"flax"``, None if the name does not tell.
        shape: of the array.
    """

    role: str | None
    layout: str | None
    shape: Shape


class Item(NamedTuple):
    """A leaf of either side: its full name, the name of its module, and its kind."""

    name: str
    module: str
    kind: Kind


class Group(NamedTuple):
    """The leaves of one module of either side, and its name in words and numbers."""

    tokens: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The leaves without their names."""
        return tuple(item.kind for item in self.items)

    @property
    def largest(self) -> Item:
        """The leaf that stands for the module in messages."""
        return max(self.items, key=lambda item: len(item.kind.shape))


def groups_of(shapes: Mapping[str, Shape]) -> list[Group]:
    """The leaves of one side, by module."""
    modules: dict[str, list[Item]] = {}
    for name, shape in shapes.items():
        item = item_of(name, shape)
        modules.setdefault(item.module, []).append(item)
    return [Group(tokens_of(module), tuple(items)) for module, items in modules.items()]


def item_of(name: str, shape: Shape) -> Item:
    """Reads a leaf's name; what it holds beside the role belongs to the module's name."""
    *parents, own = re.split(r"[./]", name)
    if parents and parents[0] in _COLLECTIONS:
        parents = parents[1:]
    word, rest = _role_word(own, rank=len(shape))
    if word is not None:
        kind = Kind(_ROLES[word], _LAYOUTS.get(word, "torch"), shape)
        return Item(name, ".".join([*parents, *rest]), kind)
    module = parents if own.isdigit() else [*parents, own]  # 0 and 1 of a pair (weight, bias)
    return Item(name, ".".join(module), Kind(None, None, shape))


def tokens_of(name: str) -> tuple[str, ...]:
    """Splits a name into words and numbers.

    >>> tokens_of("layers_0.Dense_1")
    ('layers', '0', 'dense', '1')
    """
    return tuple(re.findall(r"\d+|[^\W\d_]+", name.lower()))


def _role_word(name: str, *, rank: int) -> tuple[str | None, tuple[str, ...]]:
    """Finds the role at the end or start of a leaf's own name, and what the name holds besides.

    >>> _role_word("weight_ih_l0", rank=2)
    ('weight', ('ih', 'l', '0'))
    """
    tokens = tokens_of(name)
    words = {k: w for k, w in _WORDS.items() if rank < 2 or _ROLES[w] != "bias"}
    for key, word in words.items():
        if tokens[-len(key) :] == key:
            return word, tokens[: -len(key)]
    for key, word in words.items():
        if tokens[: len(key)] == key:
            return word, tokens[len(key) :]
    return None, ()


# --- layouts


def layouts_of(kind: Kind, tensor: Kind) -> list[Permutation | None]:
    """Every layout in which a leaf of theirs can hold a tensor of torch's."""
    known = kind.role and tensor.role
    if kind.role != tensor.role and (known or COUNTER in (kind.role, tensor.role)):
        return []
    flax = flax_layout(len(tensor.shape))
    layouts = {"torch": {None}, "flax": {flax}, None: {None, flax}}[kind.layout]
    return [layout for layout in layouts if _fits(kind.shape, tensor.shape, layout)]


def _fits(shape: Shape, tensor: Shape, layout: Permutation | None) -> bool:
    return len(shape) == len(tensor) and transposed(tensor, layout) == shape


def flax_layout(rank: int) -> Permutation | None:
    """What makes Flax's kernel of torch's weight: (in, out), WIO, HWIO or DHWIO."""
    return (*range(2, rank), 1, 0) if rank >= 2 else None


def transposed(shape: Shape, permutation: Permutation | None) -> Shape:
    """The shape of a transposed array."""
    return shape if permutation is None else tuple(shape[axis] for axis in permutation)
