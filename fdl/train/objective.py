"""What is minimised."""

from collections.abc import Callable
from typing import Any, Protocol

import jax

from fdl._types import Buffers, Model, Params

Metric = Callable[[Any, jax.Array], jax.Array]


class LossFn(Protocol):
    """A loss of the parameters on one batch, with what the forward pass brings along.

    ``loss_fn(params, buffers, batch, *, train, key) -> (loss, (buffers, metrics))``: `loss` is a
    scalar, `metrics` maps names to scalars that are averages over the batch.
    """

    def __call__(
        self,
        params: Params,
        buffers: Buffers,
        batch: tuple[jax.Array, ...],
        *,
        train: bool,
        key: jax.Array | None,
    ) -> tuple[jax.Array, tuple[Buffers, dict[str, jax.Array]]]:
        """Computes the loss."""
        ...


def supervised(model: Model, loss: Metric, **metrics: Metric) -> LossFn:
    """Makes the loss function of batches ``(*inputs, target)``.

    Args:
        model: its output is compared with the target.
        loss: ``(output, target) -> scalar``, as the losses in :mod:`fdl.functional`.
        **metrics: name to ``(output, target) -> scalar``, reported beside the loss.

    Returns:
        A :class:`LossFn` for :func:`fdl.train.make_step` and :func:`fdl.train.fit`.

    Example:
        >>> import fdl, fdl.functional as F
        >>> model = fdl.models.mlp([784, 10])
        >>> loss_fn = fdl.train.supervised(model, F.cross_entropy, accuracy=fdl.train.accuracy)
    """

    def loss_fn(params, buffers, batch, *, train, key):
        *inputs, target = batch
        output, buffers = model.apply(params, buffers, *inputs, train=train, key=key)
        value = loss(output, target)
        measured = {name: metric(output, target) for name, metric in metrics.items()}
        return value, (buffers, {"loss": value, **measured})

    return loss_fn
