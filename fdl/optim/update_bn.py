"""Statistics of batch norms for weights that no batch was seen with."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from fdl._model import put_back
from fdl._types import Buffers, Model, Params
from fdl.nn.batchnorm import cumulative_statistics


def update_bn(
    model: Model,
    params: Params,
    buffers: Buffers,
    batches: Iterable[Any],
    *,
    key: jax.Array | None = None,
) -> Buffers:
    """Computes the running statistics of all batch norms anew, by one pass over the data.

    Each becomes the plain average over the batches, whatever the layer's `momentum`. Weights that
    were averaged need it: the statistics of the last weights are not theirs.

    Args:
        model: from :func:`fdl.as_model`, with fdl's layers; its ``apply`` without a ``jax.jit`` of
            one's own, which would run what it compiled for training.
        params: the weights to compute for.
        buffers: of the model; other layers' are updated as in any pass in training.
        batches: inputs, or tuples whose first element is the input.
        key: random key for the networks that need one in training; batch i uses
            ``fold_in(key, i)``.

    Returns:
        The buffers. Those of a network without batch norms come back as they are.

    Raises:
        ValueError: if there are no batches, or `key` is missing.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.as_model(lambda rngs: fdl.nn.BatchNorm1d(1))
        >>> params, buffers = model.init(jax.random.key(0))
        >>> batches = [jnp.array([[0.0], [2.0]]), jnp.array([[4.0], [8.0]])]
        >>> buffers = fdl.optim.update_bn(model, params, buffers, batches)
        >>> {name: value.tolist() for name, value in buffers.items()}
        {'num_batches_tracked': 2, 'running_mean': [3.5], 'running_var': [5.0]}

    Torch: ``torch.optim.swa_utils.update_bn``; an empty loader is an error.
    """
    number = -1
    for number, batch in enumerate(batches):
        inputs = batch[0] if isinstance(batch, (tuple, list)) else batch
        own = None if key is None else jax.random.fold_in(key, number)
        updated = _seen(model, params, buffers, inputs, own, jnp.asarray(number == 0))
        if updated is None:
            return buffers
        buffers = updated
    if number < 0:
        raise ValueError("update_bn: batches: expected one or more, got none. Pass a fresh loader.")
    return buffers


@partial(jax.jit, static_argnums=0)
def _seen(
    model: Model,
    params: Params,
    buffers: Buffers,
    input: Any,
    key: jax.Array | None,
    restart: jax.Array,
) -> Buffers | None:
    """The buffers after a batch; None for a network without batch norms."""
    with cumulative_statistics(restart) as met:
        _, updated = model.apply(params, buffers, input, train=True, key=key)
    return put_back(params, buffers, updated)[1] if met else None
