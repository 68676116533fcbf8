"""Running a trained model over whole arrays."""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np

from fdl._types import Buffers, Model, Params
from fdl.data import batches
from fdl.train.objective import LossFn


def evaluate(
    loss_fn: LossFn,
    params: Params,
    buffers: Buffers,
    data: Sequence[np.ndarray],
    *,
    batch_size: int = 256,
) -> dict[str, float]:
    """Averages loss and metrics over all of `data`, in evaluation mode.

    Args:
        loss_fn: as :func:`fdl.train.supervised` makes it. Reuse one function object: what is
            compiled for it is kept.
        params: of the model inside.
        buffers: likewise.
        data: arrays ``(*inputs, target)`` with equal first axes.
        batch_size: rows in one call.

    Returns:
        Name to mean over all rows.
    """
    totals: dict[str, float] = {}
    rows = len(data[0])
    for batch in batches(data, batch_size):
        metrics = jax.device_get(_metrics(loss_fn, params, buffers, batch))
        for name, value in metrics.items():
            totals[name] = totals.get(name, 0.0) + float(value) * len(batch[0]) / rows
    return totals


def predict(
    model: Model,
    params: Params,
    buffers: Buffers,
    *inputs: np.ndarray,
    batch_size: int = 256,
) -> np.ndarray:
    """Returns the model's outputs for all rows of `inputs`, in evaluation mode.

    Args:
        model: whose output is one array.
        params: its parameters.
        buffers: its buffers.
        *inputs: arrays with equal first axes.
        batch_size: rows in one call.

    Returns:
        The outputs, rows in the order of `inputs`.
    """
    outputs = [_outputs(model, params, buffers, *rows) for rows in batches(inputs, batch_size)]
    return np.concatenate(jax.device_get(outputs))


@partial(jax.jit, static_argnums=0)
def _outputs(model, params, buffers, *inputs):
    return model.apply(params, buffers, *inputs)[0]


@partial(jax.jit, static_argnums=0)
def _metrics(loss_fn, params, buffers, batch):
    _, (_, metrics) = loss_fn(params, buffers, batch, train=False, key=None)
    return metrics
