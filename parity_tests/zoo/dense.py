"""Dense networks beside ``torch.nn.Sequential``."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

import fdl
from fdl.parity import twins
from zoo.case import Case, classified, regressed


def case(sizes: list[int], layers: str, **options: Any) -> Case:
    """A classifier; options that are names of layers are taken from each framework."""

    def of(namespace: Any) -> dict[str, Any]:
        return {
            name: getattr(namespace, option) if isinstance(option, str) else option
            for name, option in options.items()
        }

    return Case(
        lambda: fdl.models.mlp(sizes, **of(fdl.nn)),
        lambda: twins.mlp(sizes, **of(nn)),
        "cross_entropy",
        classified(16, sizes[0], classes=sizes[-1]),
        f"torch.nn.Sequential({layers})",
    )


def regression(model: Callable[[], fdl.Model], loss: str, batch: Any, outputs: int) -> Case:
    """A single layer under a loss."""
    features = batch[0].shape[1]
    counterpart = "torch.nn.Sequential(Linear)"
    return Case(model, lambda: twins.mlp([features, outputs]), loss, batch, counterpart)


def binary(*shape: int) -> tuple[np.ndarray, ...]:
    """Normal inputs of a shape, and 0 or 1 for each."""
    inputs, classes = classified(*shape, classes=2)
    return inputs, classes[:, None].astype(float)


CASES = {
    "mlp": case([20, 32, 10], "Linear, ReLU, Linear"),
    "mlp, no hidden layer": case([20, 10], "Linear"),
    "mlp, five layers of tanh": case(
        [20, 16, 16, 12, 8, 10], "Linear, Tanh, ..., Linear", activation="Tanh"
    ),
    "mlp, dropout": case([20, 32, 16, 10], "Linear, ReLU, Dropout, ..., Linear", dropout=0.3),
    "mlp, batch norm": case(
        [20, 32, 16, 10], "Linear, BatchNorm1d, ReLU, ..., Linear", norm="BatchNorm1d"
    ),
    "mlp, layer norm, GELU, dropout": case(
        [20, 32, 16, 10],
        "Linear, LayerNorm, GELU, Dropout, ..., Linear",
        norm="LayerNorm",
        activation="GELU",
        dropout=0.2,
    ),
    "linear_regression": regression(
        lambda: fdl.models.linear_regression(6), "mse_loss", regressed((16, 6), (16, 1)), 1
    ),
    "linear_regression, three outputs": regression(
        lambda: fdl.models.linear_regression(6, 3), "mse_loss", regressed((16, 6), (16, 3)), 3
    ),
    "logistic_regression": regression(
        lambda: fdl.models.logistic_regression(6),
        "binary_cross_entropy_with_logits",
        binary(16, 6),
        1,
    ),
    "logistic_regression, four classes": regression(
        lambda: fdl.models.logistic_regression(6, num_classes=4),
        "cross_entropy",
        classified(16, 6, classes=4),
        4,
    ),
}
