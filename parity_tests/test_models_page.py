"""The page of networks: figures of several runs in one table."""

import json

from test_docs import DOCS
from zoo.catalogue import CASES
from zoo.page import Compared, merge, page, write

RESNET, GRU = "resnet18", "gru"


def property_of(name: str, steps: int, worst: float, precision: str = "float64"):
    return "network", tuple(Compared(name, precision, steps, worst))


def test_later_runs_replace_and_add():
    known = merge({"networks": [], "weights": []}, [property_of(RESNET, 3, 1e-12)], "2026-01-01")
    found = [property_of(GRU, 20, 2e-13), ("weights", ("bert", "a package"))]
    both = merge(known, found, "2026-01-02")
    assert [(row["name"], row["date"]) for row in both["networks"]] == [
        (GRU, "2026-01-02"),
        (RESNET, "2026-01-01"),
    ]
    assert both["weights"] == [["bert", "a package"]]
    again = merge(both, [property_of(RESNET, 20, 3e-11)], "2026-01-03")
    assert [row["worst"] for row in again["networks"]] == [2e-13, 3e-11]


def test_of_one_run_the_longer_comparison_counts():
    for order in (1, -1):
        properties = [property_of(RESNET, 3, 1e-14), property_of(RESNET, 20, 1e-11)][::order]
        (row,) = merge({"networks": [], "weights": []}, properties, "2026-01-01")["networks"]
        assert (row["steps"], row["worst"]) == (20, 1e-11)


def test_a_case_that_is_no_more_is_left_out():
    (gone,) = merge(
        {
            "networks": [{**Compared("gone", "float64", 3, 0.0)._asdict(), "date": ""}],
            "weights": [],
        },
        [property_of(GRU, 3, 0.0)],
        "2026-01-01",
    )["networks"]
    assert gone["name"] == GRU


def test_the_page_shows_the_worst_figure_and_how_many_cases(tmp_path):
    path = tmp_path / "models.md"
    write(path, [property_of(RESNET, 20, 1e-12), property_of(RESNET, 20, 1e-5, "float32")])
    write(path, [property_of(GRU, 20, 1e-13)])
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("| `resnet18`")]
    cases = sum(name.partition(",")[0] == RESNET for name in CASES)
    assert f"| 1 of {cases} | 20 | 1.0e-12 | 1.0e-05 |" in line


def test_a_page_without_figures_names_all_factories(tmp_path):
    path = tmp_path / "models.md"
    write(path, [])
    assert f"| `{GRU}` |" in path.read_text()


def test_the_page_is_that_of_its_figures():
    figures = json.loads((DOCS / "models.json").read_text())
    assert (DOCS / "models.md").read_text() == page(figures)
