"""Gradient clipping, as links of a chain before an optimizer."""

from typing import cast

import jax
import jax.numpy as jnp
import optax

from fdl.optim._lr import check_non_negative
from fdl.optim._moments import as_float


def clip_grad_norm(
    max_norm: float | jax.Array, norm_type: float | str = 2.0
) -> optax.GradientTransformation:
    r"""Scales all gradients together, so that their norm is at most `max_norm`.

    .. math::
        g \leftarrow \min\left(1, \frac{c}{\|g\| + 10^{-6}}\right) g

    Args:
        max_norm: :math:`c`.
        norm_type: the order of :func:`get_total_norm`.

    Returns:
        An ``optax.GradientTransformation``, to be chained before an optimizer.

    Raises:
        ValueError: if `max_norm` is negative or NaN.

    Example:
        >>> import fdl, jax.numpy as jnp, optax
        >>> optimizer = optax.chain(fdl.optim.clip_grad_norm(1.0), fdl.optim.sgd(lr=1.0))
        >>> params, grads = {"w": jnp.zeros(2)}, {"w": jnp.array([3.0, 4.0])}
        >>> updates, state = optimizer.update(grads, optimizer.init(params), params)
        >>> [round(u, 4) for u in updates["w"].tolist()]
        [-0.6, -0.8]

    Torch: ``torch.nn.utils.clip_grad_norm_``, which also returns the norm: here it is
    :func:`get_total_norm`. Gradients that are None do not count. Torch has none for a frozen
    parameter, ``jax.grad`` has: leave it out by a first link ``optax.masked(optax.set_to_zero(),
    lambda grads: {name: name.startswith("stem.") for name in grads})``. As in torch, a norm of NaN
    makes every gradient NaN, and an infinite one makes them 0 or NaN; for its `error_if_nonfinite`,
    which compiled code cannot raise, return the norm from the step and check it outside, or wrap
    the optimizer in ``optax.apply_if_finite``. A negative `max_norm` is refused; torch turns the
    gradients round.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013.
    """
    check_non_negative("clip_grad_norm", max_norm=max_norm)
    return optax.stateless(
        lambda grads, _: clip_grads_with_norm(grads, max_norm, get_total_norm(grads, norm_type))
    )


def clip_grad_value(clip_value: float) -> optax.GradientTransformation:
    r"""Limits every element of every gradient to :math:`[-c, c]`.

    Args:
        clip_value: :math:`c`.

    Returns:
        An ``optax.GradientTransformation``, to be chained before an optimizer.

    Raises:
        ValueError: if `clip_value` is negative or NaN.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> clip = fdl.optim.clip_grad_value(0.5)
        >>> clip.update({"w": jnp.array([0.25, -3.0])}, clip.init({}))[0]["w"].tolist()
        [0.25, -0.5]

    Torch: ``torch.nn.utils.clip_grad_value_``. A NaN stays one. A negative `clip_value` is refused;
    torch sets every element to it.
    """
    check_non_negative("clip_grad_value", clip_value=clip_value)
    return optax.clip(clip_value)


def get_total_norm(tensors: optax.Updates, norm_type: float | str = 2.0) -> jax.Array:
    r"""The norm of the norms of the arrays of a tree.

    .. math::
        \left\| \left( \|g_1\|_p, \dots, \|g_n\|_p \right) \right\|_p

    which is that of all elements as one vector, but for :math:`p = 0`: then it is the number of
    arrays that have an element that is not zero.

    Args:
        tensors: a tree, say of gradients by name; what is None does not count.
        norm_type: :math:`p`, also ``inf`` or ``"inf"``.

    Returns:
        A scalar in JAX's default width, in which it is also computed; 0 for a tree without arrays.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> float(fdl.optim.get_total_norm({"w": jnp.array([3.0, 0.0]), "b": jnp.array(-4.0)}))
        5.0

    Torch: ``torch.nn.utils.get_total_norm``, which rounds to the dtype of the tensors.
    """
    order = float(norm_type)
    norms = [jnp.linalg.norm(as_float(leaf).ravel(), order) for leaf in jax.tree.leaves(tensors)]
    return jnp.linalg.norm(jnp.stack(norms), order) if norms else as_float(0)


def clip_grads_with_norm(
    grads: optax.Updates, max_norm: float | jax.Array, total_norm: jax.Array
) -> optax.Updates:
    """Scales gradients as :func:`clip_grad_norm` does, by a norm that is known.

    Args:
        grads: a tree of gradients.
        max_norm: what their norm is to be at most.
        total_norm: their norm, say of :func:`get_total_norm`.

    Returns:
        The scaled gradients, in their own dtypes.

    Torch: ``torch.nn.utils.clip_grads_with_norm_``.
    """
    factor = jnp.minimum(1, as_float(max_norm) / (as_float(total_norm) + 1e-6))
    return cast(
        optax.Updates,
        jax.tree.map(lambda grad: (as_float(grad) * factor).astype(grad.dtype), grads),
    )
