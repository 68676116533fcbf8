"""Parameters under drawn gradients, step by step: the way of torch's optimizers and of fdl's."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from nearness import assert_equal

STEPS = 40
Arrays = Mapping[str, np.ndarray]


def drawn_gradients(shapes: Mapping[str, tuple[int, ...]]) -> tuple[Arrays, Arrays]:
    """Parameters and the part of every step's gradients that does not depend on them."""
    generator = np.random.default_rng(0)
    return (
        {k: generator.normal(size=s) for k, s in shapes.items()},
        {k: generator.normal(size=(STEPS, *s)) for k, s in shapes.items()},
    )


def pull(value: Any) -> Any:
    """The part that does."""
    return value / (1 + value * value)


def leaves(params: Arrays) -> dict[str, torch.Tensor]:
    """Torch's parameters."""
    return {k: torch.tensor(v).requires_grad_() for k, v in params.items()}


def torch_path(
    params: Mapping[str, torch.Tensor],
    drawn: Arrays,
    step: Callable[[int], Any],
    *,
    present: Arrays | None = None,
    sparse: bool = False,
) -> Arrays:
    """Every parameter after every step.

    Args:
        params: torch's; those that require no gradient have none.
        drawn: of :func:`drawn_gradients`.
        step: makes the step of this number.
        present: at which steps each parameter has a gradient; None is at all.
        sparse: whether gradients are sparse.
    """
    path = {k: [] for k in params}
    for number in range(STEPS):
        for key, value in params.items():
            grad = torch.tensor(drawn[key][number]) + pull(value.detach())
            here = value.requires_grad and (present is None or present[key][number])
            value.grad = (grad.to_sparse(1) if sparse else grad) if here else None
        step(number)
        for key, value in params.items():
            path[key].append(value.detach().numpy().copy())
    return {k: np.stack(v) for k, v in path.items()}


def fdl_path(
    optimizer: Any, params: Arrays, drawn: Arrays, present: Arrays | None = None
) -> tuple[dict[str, jax.Array], Any]:
    """The same in one jitted scan, and the final state; an absent gradient is NaN."""
    params, drawn, present = jax.tree.map(jnp.asarray, (params, drawn, present))

    def step(carry, now):
        params, state = carry
        drawn, present = now
        grads = jax.tree.map(lambda g, p: g + pull(p), drawn, params)
        told = {}
        if present is not None:
            grads = jax.tree.map(lambda g, here: jnp.where(here, g, jnp.nan), grads, present)
            told = {"present": present}
        updates, state = optimizer.update(grads, state, params, **told)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    run = jax.jit(lambda params, state: jax.lax.scan(step, (params, state), (drawn, present)))
    (_, state), path = run(params, optimizer.init(params))
    return path, state


def assert_paths(path: Mapping[str, Any], expected: Arrays) -> None:
    """Asserts that all parameters are equal after every step."""
    for step in range(STEPS):
        assert_equal(
            {k: v[step] for k, v in path.items()}, {k: v[step] for k, v in expected.items()}
        )
