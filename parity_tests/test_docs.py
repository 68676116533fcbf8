"""The page of layers is that of the layers that there are."""

import re
from pathlib import Path

import pytest
from samples.catalogue import layers, own_samples
from samples.summary import deviations
from samples.table import EXCLUDED, INFOS

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"


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
