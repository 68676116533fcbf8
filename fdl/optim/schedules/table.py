"""Any function of the step as a lookup."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from fdl.optim.schedules._rule import Schedule, begun, check_count, default_float


def tabulate(function: Callable[[int], Any], steps: int) -> optax.Schedule:
    """Computes a function of the step once for each step, on the host and in float64.

    For Python functions that JAX cannot trace, and for schedules that repeat a recursion at each
    call (:func:`multiplicative_lr`, :func:`chained_scheduler`).

    Args:
        function: a schedule of this module, or any function; called with Python integers, as
            torch calls ``lr_lambda``.
        steps: how many, from step 0.

    Returns:
        A function of the step for use inside jit too. Past the last step its value stays.

    Raises:
        ValueError: if `steps` is no positive integer.

    Example:
        >>> import fdl
        >>> warmup = fdl.optim.tabulate(lambda epoch: min(1.0, (epoch + 1) / 4), 10)
        >>> schedule = fdl.optim.lambda_lr(0.1, warmup)
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [0.025, 0.05, 0.075, 0.1, 0.1]

    Torch: what a scheduler does, in advance: its functions run in Python.
    """
    check_count("tabulate", least=1, steps=steps)
    if isinstance(function, Schedule):
        values = _recursion(function, steps)
    else:
        values = np.array([float(function(step)) for step in range(steps)])

    def lookup(step: Any) -> jax.Array:
        place = jnp.clip(jnp.asarray(step).astype(jnp.int32), 0, steps - 1)
        return default_float(values)[place]

    return lookup


def _recursion(schedule: Schedule, steps: int) -> np.ndarray:
    """A schedule's values, each from the one before, as torch computes them."""
    with jax.enable_x64(True):
        lr, rule = begun(schedule)

        def step(lr: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
            lr = default_float(rule.step(lr, count))
            return lr, lr

        first = default_float(lr)
        _, later = jax.lax.scan(step, first, jnp.arange(1, steps))
        return np.asarray(jnp.concatenate([first[None], later]))
