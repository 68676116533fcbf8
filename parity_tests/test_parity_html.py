"""fdl.parity.html: the page is whole, small, safe, and has what the report has."""

import json
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from fdl.parity import html
from fdl.parity.html import LISTED, TEMPLATE, page

HOSTILE = ("</script><b>", "<!--<script>", "__DATA__", '"&lt;\u2028\\', "a..b", ".")
MODULES = ("conv1", "layer1.0.conv", "layer1.0", "layer1.1.conv", "layer1.1", "layer1", "fc", "")


def row(module: str = "fc", error: float | str = 1e-12, **more: Any) -> dict[str, Any]:
    budget = more.get("budget", 1e-10)
    fields = {
        "precision": "float64",
        "mode": "train",
        "phase": "forward",
        "kind": "activation",
        "step": 1,
        "module": module,
        "name": module,
        "error": error,
        "reference_error": None,
        "budget": budget,
        "factor": None,
        "cosine": 1.0,
        "worst_index": [0, 3],
        "beyond": 0,
        "size": 12,
        "note": "",
        "equal": float(error) <= budget,
    }
    return {**fields, **more}


def report(*rows: dict[str, Any], modules: tuple[str, ...] = MODULES) -> dict[str, Any]:
    first = next((one for one in rows if not one["equal"]), None)
    return {
        "schema": "fdl.parity/1",
        "verdict": "different" if first else "equal",
        "failure": None,
        "setup": {"reference": "ResNet", "precisions": ["float64"], "versions": {"jax": "0.10"}},
        "preflight": [{"name": "x64", "status": "ok", "detail": "is on"}],
        "modules": [{"name": name, "type": "Module"} for name in modules],
        "first_divergence": first and {**first, "cause": "", "causes": [], "scope": "here"},
        "rows": list(rows),
        "heat": None,
    }


class Reader(HTMLParser):
    """The tags of a page, and the text of its JSON."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.island = ""
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = ("id", "data") in attrs

    def handle_data(self, data: str) -> None:
        self.island += data if self._inside else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def data(of: dict[str, Any]) -> dict[str, Any]:
    return json.loads(Reader(page(of)).island, parse_constant=pytest.fail)


def worst(node: dict[str, Any], precision: str = "float64") -> list[float | None]:
    return [None if cell is None else float(cell) for cell in node["worst"][precision]]


def test_it_needs_nothing_else() -> None:
    text = page(report(row(error=1.0)))
    assert not re.search(r"https?:|url\(|@import|\bimport\b|fetch\(|XMLHttpRequest|//\w", text)
    outside = {"src", "href", "srcset", "action", "background", "poster"}
    assert not [tag for tag in Reader(text).tags if tag[0] == "link" or outside & set(tag[1])]
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    assert ("content", policy) in [item for _, tag in Reader(text).tags for item in tag.items()]


def test_every_element_that_the_script_asks_for_exists() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    asked = set(re.findall(r'\$\("(\w+)"\)', template))
    present = {attributes.get("id") for _, attributes in Reader(template).tags}
    assert len(asked) > 10
    assert asked <= present


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_inert(name: str) -> None:
    kind = {"kind": name, "note": name, "phase": name, "mode": name}
    hostile = report(row(name, 1.0, **kind), modules=(name, ""))
    hostile |= {"failure": name, "setup": {name: name}, "verdict": name}
    plain = report(row("a", 1.0), modules=("a", ""))
    assert Reader(page(hostile)).tags == Reader(page(plain)).tags
    condensed = data(hostile)
    assert condensed["failure"] == name
    assert condensed["beyond"]["rows"][0]["module"] == name
    assert name in [node["name"] for node in condensed["nodes"]]


def test_the_script_writes_text_and_never_markup() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    assert "replaceChildren" in template
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", template)


@pytest.mark.parametrize("error", ["inf", "nan", math.inf, math.nan])
def test_infinities_and_nan_survive(error: float | str) -> None:
    tensor = {"name": "fc", "kind": "activation", "shape": [1, 2], "note": ""}
    maps = {"expected": [[1.0, 2.0]], "got": [["nan", math.inf]], "error": [["nan", "inf"]]}
    condensed = data({**report(row("fc", error)), "heat": tensor | maps})
    (listed,) = condensed["beyond"]["rows"]
    assert (listed["error"], listed["excess"]) == (str(error), "inf")
    (group,) = next(iter(condensed["groups"].values()))
    assert (group["errors"], group["beyond"]) == ([str(error)], [0])
    assert condensed["series"]["float64"]["kinds"]["activation"][0][1] == str(error)
    assert condensed["heat"]["got"] == [["nan", "inf"]]
    assert worst(condensed["nodes"][0])[0] == math.inf


@pytest.mark.parametrize(
    ("error", "budget", "excess"),
    [(0.0, 0.0, 0.0), (1e-9, 0.0, math.inf), (0.5, 1.0, 0.5), (1.0001, 1.0, 1.001)],
)
def test_excess_is_error_over_budget(error: float, budget: float, excess: float) -> None:
    condensed = data(report(row(error=error, budget=budget)))
    assert float(condensed["rungs"][0]["excess"]) == excess
    assert condensed["beyond"]["count"] == (excess > 1)


def test_what_the_report_calls_equal_is_equal() -> None:
    judged = [row("fc", 2.0, budget=1.0, equal=True), row("conv1", 0.1, budget=1.0, equal=False)]
    condensed = data(report(*judged))
    excess = {node["name"]: worst(node)[0] for node in condensed["nodes"] if node["worst"]}
    assert excess == {"": math.inf, "fc": 1.0, "conv1": math.inf}
    assert [one["module"] for one in condensed["beyond"]["rows"]] == ["conv1"]


def test_every_diverging_module_is_in_the_tree_and_so_is_the_path_to_it() -> None:
    diverging = ["layer1.0.conv", "unlisted.deep.module", "fc", ""]
    rows = [row(name, 1.0) for name in diverging] + [row("conv1")]
    nodes = {node["name"]: node for node in data(report(*rows))["nodes"]}
    assert len(nodes) == len(data(report(*rows))["nodes"])
    inside = ["layer1", "layer1.0", "unlisted", "unlisted.deep"]
    assert {name for name, node in nodes.items() if node["worst"] and worst(node)[0] > 1} == {
        *diverging,
        *inside,
    }
    assert worst(nodes["conv1"])[0] <= 1
    assert nodes["layer1.1.conv"]["worst"] == {}


def test_the_tree_is_in_order_of_execution_with_containers_first() -> None:
    nodes = data(report())["nodes"]
    assert [(node["name"], node["depth"], node["children"]) for node in nodes] == [
        ("", 0, 3),
        ("conv1", 1, 0),
        ("layer1", 1, 2),
        ("layer1.0", 2, 1),
        ("layer1.0.conv", 3, 0),
        ("layer1.1", 2, 1),
        ("layer1.1.conv", 3, 0),
        ("fc", 1, 0),
    ]


def test_a_module_has_the_worst_of_each_phase_and_precision() -> None:
    rows = [
        row("fc", 1e-10),
        row("fc", 3e-10, step=2),
        row("fc", 5e-10, phase="backward", kind="gradient"),
        row("fc", 7e-10, phase="update", kind="parameter"),
        row("", 9e-10, phase="loss", kind="loss"),
        row("fc", 2e-6, precision="float32", budget=1e-6, phase="buffer", kind="buffer"),
    ]
    nodes = {node["name"]: node for node in data(report(*rows))["nodes"]}
    assert worst(nodes["fc"]) == [7.0, 3.0, 5.0, None, 7.0]
    assert worst(nodes[""]) == [9.0, 9.0, 5.0, None, 7.0]
    assert worst(nodes["fc"], "float32") == [2.0, None, None, 2.0, None]


def test_a_rung_shows_its_worst_tensor() -> None:
    own = {"precision": "float32", "budget": 4e-6, "reference_error": 2e-6}
    rows = [row("fc", 1e-6, **own), row("conv1", 3e-6, **own, step=2), row("layer1", 2e-6, **own)]
    (rung,) = data(report(*rows))["rungs"]
    shown = ("tensors", "beyond", "module", "step", "error", "own", "budget", "excess")
    assert [rung[key] for key in shown] == [3, 0, "conv1", 2, 3e-6, 2e-6, 4e-6, 0.75]


def test_a_step_shows_its_worst_tensor_and_its_largest_budget() -> None:
    rows = [row("fc", 1e-9, step=2), row("conv1", 2e-9, step=2, budget=1e-6), row("fc", 0.0)]
    condensed = data(report(*rows))
    series = condensed["series"]["float64"]
    assert series["budget"] == [[1, 1e-10], [2, 1e-6]]
    assert series["kinds"] == {
        "activation": [[1, 0.0, "fc", 0.0, "fc"], [2, 2e-9, "conv1", 10.0, "fc"]]
    }
    place = [node["name"] for node in condensed["nodes"]].index("fc")
    (group,) = condensed["groups"][str(place)]
    assert (group["steps"], group["errors"], group["budgets"]) == ([1, 2], [0.0, 1e-9], 1e-10)
    assert group["beyond"] == [1]


def test_rows_beyond_budget_are_the_first_in_order_and_counted() -> None:
    rows = [row("fc", 1.0, step=step) for step in range(LISTED + 7)]
    beyond = data(report(row("conv1"), *rows))["beyond"]
    assert beyond["count"] == LISTED + 7
    assert [one["step"] for one in beyond["rows"]] == list(range(LISTED))


def test_long_runs_keep_first_worst_and_last_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "ENTRIES", 5)
    errors = dict.fromkeys(range(100), 1e-12) | {41: 1e-9, 63: 1e-8}
    condensed = data(report(*(row("fc", error, step=step) for step, error in errors.items())))
    ((group,),) = condensed["groups"].values()
    assert {0, 41, 63, 99} < set(group["steps"])
    assert (len(group["steps"]), condensed["left_out"]) == (5, 95)
    assert [group["steps"][index] for index in group["beyond"]] == [41, 63]
    assert len(condensed["series"]["float64"]["kinds"]["activation"]) == 100


def test_the_page_of_500_modules_and_20_steps_is_below_3_megabytes() -> None:
    kinds = (
        ("forward", "activation", ""),
        ("backward", "activation gradient", ""),
        ("backward", "gradient", ".weight"),
        ("backward", "gradient", ".bias"),
        ("update", "parameter", ".weight"),
    )
    modules = [f"encoder.layers.{index // 10}.block{index % 10}" for index in range(500)]
    rows = [
        row(
            module,
            float(f"{1 + (step * 37 + index * 11) % 89}.2345678e-8"),
            name=module + suffix,
            precision=precision,
            phase=phase,
            kind=kind,
            step=step,
            budget=(7.654321e-7 + step * 1e-8 + index * 1e-10) if own else 1e-9,
            reference_error=own and own * (1 + step) * (1 + index),
        )
        for precision, own in (("float64", None), ("float32", 1.2345678e-8))
        for step in range(1, 21)
        for phase, kind, suffix in kinds
        for index, module in enumerate(modules)
    ]
    assert len(rows) == 100_000
    text = page(report(*rows, modules=tuple(modules)))
    assert len(text.encode()) < 3_000_000
    condensed = json.loads(Reader(text).island)
    assert condensed["tensors"] == len(rows)
    assert condensed["left_out"] == 0
    assert len(condensed["groups"]) == len(modules)


@pytest.mark.parametrize("given", [{}, {"verdict": "equal"}, report(modules=())])
def test_an_empty_report_has_a_page(given: dict[str, Any]) -> None:
    condensed = data(given)
    assert condensed["verdict"] == given.get("verdict")
    assert [node["name"] for node in condensed["nodes"]] == [""]
    assert condensed["nearest"] is None
    assert condensed["beyond"] == {"count": 0, "rows": []}


def test_a_failed_report_says_why_and_how_it_was_set_up() -> None:
    failed = {**report(modules=()), "verdict": "not compared", "failure": "KeyError: 'fc'\n  at"}
    condensed = data(failed)
    assert (condensed["verdict"], condensed["failure"]) == ("not compared", "KeyError: 'fc'\n  at")
    assert condensed["setup"] == "reference ResNet · precisions float64 · jax 0.10"
    assert condensed["title"] == "ResNet"
    assert condensed["preflight"] == failed["preflight"]


def test_the_input_is_left_as_it_was() -> None:
    given = report(row("fc", 1.0), row("conv1"))
    before = json.dumps(given)
    page(given)
    assert json.dumps(given) == before
