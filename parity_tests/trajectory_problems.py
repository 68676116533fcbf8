"""Small problems to minimise, the same for torch and JAX."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

STEPS = 100
Arrays = Mapping[str, np.ndarray]


class Problem(NamedTuple):
    """What is minimised: where it starts, a batch for every step, and the loss.

    All numbers are exact in bfloat16, for the oracle too starts from what it holds.
    """

    params: Arrays
    batches: tuple[np.ndarray, ...]
    loss: Callable[..., Any]


def network(params, batch, tanh, look_up):
    """The loss of a network of two layers."""
    del look_up
    x, y = batch
    hidden = tanh(x @ params["weight1"].T + params["bias"].reshape(-1)) * params.get("scale", 1)
    return ((hidden @ params["weight2"].reshape(3, 6).T - y) ** 2).mean()


def recommender(params, batch, tanh, look_up):
    """The loss of a product of two embeddings, whose gradients have few rows."""
    users, items, y = batch
    product = tanh(look_up(params["users"], users)) * look_up(params["items"], items)
    return ((product.sum(-1) - y) ** 2).mean()


def rosenbrock(params, batch, tanh, look_up):
    """A curved valley."""
    del batch, tanh, look_up
    x = params["x"]
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


@cache
def problem(name: str) -> Problem:
    """A problem by its name; parameters are sorted, as JAX sorts them."""
    generator = np.random.default_rng(0)

    def normal(**shapes):
        drawn = {k: generator.normal(size=s).astype(jnp.bfloat16) for k, s in shapes.items()}
        return {k: v.astype(np.float32) for k, v in drawn.items()}

    def rows(number):
        return generator.integers(0, number, (STEPS, 4))

    if name == "rosenbrock":
        start = np.array([-1.25, 1.0, -0.75, 0.375], np.float32)
        return Problem({"x": start}, (np.zeros(STEPS, np.float32),), rosenbrock)
    if name == "recommender":
        params, loss = normal(items=(7, 4), users=(9, 4)), recommender
        batches = (rows(9), rows(7), *normal(y=(STEPS, 4)).values())
    else:
        matrices, one = name == "matrices", name == "one batch"
        more = {} if matrices or one else {"scale": ()}
        last = (3, 1, 2, 3) if name == "network" else (3, 6)
        bias = (6, 1) if matrices else (6,)
        params, loss = normal(bias=bias, **more, weight1=(6, 5), weight2=last), network
        size = (1, 40) if one else (STEPS, 8)
        batches = normal(x=(*size, 5), y=(*size, 3)).values()
        batches = tuple(np.broadcast_to(b, (STEPS, *b.shape[1:])) for b in batches)
    return Problem({k: v / 2 for k, v in params.items()}, batches, loss)
