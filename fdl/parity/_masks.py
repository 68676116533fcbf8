"""Dropout made comparable: masks are drawn once, by NumPy, and both frameworks use them.

On the JAX side every mask comes from ``jax.random.bernoulli``, in fdl as in Flax and Equinox. On
the torch side it comes from ``torch.nn.functional.dropout``, save for the dropout between the
layers of a recurrent module, which happens in C++: there the layers are run one at a time.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import torch


class Draw(NamedTuple):
    """A mask that the candidate asks for: its shape and the probability of keeping an element."""

    keep: float
    shape: tuple[int, ...]


def draws(apply: Callable[[], Any]) -> list[Draw]:
    """Finds out which masks a forward pass draws, without computing it."""
    found: list[Draw] = []

    def bernoulli(key: Any, p: Any = 0.5, shape: Any = None, **_: Any) -> jax.Array:
        found.append(Draw(float(p), tuple(shape or ())))
        return jnp.zeros(found[-1].shape, bool)

    with mock.patch.object(jax.random, "bernoulli", bernoulli):
        jax.eval_shape(apply)
    return found


def sample(wanted: Sequence[Draw], generator: np.random.Generator) -> list[np.ndarray]:
    """Draws one mask for each."""
    return [generator.random(draw.shape) < draw.keep for draw in wanted]


@contextmanager
def injected_into_jax(masks: Sequence[Any]) -> Generator[None]:
    """While tracing, answers every call of ``jax.random.bernoulli`` with the next mask."""
    with mock.patch.object(jax.random, "bernoulli", side_effect=list(masks)):
        yield


@contextmanager
def injected_into_torch(
    masks: Sequence[np.ndarray], module: torch.nn.Module
) -> Generator[list[np.ndarray]]:
    """Answers every active dropout in torch with the next mask; yields the masks used so far.

    Where the next mask is missing or has another shape, torch draws its own: a candidate whose
    dropout is missing or misplaced then differs.
    """
    queue, used = list(masks), []

    def dropout(input, p=0.5, training=True, inplace=False):
        if not training or p == 0:
            return input
        if p == 1:
            return input * 0  # as torch does; a candidate draws no mask for it
        if queue and queue[0].shape == input.shape:
            used.append(queue.pop(0))
        else:
            used.append((torch.rand(input.shape) >= p).numpy())
        return input * torch.from_numpy(used[-1]).to(input) / (1 - p)

    stacked = [
        child
        for child in module.modules()
        if isinstance(child, torch.nn.LSTM) and child.dropout > 0 and child.num_layers > 1
    ]
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(torch.nn.functional, "dropout", dropout))
        for child in stacked:
            patches.enter_context(mock.patch.object(child, "forward", _layer_by_layer(child)))
        yield used


def _layer_by_layer(lstm: torch.nn.LSTM) -> Callable[..., Any]:
    """The forward of a stacked LSTM, with its dropouts as calls that can be caught."""
    directions = 2 if lstm.bidirectional else 1

    def forward(input, hx=None):
        x = input.transpose(0, 1) if lstm.batch_first else input  # (L, N, I)
        if hx is None:
            sizes = (lstm.proj_size or lstm.hidden_size, lstm.hidden_size)
            hx = [x.new_zeros(len(lstm.all_weights), x.shape[1], size) for size in sizes]
        finals = []
        for layer in range(lstm.num_layers):
            if layer > 0:
                x = torch.nn.functional.dropout(x, lstm.dropout, lstm.training)
            slots = slice(layer * directions, (layer + 1) * directions)
            weights = tuple(weight for slot in lstm.all_weights[slots] for weight in slot)
            state = tuple(h[slots].contiguous() for h in hx)
            x, *final = torch.lstm(
                x, state, weights, lstm.bias, 1, 0.0, lstm.training, lstm.bidirectional, False
            )
            finals.append(final)
        h_n, c_n = (torch.cat(states) for states in zip(*finals, strict=True))
        return (x.transpose(0, 1) if lstm.batch_first else x), (h_n, c_n)

    return forward
