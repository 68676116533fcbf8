"""Weights of our own, where no package has any: torchvision's networks trained briefly on pictures.

A few steps are enough that no batch norm's statistics are those it began with.
"""

from functools import cache

import numpy as np
import torch
from skimage import data
from torchvision import models

PICTURES = ("astronaut", "chelsea", "coffee", "rocket")
STEPS = 8
BATCH = 8


def crops(size: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Square cut-outs ``(count, 3, size, size)`` of photographs, and which each is from."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(PICTURES), count)
    cut = []
    for label in labels:
        photograph = getattr(data, PICTURES[label])()
        top, left = (generator.integers(0, side - size) for side in photograph.shape[:2])
        cut.append(photograph[top : top + size, left : left + size])
    return (np.stack(cut).transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32), labels


@cache
def trained(name: str, size: int) -> torch.nn.Module:
    """Torchvision's network of this name after a few steps on cut-outs, in evaluation mode.

    Dropout is on while it trains.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(models, name)(num_classes=len(PICTURES))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        for step in range(STEPS):
            images, labels = map(torch.from_numpy, crops(size, BATCH, seed=step))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network.eval()
