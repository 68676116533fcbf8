"""Loss scaling, so that small gradients survive float16."""

import operator
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._conditional import updated_if
from fdl.optim._lr import check_positive
from fdl.optim._moments import as_float, no_steps


class GradScalerState(NamedTuple):
    """State of :func:`grad_scaler`, by torch's names.

    Attributes:
        scale: what the loss is to be multiplied by, in JAX's default width.
        growth_tracker: number of steps since the last one that was skipped or made it grow.
        inner: state of the wrapped optimizer; its counts and schedules count the steps that were
            not skipped.
    """

    scale: jax.Array
    growth_tracker: jax.Array
    inner: optax.OptState


def grad_scaler(
    optimizer: optax.GradientTransformation,
    init_scale: float = 2.0**16,
    growth_factor: float = 2.0,
    backoff_factor: float = 0.5,
    growth_interval: int = 2000,
    enabled: bool = True,
) -> optax.GradientTransformationExtraArgs:
    r"""Divides gradients by the scale of the loss, and skips the steps at which they overflow.

    With :math:`g` the gradient of :math:`s \cdot \text{loss}`, the optimizer is given :math:`g / s`
    if all of it is finite. Then :math:`s` is multiplied by `growth_factor` after each
    `growth_interval` such steps in a row. Otherwise the updates are zero, the optimizer's state
    stays, and :math:`s` is multiplied by `backoff_factor`.

    :func:`fdl.train.make_step` multiplies the loss by the scale that it finds in the state; another
    loop does so itself, with :func:`loss_scale`. Gradients that are float16 themselves would lose
    again what the scale saved: put ``fdl.optim.mixed_precision`` around this, which widens them.

    Args:
        optimizer: any Optax transform.
        init_scale: the first scale.
        growth_factor: above 1.
        backoff_factor: above 0, below 1.
        growth_interval: finite steps in a row before the scale grows.
        enabled: False gives the optimizer as it is, and no scale.

    Returns:
        An ``optax.GradientTransformationExtraArgs``.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> optimizer = fdl.optim.grad_scaler(fdl.optim.sgd(lr=0.1), init_scale=8.0)
        >>> params = {"w": jnp.ones(2)}
        >>> state = optimizer.init(params)
        >>> def loss(params, scale):
        ...     return scale * jnp.sum(params["w"])
        >>> grads = jax.grad(loss)(params, fdl.optim.loss_scale(state))
        >>> updates, state = optimizer.update(grads, state, params)
        >>> [round(u, 3) for u in updates["w"].tolist()]
        [-0.1, -0.1]
        >>> overflowed = {"w": jnp.array([jnp.inf, 1.0])}
        >>> updates, state = optimizer.update(overflowed, state, params)
        >>> updates["w"].tolist(), float(fdl.optim.loss_scale(state))
        ([0.0, 0.0], 4.0)

    Torch: ``torch.amp.GradScaler``: its ``unscale_``, ``step`` and ``update`` in one. It holds the
    scale in float32. It looks for overflow before it divides: once the scale is below 1, it goes on
    with gradients that the division makes infinite, which are skipped here. For gradients that are
    added up before a step, put it inside :func:`accumulate`, as torch's loop does.

    Source: Micikevicius et al., "Mixed Precision Training", ICLR 2018.
    """
    check_positive("grad_scaler", init_scale=init_scale, backoff_factor=backoff_factor)
    if not growth_factor > 1:
        raise ValueError(f"grad_scaler: growth_factor: expected above 1, got {growth_factor}.")
    if not backoff_factor < 1:
        raise ValueError(f"grad_scaler: backoff_factor: expected below 1, got {backoff_factor}.")
    if growth_interval < 1:
        raise ValueError(
            f"grad_scaler: growth_interval: expected 1 or more, got {growth_interval}."
        )
    optimizer = optax.with_extra_args_support(optimizer)
    if not enabled:
        return optimizer

    def init(params):
        return GradScalerState(as_float(init_scale), no_steps(), optimizer.init(params))

    def update(updates, state, params=None, **extra_args):
        inverse = 1 / state.scale
        grads = jax.tree.map(lambda g: _times(g, inverse), updates)
        finite = _all_finite(grads)
        updates, inner = updated_if(finite, optimizer, grads, state.inner, params, **extra_args)
        tracker = jnp.where(finite, state.growth_tracker + 1, 0)
        grows = tracker == growth_interval
        grown = state.scale * growth_factor
        scale = jnp.where(grows & jnp.isfinite(grown), grown, state.scale)
        scale = jnp.where(finite, scale, state.scale * backoff_factor)
        return updates, GradScalerState(scale, jnp.where(grows, 0, tracker), inner)

    return optax.GradientTransformationExtraArgs(init, update)


def loss_scale(state: optax.OptState) -> float | jax.Array:
    """What the loss is to be multiplied by before it is differentiated.

    Args:
        state: an optimizer's, with that of :func:`grad_scaler` anywhere in it.

    Returns:
        The scale; the number 1.0 for an optimizer without one.

    Raises:
        ValueError: if there are several.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> params = {"w": jnp.ones(2)}
        >>> float(fdl.optim.loss_scale(fdl.optim.grad_scaler(fdl.optim.sgd()).init(params)))
        65536.0
        >>> fdl.optim.loss_scale(fdl.optim.sgd().init(params))
        1.0

    Torch: ``torch.amp.GradScaler.get_scale``.
    """
    parts = jax.tree.leaves(state, is_leaf=_is_scaler)
    scales = [part.scale for part in parts if _is_scaler(part)]
    if len(scales) > 1:
        raise ValueError(
            f"loss_scale: state: expected at most one grad_scaler, got {len(scales)}. Put one "
            "around the whole optimizer."
        )
    return scales[0] if scales else 1.0


def _is_scaler(part: object) -> bool:
    return isinstance(part, GradScalerState)


def _times(gradient: jax.Array, factor: jax.Array) -> jax.Array:
    """The product, computed in the dtype of the factor, for which a narrow one has no room."""
    return (gradient.astype(factor.dtype) * factor).astype(gradient.dtype)


def _all_finite(grads: optax.Updates) -> jax.Array:
    checks = [jnp.isfinite(g).all() for g in jax.tree.leaves(grads)]
    return reduce(operator.and_, checks, jnp.ones((), bool))
