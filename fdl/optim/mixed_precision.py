"""Optimizers that compute in a wider dtype than that of the parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from fdl.optim._conditional import with_gradient


class MixedPrecisionState(NamedTuple):
    """State of :func:`mixed_precision`.

    Attributes:
        master: the parameters in the wide dtype, None without `master_weights`.
        inner: state of the wrapped optimizer, in the wide dtype.
    """

    master: Any
    inner: optax.OptState


def mixed_precision(
    optimizer: optax.GradientTransformation,
    *,
    dtype: DTypeLike | None = None,
    master_weights: bool = True,
) -> optax.GradientTransformationExtraArgs:
    r"""Runs an optimizer in a wide dtype on parameters in a narrow one.

    .. math::
        \Theta &\leftarrow \Theta + u(\text{wide}(g), \Theta) \\
        \theta &\leftarrow \text{narrow}(\Theta)

    where :math:`\Theta` is the wide copy that the state holds, or without `master_weights` the
    widened parameters :math:`\text{wide}(\theta)` themselves, from which steps much smaller than
    the parameter are lost to rounding.

    The updates are wide, and ``optax.apply_updates`` rounds the sum, not the update: the parameters
    come out as the rounded wide copy, to the last bit (unless one step makes a parameter some ten
    thousand times smaller, and the difference has no place in the wide dtype). A parameter that is
    not finite in the narrow dtype, as beyond 65504 in float16, stays so whatever its copy does.

    Args:
        optimizer: any Optax transform.
        dtype: the wide dtype, JAX's default width if None. Parameters that are as wide already, or
            wider, stay as they are.
        master_weights: keep wide copies of the parameters in the state. They follow the optimizer
            alone: parameters that are changed by others need a new ``init``.

    Returns:
        An ``optax.GradientTransformationExtraArgs``. It belongs outermost: what follows it in a
        chain would change the difference of two rounded numbers.

    Raises:
        TypeError: if `dtype` is not a floating one.
        ValueError: from the update, without `params`; from ``optax.apply_updates``, under JAX's
            strict dtype promotion, for it adds two dtypes: wrap that call, as
            :func:`fdl.train.make_step` does, in ``jax.numpy_dtype_promotion("standard")``.

    Example:
        >>> import fdl, jax, jax.numpy as jnp, optax
        >>> params = {"w": jnp.ones(2, jnp.bfloat16)}
        >>> grads = {"w": jnp.full(2, 0.25, jnp.bfloat16)}
        >>> optimizer = fdl.optim.mixed_precision(fdl.optim.sgd(lr=0.01))
        >>> state = optimizer.init(params)
        >>> for _ in range(4):  # each too small for a bfloat16 near 1
        ...     updates, state = optimizer.update(grads, state, params)
        ...     with jax.numpy_dtype_promotion("standard"):
        ...         params = optax.apply_updates(params, updates)
        >>> state.master["w"].dtype.name, params["w"].dtype.name, params["w"].tolist()
        ('float32', 'bfloat16', [0.98828125, 0.98828125])

    Torch: the loop over a model in bfloat16 and an optimizer on float32 copies of its parameters:
    ``copy.grad = parameter.grad.float()``, ``optimizer.step()``, ``parameter.copy_(copy)``. Without
    `master_weights` the copies are made anew before each step. A torch optimizer on bfloat16
    parameters keeps its state in bfloat16, as fdl's do without this.

    Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018.
    """
    if dtype is not None and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"mixed_precision: dtype: expected a floating dtype, got {dtype}.")
    optimizer = optax.with_extra_args_support(optimizer)

    def widened(tree: Any) -> Any:
        wide = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
        return jax.tree.map(lambda x: x.astype(wide) if _narrower(x, wide) else x, tree)

    def init(params):
        wide = widened(params)
        master = jax.tree.map(jnp.copy, wide) if master_weights else None  # a step may donate both
        return MixedPrecisionState(master, optimizer.init(wide))

    def update(updates, state, params=None, **extra_args):
        if params is None:
            raise ValueError(
                "mixed_precision: params: expected the parameters, got None. Call "
                "update(grads, state, params)."
            )
        wide = state.master if master_weights else widened(params)
        updates = widened(updates)
        extra_args = with_gradient(updates, extra_args)
        value_fn = extra_args.get("value_fn")
        if value_fn is not None:
            extra_args["value_fn"] = lambda wide: value_fn(_rounded(wide, params))
        updates, inner = optimizer.update(updates, state.inner, wide, **extra_args)
        moved = optax.apply_updates(wide, updates)
        updates = jax.tree.map(_difference, params, moved, updates)
        return updates, MixedPrecisionState(moved if master_weights else None, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def _narrower(x: jax.Array, dtype: jnp.dtype) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize < dtype.itemsize


def _rounded(wide: optax.Params, like: optax.Params) -> optax.Params:
    return jax.tree.map(lambda w, p: w.astype(p.dtype), wide, like)


def _difference(narrow: jax.Array, moved: jax.Array, update: jax.Array) -> jax.Array:
    """What takes the narrow parameter to the rounded wide one."""
    if narrow.dtype == moved.dtype:
        return update
    return moved.astype(narrow.dtype).astype(moved.dtype) - narrow.astype(moved.dtype)
