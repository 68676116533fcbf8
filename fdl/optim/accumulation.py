"""Gradients added up over several batches before one update."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from fdl.optim._conditional import updated_if
from fdl.optim._moments import no_steps


class AccumulateState(NamedTuple):
    """State of :func:`accumulate`.

    Attributes:
        micro_step: number of gradients in the sum, from 0 to below `every`.
        grad: their sum, as torch keeps it in a parameter's ``grad``.
        inner: state of the wrapped optimizer; its counts and schedules count applied updates.
    """

    micro_step: jax.Array
    grad: optax.Updates
    inner: optax.OptState


def accumulate(
    optimizer: optax.GradientTransformation,
    every: int,
    reduction: Literal["mean", "sum"] = "mean",
) -> optax.GradientTransformationExtraArgs:
    r"""Adds up gradients and lets the optimizer move at each `every`-th one.

    .. math::
        G \leftarrow G + g / k \quad (\text{or } G + g \text{ with "sum"})

    At the :math:`k`-th call the optimizer is given :math:`G`, which begins anew at 0; the calls
    between give updates of zero.

    Args:
        optimizer: any Optax transform.
        every: :math:`k`, gradients to an update.
        reduction: "mean" for losses that are means over their batch, "sum" for sums.

    Returns:
        An ``optax.GradientTransformationExtraArgs``. Extra arguments reach the optimizer with the
        last of the gradients.

    Raises:
        ValueError: if `every` is below 1 or `reduction` is another word; from the update, for a
            gradient that is None.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.accumulate(fdl.optim.sgd(lr=0.1), every=2)
        >>> params = {"w": jnp.ones(2)}
        >>> state, seen = optimizer.init(params), []
        >>> for size in (1.0, 3.0):
        ...     updates, state = optimizer.update({"w": jnp.full(2, size)}, state, params)
        ...     seen.append(round(float(updates["w"][0]), 3))
        >>> seen
        [0.0, -0.2]

    Torch: the loop that calls ``(loss / k).backward()`` k times (``loss.backward()`` with "sum"),
    then ``optimizer.step()`` and ``optimizer.zero_grad()``. For a parameter without gradient, to
    which torch adds nothing, give zeros; :func:`fdl.optim.skip_absent` inside skips what
    ``present=`` says with the last of the gradients, which should be False for what was absent in
    all. To see many rows in one step, with less memory, there is
    ``fdl.train.make_step(..., micro_batches=k)``.
    """
    if every < 1:
        raise ValueError(f"accumulate: every: expected 1 or more, got {every}.")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"accumulate: reduction: expected 'mean' or 'sum', got {reduction!r}.")
    optimizer = optax.with_extra_args_support(optimizer)
    parts = every if reduction == "mean" else 1

    def init(params):
        return AccumulateState(no_steps(), optax.tree.zeros_like(params), optimizer.init(params))

    def update(updates, state, params=None, **extra_args):
        _check_gradients(updates, state.grad)
        grad = jax.tree.map(lambda total, g: total + g / parts, state.grad, updates)
        due = state.micro_step + 1 == every
        updates, inner = updated_if(due, optimizer, grad, state.inner, params, **extra_args)
        rest = jax.tree.map(lambda g: jnp.where(due, 0, g), grad)
        return updates, AccumulateState((state.micro_step + 1) % every, rest, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def _check_gradients(grads: optax.Updates, like: optax.Updates) -> None:
    found, expected = jax.tree.structure(grads), jax.tree.structure(like)
    if found != expected:
        raise ValueError(
            f"accumulate: grads: expected one for each parameter, {expected}, got {found}. Give "
            "zeros for what is None, and tell fdl.optim.skip_absent by present=."
        )
