"""Which leaf of a JAX tree is which tensor of torch's: found from names and shapes, never guessed.

Leaves are matched module by module, so that a bias goes where its weight goes. Shapes decide
first; names decide among equal shapes, and only by words and numbers that both sides have.

"Theirs" is the JAX tree, the "keys" are torch's.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fdl.parity._assignments import Options, components, settle
from fdl.parity._roles import (
    COUNTER,
    Group,
    Item,
    Kind,
    Permutation,
    Shape,
    flax_layout,
    groups_of,
    item_of,
    layouts_of,
    tokens_of,
)


class Found(NamedTuple):
    """What names and shapes tell.

    Attributes:
        pairs: their path to torch's key and the permutation (None: same layout).
        doubts: what fits in more than one way, a sentence each.
        surplus: their paths without a counterpart in torch.
        missing: torch's keys without a counterpart in theirs.
    """

    pairs: dict[str, tuple[str, Permutation | None]]
    doubts: list[str]
    surplus: list[str]
    missing: list[str]


def match(theirs: Mapping[str, Shape], keys: Mapping[str, Shape]) -> Found:
    """Matches their leaves (path to shape) with torch's tensors (key to shape)."""
    counted = any(item_of(path, shape).kind.role == COUNTER for path, shape in theirs.items())
    needed = {k: s for k, s in keys.items() if counted or item_of(k, s).kind.role != COUNTER}
    ours, torchs = _with_lonely_split(groups_of(theirs), groups_of(needed))
    names = _Names([g.tokens for g in ours], [g.tokens for g in torchs])
    decided, left = settle(_options(ours, torchs), names.decide)

    found = [_inside(ours[i], torchs[j]) for i, j in decided.items()]
    pairs = {path: pair for pairs, _ in found for path, pair in pairs.items()}
    doubts = [doubt for _, doubts in found for doubt in doubts]
    doubts += _doubts(names.narrowed(left), [g.largest for g in ours], [g.largest for g in torchs])
    reached = {*decided.values(), *(j for fitting in left.values() for j in fitting)}
    return Found(
        pairs={path: pairs[path] for path in theirs if path in pairs},
        doubts=doubts,
        surplus=[item.name for i in left if not left[i] for item in ours[i].items],
        missing=[
            item.name
            for j, group in enumerate(torchs)
            for item in group.items
            if j not in reached and item.kind.role != COUNTER
        ],
    )


# --- modules


def _with_lonely_split(ours: list[Group], torchs: list[Group]) -> tuple[list[Group], list[Group]]:
    """Takes apart the modules that fit none of the other side: their leaves may fit singly."""
    options = _options(ours, torchs)
    reached = {j for fitting in options.values() for j in fitting}
    return (
        _split(ours, lonely=[not options[i] for i in range(len(ours))]),
        _split(torchs, lonely=[j not in reached for j in range(len(torchs))]),
    )


def _split(groups: list[Group], *, lonely: list[bool]) -> list[Group]:
    def parts(group: Group) -> list[Group]:
        return [
            Group(group.tokens if i.kind.role else tokens_of(i.name), (i,)) for i in group.items
        ]

    return [
        part
        for group, alone in zip(groups, lonely, strict=True)
        for part in (parts(group) if alone else [group])
    ]


# --- what fits what


def _options(ours: list[Group], torchs: list[Group]) -> Options:
    theirs, others = [g.kinds for g in ours], [g.kinds for g in torchs]
    return {
        i: [j for j, tensors in enumerate(others) if _kinds_fit(kinds, tensors)]
        for i, kinds in enumerate(theirs)
    }


def _kind_options(kinds: Sequence[Kind], tensors: Sequence[Kind]) -> Options:
    return {
        i: [j for j, tensor in enumerate(tensors) if layouts_of(kind, tensor)]
        for i, kind in enumerate(kinds)
    }


@lru_cache(maxsize=4096)
def _kinds_fit(kinds: tuple[Kind, ...], tensors: tuple[Kind, ...]) -> bool:
    """Whether the leaves of two modules fit one to one."""
    if len(kinds) != len(tensors):
        return False
    decided, left = settle(_kind_options(kinds, tensors))
    reached = {*decided.values(), *(j for fitting in left.values() for j in fitting)}
    return all(left.values()) and len(reached) == len(tensors)


def _inside(
    group: Group, other: Group
) -> tuple[dict[str, tuple[str, Permutation | None]], list[str]]:
    """The leaves of two matched modules: pairs, and doubts."""
    decided, left = settle(_kind_options(group.kinds, other.kinds))
    pairs: dict[str, tuple[str, Permutation | None]] = {}
    doubts = _doubts(left, group.items, other.items)
    for i, j in decided.items():
        item, tensor = group.items[i], other.items[j]
        layouts = layouts_of(item.kind, tensor.kind)
        if len(layouts) == 1:
            pairs[item.name] = (tensor.name, layouts[0])
        else:
            doubts.append(
                f"{item.name!r} {item.kind.shape} is {tensor.name!r} either as it is or as "
                f"{(tensor.name, flax_layout(len(tensor.kind.shape)))}: its name does not tell"
            )
    return pairs, doubts


def _doubts(left: Options, ours: Sequence[Item], torchs: Sequence[Item]) -> list[str]:
    """A sentence for all of theirs that fit the same of torch's."""
    sentences: list[str] = []
    for part, others in components(left):
        alike: dict[tuple[int, ...], list[int]] = {}
        for i in part:
            alike.setdefault(tuple(left[i]), []).append(i)
        uneven = f" ({len(part)} for {len(others)})" if len(part) != len(others) else ""
        sentences += [
            ", ".join(f"{ours[i].name!r} {ours[i].kind.shape}" for i in same)
            + (": each fits " if len(same) > 1 else " fits ")
            + ", ".join(repr(torchs[j].name) for j in fitting)
            + uneven
            for fitting, same in alike.items()
        ]
    return sentences


# --- names among equal shapes

Tokens = tuple[str, ...]
Row = tuple[int, ...]


class _Names:
    """Decides between modules of equal shapes by the tokens that tell them apart."""

    def __init__(self, ours: list[Tokens], torchs: list[Tokens]) -> None:
        self.ours, self.torchs = ours, torchs

    def decide(self, options: Options, ours: list[int], others: list[int]) -> dict[int, int]:
        """Pairs of which each is the other's strictly best."""
        scores = self._scores(options, ours, others)
        best = [_best(row) for row in scores]
        best_of_keys = [_best(column) for column in zip(*scores, strict=True)]
        return {
            ours[i]: others[j] for i, j in enumerate(best) if j is not None and best_of_keys[j] == i
        }

    def narrowed(self, options: Options) -> Options:
        """Options for a message: layer 0's leaves are not said to fit layer 1's keys."""
        narrow: dict[int, list[int]] = {}
        for ours, others in components(options):
            for i, row in zip(ours, self._scores(options, ours, others), strict=True):
                likely = [j for j, score in zip(others, row, strict=True) if score >= 0]
                narrow[i] = likely or [*options[i]]
        return narrow

    def _scores(self, options: Options, ours: list[int], others: list[int]) -> list[list[float]]:
        left, right = [self.ours[i] for i in ours], [self.torchs[j] for j in others]
        words = _telling_words(left, right)
        names, keys = _names(self.ours, left, words), _names(self.torchs, right, words)
        fitting = [set(options[i]) for i in ours]
        return [
            [_score(name, key) if j in fits else -1 for j, key in zip(others, keys, strict=True)]
            for name, fits in zip(names, fitting, strict=True)
        ]


class _Numbers(NamedTuple):
    """Numbers that tell a module from others of its family, and what makes them comparable.

    Numbers of two families mean the same only if both families run through the same ones: 0, 1
    beside 0, 2 (or beside 1, 2) says nothing about which is which.
    """

    own: Row
    family: tuple[Any, ...]


class _Name(NamedTuple):
    """What of a module's name can decide.

    A number at the end counts only behind the same word: ``Dense_0`` is not ``fc0``, since Flax
    counts modules as they are constructed, and ``Dense()(Dense()(x))`` constructs the last first.
    """

    tokens: Tokens
    words: frozenset[str]
    inner: _Numbers
    last: _Numbers


def _score(name: _Name, key: _Name) -> float:
    comparable = [
        (a.own, b.own)
        for a, b in [(name.inner, key.inner), (name.last, key.last)]
        if a.family == b.family
    ]
    if any(a != b for a, b in comparable):
        return -1
    if len(comparable) == 2 and name.tokens == key.tokens:
        return float("inf")
    return len(name.words & key.words) + sum(a != () for a, _ in comparable)


def _best(scores: Sequence[float]) -> int | None:
    """The position of the highest score, None if it is nothing or shared."""
    highest = max(scores)
    return scores.index(highest) if highest > 0 and scores.count(highest) == 1 else None


def _telling_words(ours: list[Tokens], torchs: list[Tokens]) -> set[str]:
    """Words of both sides, without those that all modules of a side have."""
    everywhere = set.intersection(*map(set, ours)) | set.intersection(*map(set, torchs))
    shared = set().union(*ours) & set().union(*torchs)
    return {word for word in shared - everywhere if not word.isdigit()}


def _names(everywhere: list[Tokens], here: list[Tokens], words: set[str]) -> list[_Name]:
    """Reads the modules `here`, of which the families may have more elsewhere."""
    rows, all_rows = _by_family(here), _by_family(everywhere)
    telling = {family: _telling_numbers(family, rows[family], all_rows[family]) for family in rows}

    def name(tokens: Tokens) -> _Name:
        inner, last = (
            _Numbers(_pick(_numbers(tokens), positions), family)
            for positions, family in telling[_family(tokens)]
        )
        return _Name(tokens, frozenset(words.intersection(tokens)), inner, last)

    return [name(tokens) for tokens in here]


def _telling_numbers(
    family: Tokens, rows: list[Row], all_rows: list[Row]
) -> list[tuple[list[int], tuple[Any, ...]]]:
    """Positions of the numbers that vary and what makes them comparable: inner ones, last one."""
    columns = list(zip(*rows, strict=True))
    varying = [p for p, column in enumerate(columns) if len(set(column)) > 1]
    ends = [p for p in varying if family[-1] == "#" and p == len(columns) - 1]
    inner = [p for p in varying if p not in ends]

    def runs(positions: list[int]) -> list[frozenset[Row]]:
        return [frozenset(_pick(row, positions) for row in of) for of in (rows, all_rows)]

    last = (varying, (*runs(varying), family[-2:-1])) if ends else ([], ())
    return [(inner, tuple(runs(inner))), last]


def _by_family(names: list[Tokens]) -> dict[Tokens, list[Row]]:
    families: dict[Tokens, list[Row]] = {}
    for tokens in names:
        families.setdefault(_family(tokens), []).append(_numbers(tokens))
    return families


def _family(tokens: Tokens) -> Tokens:
    """A module's name without its numbers, the same for all ``layers.#.conv#``."""
    return tuple("#" if token.isdigit() else token for token in tokens)


def _numbers(tokens: Tokens) -> Row:
    return tuple(int(token) for token in tokens if token.isdigit())


def _pick(numbers: Row, positions: list[int]) -> Row:
    return tuple(numbers[p] for p in positions)
