"""The float32 runs that precision is judged over: where they start, and what they are judged by."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import fdl
from fdl import nn
from fdl.parity import compare, record
from fdl.parity._record import Quantity
from fdl.parity._reference import opened

NEAR = 5e-7
"""How far below zero the input of the ReLU is: more than a unit in the last place can move it."""
ROUNDED = 1.5e-6
"""What the port's rounding adds to it, in every run; its budget is 1.9e-6."""
X = np.array([[1.0, 1.0 - NEAR], [2.0, 1.0], [1.0, 3.0]])
WEIGHT = [[-1.0, 1.0]]


class Twin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 1, bias=False)
        self.fc.weight.data = torch.tensor(WEIGHT)

    def forward(self, x):
        return torch.relu(self.fc(x))


class Port(nn.Module):
    """Right in meaning; in float32 it rounds to one side, by less than the budget."""

    def __init__(self, rngs):
        self.fc = nn.Linear(2, 1, bias=False, rngs=rngs)

    def __call__(self, x):
        y = self.fc(x)
        return jnp.maximum(y + (ROUNDED if y.dtype == jnp.float32 else 0), 0)


class Kinked(Port):
    """Wrong in float32: what is below zero passes too."""

    def __call__(self, x):
        y = self.fc(x)
        return y if y.dtype == jnp.float32 else jnp.maximum(y, 0)


class Right(Port):
    def __call__(self, x):
        return jnp.maximum(self.fc(x), 0)


class Imprecise(Port):
    """Off by more than its budget, but less than 4 times what 8 units in the last place move."""

    def __call__(self, x):
        y = self.fc(x)
        return jnp.maximum(y + (4.5e-6 if y.dtype == jnp.float32 else 0), 0)


def compared(port, reference=None, **options):
    batch = (X, np.ones((3, 1)))
    return compare(reference or Twin(), fdl.as_model(port), [batch], loss="mse_loss", **options)


def test_rounding_to_one_side_of_a_kink_is_no_alarm():
    report = compared(Port)
    assert report.equal, str(report)


def test_what_is_wrong_in_every_draw_is_found():
    assert not compared(Kinked).equal


def test_a_candidate_that_stays_is_not_judged_by_draws_far_away():
    own = {"fc.weight": jnp.array(WEIGHT)}
    assert compared(Right, params=own, load=False).equal
    assert not compared(Imprecise, params=own, load=False).equal


def test_draws_move_numbers_further_and_further(tmp_path):
    path = record(Twin(), tmp_path / "r", [(X, X[:, :1])], loss="mse_loss", draws=4)
    reference = opened(path)
    first, *moved = (reference.start(draw)["fc.weight"] for draw in range(4))
    for draw, weight in enumerate(moved, 1):
        units = np.abs(weight - first) / np.spacing(np.abs(first))
        assert units.max() <= 2 ** (draw - 1)
    assert (moved[2] != first).any()


@pytest.mark.parametrize("draw", [0, 1, 2])
def test_a_draw_is_judged_by_torch_in_float64_from_where_it_starts(tmp_path, draw):
    path = record(Twin(), tmp_path / "r", [(X, X[:, :1])], loss="mse_loss", draws=3)
    reference = opened(path)
    (x, _), twin = reference.plan.batch(("eval", 0), "float32", draw), Twin().double()
    twin.fc.weight.data = torch.tensor(reference.start(draw)["fc.weight"], dtype=torch.float64)
    exact = next(iter(reference.exact(draw, inside=False)))[Quantity("eval", "output", 0, "")]
    x = X if draw == 0 else x.astype(np.float64)
    np.testing.assert_array_equal(exact, twin(torch.tensor(x)).detach().numpy())


def test_a_recording_judges_as_the_module_does(tmp_path):
    batch = (X, np.ones((3, 1)))
    path = record(Twin(), tmp_path / "r", [batch], loss="mse_loss", draws=5)
    assert compared(Port, path).equal
    assert not compared(Kinked, path).equal
    assert not compared(Port, record(Twin(), path, [batch], loss="mse_loss", draws=1)).equal
