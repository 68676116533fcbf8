"""The pages say what there is, and their code runs as it stands."""

import re
from pathlib import Path

import pytest
import torch
from optimizer_names import FACTORIES
from samples.catalogue import layers, own_samples
from samples.summary import deviations
from samples.table import EXCLUDED, INFOS
from zoo.catalogue import factories

import fdl

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "layers.md"
OPTIMIZERS = (DOCS / "optimizers.md").read_text()


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    """The cells of each row by the name in its first."""
    lines = [re.split(r"(?<!\\)\|", line) for line in PAGE.read_text().splitlines()]
    return {
        cells[1].strip("` "): [cell.strip() for cell in cells]
        for cells in lines
        if len(cells) == 8 and "`" in cells[1]
    }


def test_every_layer_has_a_row(rows):
    assert set(layers()) <= rows.keys()
    sampled = {sample.name for sample in own_samples()} | (INFOS.keys() - EXCLUDED.keys())
    assert sampled == rows.keys()


def test_deviations_are_those_of_the_docstrings(rows):
    differ = {name: row[6] for name, row in rows.items() if row[6] != deviations(name)}
    assert not differ


def test_every_row_has_been_compared(rows):
    empty = [name for name, row in rows.items() if not (row[2] or row[3]) or not row[4]]
    assert not empty


def rows_of(section: str) -> dict[str, str]:
    """Torch's names and fdl's, from the table of a section of the page of optimizers."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", OPTIMIZERS, re.DOTALL | re.MULTILINE)
    return dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text, re.MULTILINE))


def test_every_network_has_a_row():
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "models.md").read_text(), re.MULTILINE)
    assert rows == sorted(factories())


def test_every_optimizer_has_a_row():
    assert rows_of("The optimizers") == FACTORIES
    assert all(hasattr(fdl.optim, factory) for factory in FACTORIES.values())


def test_every_scheduler_has_a_row():
    rows = rows_of("Learning rate schedules")
    assert rows.keys() == {*torch.optim.lr_scheduler.__all__, "SWALR"} - {"LRScheduler"}
    assert all(hasattr(fdl.optim, ours) for ours in rows.values())
    assert all(ours.replace("_", "") == theirs.lower() for theirs, ours in rows.items())


def test_code_of_the_page_of_optimizers_runs():
    names = {}
    for code in re.findall(r"```python\n(.*?)```", OPTIMIZERS, re.DOTALL):
        exec(compile(code, "docs/optimizers.md", "exec"), names)
    assert names["steps"] == 21


def test_links_lead_somewhere():
    links = {
        page.parent / link
        for page in DOCS.glob("*.md")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    }
    assert links
    assert not [link for link in links if not link.exists()]
