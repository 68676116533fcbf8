"""Arithmetic of optimizers on parameters in half precision."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from fdl.functional._moments import widened


def widely(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Computes an update in single precision where gradients and state are in half precision.

    The state keeps its dtypes, and each result is rounded once, as in torch's kernels. In half
    precision itself, a decay and one minus the decay would not sum to 1.
    """
    inner = optax.with_extra_args_support(optimizer)

    def update(updates, state, params=None, **extra):
        moved, after = inner.update(_wide(updates), _wide(state), _wide(params), **extra)
        return _like(updates, moved), _like(state, after)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _wide(tree: Any) -> Any:
    return jax.tree.map(lambda x: widened(x) if _is_float(x) else x, tree)


def _like(old: Any, new: Any) -> Any:
    return cast(Any, jax.tree.map(lambda x, y: y.astype(x.dtype), old, new))


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)
