"""One-to-one assignments between two lists, by what each of one side fits of the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence

Options = Mapping[int, Sequence[int]]  # what each of theirs fits, by position in two lists
Tiebreak = Callable[[Options, list[int], list[int]], dict[int, int]]


def settle(
    options: Options, tiebreak: Tiebreak = lambda options, ours, others: {}
) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Divides options into pairs that nothing else allows, and the options that are left."""
    decided: dict[int, int] = {}
    left = {i: list(fitting) for i, fitting in options.items()}
    while True:
        new: dict[int, int] = {}
        for ours, others in components(left):
            new |= _only(left, ours, others) or tiebreak(left, ours, others)
        if not new:
            return decided, left
        decided |= new
        taken = set(new.values())
        left = {i: [j for j in left[i] if j not in taken] for i in left if i not in new}


def components(options: Options) -> Iterator[tuple[list[int], list[int]]]:
    """The parts of the options that have nothing to do with each other."""
    fans: dict[int, list[int]] = {}
    for i, fitting in options.items():
        for j in fitting:
            fans.setdefault(j, []).append(i)
    seen: set[int] = set()
    for start in options:
        if start in seen or not options[start]:
            continue
        ours, others = [start], set()
        seen.add(start)
        for i in ours:  # grows while it is read
            others.update(options[i])
            fresh = dict.fromkeys(k for j in options[i] for k in fans.pop(j, ()) if k not in seen)
            seen.update(fresh)
            ours += fresh
        yield sorted(ours), sorted(others)


def _only(options: Options, ours: list[int], others: list[int]) -> dict[int, int]:
    """Pairs of which one side fits nothing else; none where the two sides differ in number."""
    if len(ours) != len(others):
        return {}
    fans = {j: [i for i in ours if j in options[i]] for j in others}
    pairs = {(i, options[i][0]) for i in ours if len(options[i]) == 1}
    pairs |= {(fans[j][0], j) for j in others if len(fans[j]) == 1}
    contradict = len({i for i, _ in pairs}) < len(pairs) or len({j for _, j in pairs}) < len(pairs)
    return {} if contradict else dict(pairs)
