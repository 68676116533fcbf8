"""What a comparison leaves in memory."""

import weakref
from typing import ClassVar

import numpy as np
import torch

import fdl


class Watched(torch.nn.Sequential):
    """A network that knows all of its outputs that are still in memory."""

    calls: ClassVar[list[int]] = []
    alive: ClassVar[weakref.WeakSet] = weakref.WeakSet()

    def forward(self, input):
        output = super().forward(input)
        self.calls.append(1)
        self.alive.add(output)
        return output


def test_activations_do_not_outlive_their_step():
    twin = Watched(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    batch = (np.ones((5, 4)), np.zeros(5, int))
    model = fdl.models.mlp([4, 3, 2])
    assert fdl.parity.compare(twin, model, [batch], loss="cross_entropy").equal
    assert len(Watched.calls) > 2
    assert not Watched.alive
