"""Updates that happen only at some steps."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def updated_if(
    condition: jax.Array,
    optimizer: optax.GradientTransformationExtraArgs,
    updates: optax.Updates,
    state: optax.OptState,
    params: optax.Params | None,
    **extra_args: Any,
) -> tuple[optax.Updates, optax.OptState]:
    """The optimizer's update where `condition` holds; else updates of zero and the state as it is.

    The zeros are of the optimizer's own kind, which need not be the gradients' (it may widen them).
    """
    extra_args = with_gradient(updates, extra_args)

    def move() -> tuple[optax.Updates, optax.OptState]:
        return optimizer.update(updates, state, params, **extra_args)

    def stay() -> tuple[optax.Updates, optax.OptState]:
        like, _ = jax.eval_shape(move)
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like), state

    return jax.lax.cond(condition, move, stay)


def with_gradient(updates: optax.Updates, extra_args: dict[str, Any]) -> dict[str, Any]:
    """Extra arguments for a wrapped optimizer: `grad`, if it is there, is what it is given."""
    return {**extra_args, "grad": updates} if "grad" in extra_args else extra_args
