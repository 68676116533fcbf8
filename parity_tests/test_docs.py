"""The page of layers is that of the layers that there are."""

import re
from pathlib import Path

from samples.catalogue import layers, shown
from samples.summary import deviations

PAGE = Path(__file__).parents[1] / "docs" / "layers.md"
ROWS = {
    cells[1].strip("` "): [cell.strip() for cell in cells]
    for line in PAGE.read_text().splitlines()
    if len(cells := re.split(r"(?<!\\)\|", line)) == 8 and "`" in cells[1]
}


def test_every_layer_has_a_row():
    assert set(layers()) <= ROWS.keys()
    assert set(shown()) == ROWS.keys()


def test_deviations_are_those_of_the_docstrings():
    differ = {name: row[6] for name, row in ROWS.items() if row[6] != deviations(name)}
    assert not differ


def test_every_row_has_been_compared():
    empty = [name for name, row in ROWS.items() if not (row[2] or row[3]) or not row[4]]
    assert not empty
