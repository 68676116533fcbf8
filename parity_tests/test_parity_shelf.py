"""Records of a long run of a large network: on disk, in order."""

import numpy as np
import pytest

from fdl.parity._record import Quantity, Shelf

BYTES = 8 * 5


def record(step: int) -> dict[Quantity, np.ndarray]:
    return {Quantity("train", "gradient", step, "0.weight"): np.full(5, float(step))}


@pytest.mark.parametrize("room", [0, 2 * BYTES, 100 * BYTES])
def test_records_come_back_in_order(room):
    shelf = Shelf(record(0), room)
    for step in range(1, 4):
        shelf.append(record(step))
    assert len(shelf) == 4
    for step, kept in enumerate(shelf):
        (quantity,) = kept
        assert quantity.step == step
        np.testing.assert_array_equal(kept[quantity], record(step)[quantity])
