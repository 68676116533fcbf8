"""A report as one HTML page that needs nothing else."""

import json
import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

TEMPLATE = Path(__file__).with_name("page.html")
PHASES = ("forward", "backward", "buffer", "update")
KINDS = (
    "activation",
    "output",
    "loss",
    "activation gradient",
    "gradient",
    "input gradient",
    "buffer",
    "parameter",
    "mask",
)
LISTED = 200  # rows beyond budget that the page lists one by one
ENTRIES = 80_000  # errors of single steps that the page holds, which bounds its size to about 3 MB
PLACE = ("precision", "mode", "phase", "kind", "step", "module", "name")
DETAILS = ("name", "step", "worst_index", "beyond", "size", "cosine", "note")

Key = TypeVar("Key", bound=Hashable)


class _Judged(NamedTuple):
    """One row of the report with its numbers as floats.

    Attributes:
        row: as in the report.
        error: relative error.
        own: torch's own error, None in float64.
        budget: the largest allowed error.
        excess: error over budget, above 1 exactly if the row is beyond budget, never NaN.
    """

    row: dict[str, Any]
    error: float
    own: float | None
    budget: float
    excess: float

    @property
    def beyond(self) -> bool:
        return self.excess > 1


def page(report: dict[str, Any]) -> str:
    """Returns the page of a report: verdict, module tree, errors by step and the worst tensor.

    The page is one HTML file with its style, script and data inside; it opens from disk, without a
    network. Of every module, precision, mode and kind it keeps the worst tensor of each step, and
    of each step only the nearest to its budget or furthest beyond, so its size depends on the
    number of modules and not on the number of tensors. Where modules times steps are very many it
    leaves out steps between the first, the worst and the last, and says so.

    Args:
        report: the dict of a report, of schema ``"fdl.parity/1"``. Floats may be the strings
            ``"inf"``, ``"-inf"`` and ``"nan"``. Only ``"verdict"`` is required.

    Returns:
        The text of the file, in which no name can be taken for HTML.

    Example:
        >>> from fdl.parity.html import page
        >>> text = page({"verdict": "not compared", "failure": "no weights"})
        >>> text.startswith("<!doctype html>"), "no weights" in text
        (True, True)
    """
    data = json.dumps(_condense(report), separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", data, 1)


def _condense(report: dict[str, Any]) -> dict[str, Any]:
    """What the page shows, with every number at the digits it shows."""
    judged = [_judge(row) for row in report.get("rows") or []]
    beyond = [one for one in judged if one.beyond]
    names = {
        field: list(dict.fromkeys(one.row[field] for one in judged))
        for field in ("precision", "mode", "phase")
    }
    present = dict.fromkeys(one.row["kind"] for one in judged)
    names["kind"] = [*(k for k in KINDS if k in present), *(k for k in present if k not in KINDS)]
    setup = report.get("setup") or {}
    kept = ("verdict", "failure", "preflight", "first_divergence", "heat")
    nodes = _nodes(report.get("modules") or [], judged)
    places = {node["name"]: index for index, node in enumerate(nodes)}
    groups, left_out = _groups(judged, names, places)
    return {
        **{key: _plain(report.get(key)) for key in kept},
        "title": _words(setup.get("reference", "parity report")),
        "setup": " · ".join(_words({key: value}) for key, value in setup.items()),
        "tensors": len(judged),
        "nearest": _listed(_worst(judged)) if judged else None,
        "names": names,
        "rungs": _rungs(judged),
        "nodes": nodes,
        "groups": groups,
        "left_out": left_out,
        "series": _series(judged),
        "beyond": {"count": len(beyond), "rows": [_listed(one) for one in beyond[:LISTED]]},
    }


def _judge(row: dict[str, Any]) -> _Judged:
    error, budget = _number(row["error"]), _number(row["budget"])
    own = row.get("reference_error")
    excess = error / budget if budget > 0 else math.inf if error != 0 else 0.0
    excess = math.inf if math.isnan(excess) else excess
    if row.get("equal", excess <= 1):
        excess = min(excess, 1.0)
    elif excess <= 1:
        excess = math.inf
    return _Judged(row, error, None if own is None else _number(own), budget, excess)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _digits(value: float | None, digits: int = 3) -> float | str | None:
    """`value` at so many significant digits, as JSON can hold it."""
    if value is None or not math.isfinite(value):
        return None if value is None else str(value)
    return float(f"{value:.{digits - 1}e}")


def _over(excess: float) -> float | str | None:
    """`excess` at the digits of the page, on the side of 1 where it was."""
    rounded = _digits(excess)
    return 1.001 if excess > 1 and rounded == 1.0 else rounded


def _plain(value: Any) -> Any:
    """`value` in lists, dicts, strings and the numbers of JSON."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return _digits(value, 4)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _words(value: Any) -> str:
    """A setting as plain text; the names of versions need no heading."""
    if isinstance(value, dict):
        named = ((str(key).replace("_", " "), _words(item)) for key, item in value.items())
        return ", ".join(item if key == "versions" else f"{key} {item}" for key, item in named)
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return "none" if value is None else str(value)


def _by(key: Callable[[_Judged], Key], judged: Iterable[_Judged]) -> dict[Key, list[_Judged]]:
    """`judged` in groups, both in order of appearance."""
    groups: dict[Key, list[_Judged]] = {}
    for one in judged:
        groups.setdefault(key(one), []).append(one)
    return groups


def _worst(judged: Iterable[_Judged]) -> _Judged:
    return max(judged, key=lambda one: one.excess)


def _listed(one: _Judged) -> dict[str, Any]:
    return {
        **{field: one.row[field] for field in PLACE},
        "error": _digits(one.error),
        "own": _digits(one.own),
        "budget": _digits(one.budget),
        "excess": _over(one.excess),
        "note": one.row.get("note", ""),
    }


def _rungs(judged: list[_Judged]) -> list[dict[str, Any]]:
    """The worst row of each precision, mode, phase and kind, and how many there are."""
    fields = ("precision", "mode", "phase", "kind")
    return [
        {
            **_listed(_worst(rung)),
            "tensors": len(rung),
            "beyond": sum(one.beyond for one in rung),
        }
        for rung in _by(lambda one: tuple(one.row[field] for field in fields), judged).values()
    ]


def _nodes(modules: list[dict[str, Any]], judged: list[_Judged]) -> list[dict[str, Any]]:
    """The tree of modules, each before what it holds, and those in order of execution.

    ``worst[precision]`` is the worst excess in a module and all that it holds: of everything, then
    of each of `PHASES`, where the loss counts as forward; None where nothing was compared.
    """
    types = {module["name"]: module.get("type", "") for module in modules}
    children = _children([*types, *(one.row["module"] for one in judged)])
    worst = _worst_by_module(judged)
    return [
        {
            "name": name,
            "type": types.get(name, ""),
            "depth": depth,
            "children": len(children[name]),
            "worst": {
                precision: [None if cell is None else _over(cell) for cell in cells]
                for precision, cells in worst.get(name, {}).items()
            },
        }
        for name, depth in _preorder(children)
    ]


def _worst_by_module(judged: list[_Judged]) -> dict[str, dict[str, list[float | None]]]:
    worst: dict[str, dict[str, list[float | None]]] = {}
    for one in judged:
        phase = "forward" if one.row["phase"] == "loss" else one.row["phase"]
        slots = [0, *(i for i, known in enumerate(PHASES, start=1) if known == phase)]
        for name in _path(one.row["module"]):
            nothing: list[float | None] = [None] * (1 + len(PHASES))
            cells = worst.setdefault(name, {}).setdefault(one.row["precision"], nothing)
            for slot in slots:
                kept = cells[slot]
                cells[slot] = one.excess if kept is None else max(kept, one.excess)
    return worst


def _path(name: str) -> Iterator[str]:
    """`name` and every container around it, the whole network last."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def _children(names: list[str]) -> dict[str, list[str]]:
    """What each module holds, itself or in something, in order of first appearance."""
    children: dict[str, list[str]] = {"": []}
    for name in names:
        for inner in _path(name):
            if inner in children:
                break
            children[inner] = []
    seen = {""}
    for name in names:
        for inner in _path(name):
            if inner not in seen:
                seen.add(inner)
                children[inner.rpartition(".")[0]].append(inner)
    return children


def _preorder(children: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    stack = [("", 0)]
    while stack:
        name, depth = stack.pop()
        yield name, depth
        stack.extend((child, depth + 1) for child in reversed(children[name]))


def _groups(
    judged: list[_Judged], names: dict[str, list[str]], places: dict[str, int]
) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """The rows of each module, by its place in the tree, and how many steps were left out."""
    fields = ("module", "precision", "mode", "kind")
    by_kind = _by(lambda one: tuple(one.row[field] for field in fields), judged)
    limit = max(4, ENTRIES // max(1, len(by_kind)))
    groups: dict[str, list[dict[str, Any]]] = {}
    left_out = 0
    for (module, precision, mode, kind), rows in by_kind.items():
        steps = [_worst(same) for _, same in sorted(_by(_step, rows).items())]
        kept = _thinned(steps, limit)
        left_out += len(steps) - len(kept)
        group = {
            "of": [
                names["precision"].index(precision),
                names["mode"].index(mode),
                names["kind"].index(kind),
            ],
            "tensors": len(rows),
            **_columns(kept),
            "worst": [_plain(_worst(rows).row.get(field)) for field in DETAILS],
        }
        groups.setdefault(str(places[module]), []).append(group)
    return groups, left_out


def _step(one: _Judged) -> int:
    return one.row["step"]


def _thinned(steps: list[_Judged], limit: int) -> list[_Judged]:
    """At most `limit` of `steps`: the first, the first beyond budget, the worst, the last, others.

    Args:
        steps: one row for each step, in order.
        limit: how many may stay, at least 4.
    """
    if len(steps) <= limit:
        return steps
    worst = max(range(len(steps)), key=lambda index: steps[index].excess)
    first = next((index for index, one in enumerate(steps) if one.beyond), 0)
    kept = {0, first, worst, len(steps) - 1}
    spread = limit - len(kept)
    kept |= {round((index + 1) * len(steps) / (spread + 1)) for index in range(spread)}
    return [one for index, one in enumerate(steps) if index in kept]


def _columns(steps: list[_Judged]) -> dict[str, Any]:
    """The numbers of the steps of one kind; a budget that never changes is kept once."""
    budgets = [_digits(one.budget) for one in steps]
    own = [_digits(one.own) for one in steps]
    beyond = [index for index, one in enumerate(steps) if one.beyond]
    return {
        "steps": [_step(one) for one in steps],
        "errors": [_digits(one.error) for one in steps],
        "budgets": budgets[0] if len(set(budgets)) == 1 else budgets,
        **({} if set(own) == {None} else {"own": own[0] if len(set(own)) == 1 else own}),
        **({"beyond": beyond} if beyond else {}),
    }


def _series(judged: list[_Judged]) -> dict[str, Any]:
    """For each precision, the largest error, excess and budget of each step.

    A point is step, error, where it is, excess, and where that is; of the budget, step and budget.
    """
    series = {}
    for precision, rows in _by(lambda one: one.row["precision"], judged).items():
        kinds = {}
        for kind, same in _by(lambda one: one.row["kind"], rows).items():
            kinds[kind] = [_point(at) for _, at in sorted(_by(_step, same).items())]
        budget = [
            [step, _digits(max(one.budget for one in at))]
            for step, at in sorted(_by(_step, rows).items())
        ]
        series[precision] = {"kinds": kinds, "budget": budget}
    return series


def _point(at: list[_Judged]) -> list[Any]:
    largest = max(at, key=lambda one: math.inf if math.isnan(one.error) else one.error)
    worst = _worst(at)
    place = [largest.row["step"], _digits(largest.error), largest.row["name"]]
    return [*place, _over(worst.excess), worst.row["name"]]
