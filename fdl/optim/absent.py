"""Parameters that have no gradient at a step, skipped as torch skips them."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from fdl._types import Params
from fdl.optim._lr import rate
from fdl.optim._moments import next_step, no_steps
from fdl.optim.groups import Factory, check_not_lbfgs, made

Presence = Mapping[str, bool | jax.Array]


class SkipAbsentState(NamedTuple):
    """State of :func:`skip_absent`.

    Attributes:
        step: number of updates so far, on which schedules are evaluated.
        seen: by name, whether the parameter has had a gradient yet; torch has no state before.
        inner: by name, the optimizer's state for this parameter alone.
    """

    step: jax.Array
    seen: dict[str, jax.Array]
    inner: dict[str, optax.OptState]


def skip_absent(optimizer: Factory, **options: Any) -> optax.GradientTransformationExtraArgs:
    """An optimizer that leaves parameters without gradient, and their state, as they are.

    Each parameter has a state of its own, so that the others' steps do not count as its steps.
    Learning rates and other schedules go on for all, as torch's schedulers do: hence this takes a
    factory and its options, not a transform.

    Args:
        optimizer: makes the transform, ``fdl.optim.adamw`` or any other factory but ``lbfgs``.
        **options: what it is made with; what is callable is a schedule.

    Returns:
        An ``optax.GradientTransformationExtraArgs`` for a flat dict of parameters. Absent are those
        whose gradient is None, and those of ``update(grads, state, params, present={name: here})``
        for which `here` is False, a ``bool`` or a boolean of a traced computation; names that it
        does not have are present. The updates of absent parameters are zeros. Other extra arguments
        are passed on, and those that are dicts with the parameters' names, parameter by parameter.

    Raises:
        ValueError: for ``lbfgs``; from the optimizer, if an option is out of its range.
        TypeError: from the optimizer, for an option that it does not have; from `init`, for
            parameters that are no flat dict.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.skip_absent(fdl.optim.adamw, lr=0.1)
        >>> params = {"used": jnp.ones(2), "spare": jnp.ones(2)}
        >>> grads = {"used": jnp.ones(2), "spare": None}
        >>> updates, state = optimizer.update(grads, optimizer.init(params), params)
        >>> [round(float(updates[name][0]), 3) for name in params]
        [-0.101, 0.0]
        >>> {name: bool(seen) for name, seen in state.seen.items()}
        {'used': True, 'spare': False}

    Torch: a parameter whose ``grad`` is None, since ``backward`` found no way to it after
    ``zero_grad``: no decay, no momentum, no step counted, no state before the first gradient.
    ``torch.optim.LBFGS`` takes it as zero. ``jax.grad`` returns zeros for a parameter that the loss
    does not depend on, as for one whose gradient happens to be zero: say by `present` which part of
    the network ran. For a parameter that never has a gradient, ``frozen=True`` in
    :func:`fdl.optim.param_groups` does the same for nothing. Here it costs the optimizer's counts
    and a flag for each parameter, and where presence is traced, the choice between old and new of
    every array, up to the time of the update once more. What joins parameters, as clipping by norm,
    goes before this in a chain, and should see None or zeros for the absent. With parameter groups:
    ``param_groups(functools.partial(skip_absent, fdl.optim.adamw), groups, lr=1e-3)``.
    """
    check_not_lbfgs("skip_absent", optimizer, "torch takes a missing gradient as zero there")
    scheduled = any(map(_is_schedule, jax.tree.leaves(options, is_leaf=callable)))
    at_start = made(optimizer, options)

    def init(params):
        params = _flat(params)
        inner = {name: at_start.init({name: p}) for name, p in params.items()}
        return SkipAbsentState(no_steps(), {name: jnp.zeros((), bool) for name in params}, inner)

    def update(updates, state, params=None, *, present: Presence | None = None, **extra):
        present = {} if present is None else _known(present, updates)
        now = optax.with_extra_args_support(made(optimizer, _fixed(options, state.step)))

        def one(name, before):
            seen, grad = state.seen[name], updates[name]
            here = grad is not None and _here(present.get(name, True))
            if here is False:
                return _nothing(grad, params, name), seen, before
            own = None if params is None else {name: params[name]}
            start = before
            if scheduled:  # torch makes a state at the first gradient, by the options of that time
                start = _chosen(seen, before, now.init(own or {name: grad}))
            named = {key: _of(name, value, updates) for key, value in extra.items()}
            moved, after = now.update({name: grad}, start, own, **named)
            moved = cast(Params, moved)[name]
            chosen = _chosen(here, moved, jnp.zeros_like(moved))
            return chosen, seen | here, _chosen(here, after, before)

        found = {name: one(name, before) for name, before in state.inner.items()}
        moved, seen, inner = ({name: f[i] for name, f in found.items()} for i in range(3))
        return {**updates, **moved}, SkipAbsentState(next_step(state.step), seen, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def _flat(params: Any) -> dict[str, jax.Array]:
    """The parameters that are there: ``optax.partition`` masks those of other groups."""
    if isinstance(params, dict):
        params = {k: p for k, p in params.items() if not isinstance(p, optax.MaskedNode)}
        if jax.tree_util.all_leaves(params.values()):
            return params
    raise TypeError(
        "skip_absent: params: expected a flat dict of arrays by name, got "
        f"{jax.tree.structure(params)}. Join the names by dots, as in torch's state_dict."
    )


def _known(present: Presence, updates: Mapping[str, Any]) -> Presence:
    unknown = present.keys() - updates.keys()
    if unknown:
        raise ValueError(
            f"skip_absent: present: expected names of parameters, got {sorted(unknown)}. "
            f"The parameters are {sorted(updates)}."
        )
    return present


def _here(given: Any) -> bool | jax.Array:
    return given.astype(bool) if isinstance(given, jax.Array) else bool(given)


def _nothing(grad: jax.Array | None, params: Any, name: str) -> jax.Array:
    """The update of an absent parameter."""
    if grad is None and params is None:
        raise ValueError(
            f"skip_absent: params: expected the parameters, since {name!r} has no gradient, got "
            "None. Call update(grads, state, params)."
        )
    return jnp.zeros_like(params[name] if grad is None else grad)


def _chosen(here: bool | jax.Array, one: Any, other: Any) -> Any:
    """A choice for each array: a branch for each parameter would take longer, and to compile."""
    return one if here is True else jax.tree.map(lambda x, y: jnp.where(here, x, y), one, other)


def _of(name: str, value: Any, updates: Mapping[str, Any]) -> Any:
    """The part of an extra argument that is this parameter's."""
    if isinstance(value, Mapping) and value.keys() == updates.keys():
        return {name: value[name]}
    return value


def _is_schedule(option: Any) -> bool:
    return callable(option) and not isinstance(option, type)  # a dtype is a type


def _fixed(options: Mapping[str, Any], step: jax.Array) -> dict[str, Any]:
    """Options whose schedules have at any step the value that they have at this one."""

    def fixed(option):
        if not _is_schedule(option):
            return option
        value = rate(option, step)
        return lambda _: value

    return cast(dict[str, Any], jax.tree.map(fixed, options, is_leaf=callable))
