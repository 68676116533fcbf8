"""Tensors and optimizer state from one model into another."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey, keystr, tree_leaves_with_path, tree_map_with_path

from fdl._types import Buffers, Model, Params

Inside = Callable[[str], bool]
"""Whether a tensor of this name is in the part that is to differ."""


class Carried(NamedTuple):
    """Tensors for a changed model.

    Attributes:
        params: for the new model.
        buffers: likewise.
        source: for each tensor that was taken over, the name that it had.
        fresh: names in the new model that were drawn anew.
        dropped: names in the old model that have no place in the new one.
    """

    params: Params
    buffers: Buffers
    source: dict[str, str]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]


def carry_over(
    params: Params,
    buffers: Buffers,
    *,
    like: Model,
    key: jax.Array,
    renamed: Mapping[str, str | None] | None = None,
) -> Carried:
    """Takes over what fits another model by name and shape, and draws the rest.

    Args:
        params: of the model as it was.
        buffers: likewise.
        like: the model as it is to be.
        key: what the rest is drawn from.
        renamed: old name to new one, or to None for what is not to be taken over; names that it
            does not have stay.

    Returns:
        The tensors, and what became of each: nothing is lost without being listed.

    Raises:
        ValueError: if `renamed` has a name that no tensor has, or two tensors get one name.

    Example:
        >>> import fdl, jax
        >>> small, wide = fdl.models.mlp([4, 8, 3]), fdl.models.mlp([4, 8, 5])
        >>> carried = fdl.models.surgery.carry_over(
        ...     *small.init(jax.random.key(0)), like=wide, key=jax.random.key(1)
        ... )
        >>> carried.fresh
        ('2.bias', '2.weight')

    Torch: ``load_state_dict(strict=False)``, which refuses other shapes.
    """
    old = {**params, **buffers}
    target = {name: (renamed or {}).get(name, name) for name in old}
    _check_renamed(old, target, renamed or {})
    new_params, new_buffers = like.init(key)
    new = {**new_params, **new_buffers}
    source = {
        goal: name
        for name, goal in target.items()
        if goal is not None and goal in new and new[goal].shape == old[name].shape
    }

    def filled(drawn: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return {name: old[source[name]] if name in source else drawn[name] for name in drawn}

    return Carried(
        filled(new_params),
        filled(new_buffers),
        source,
        tuple(sorted(new.keys() - source.keys())),
        tuple(sorted(old.keys() - set(source.values()))),
    )


def carry_opt_state(
    opt_state: optax.OptState, carried: Carried, optimizer: optax.GradientTransformation
) -> optax.OptState:
    """Takes over an optimizer's state for the tensors that were taken over.

    Counts go on, and averages of parameters that are kept; those of new parameters are as the
    optimizer begins with them.

    Args:
        opt_state: of the old parameters.
        carried: what became of these.
        optimizer: for the new parameters: the same, in any composition of Optax.

    Returns:
        What ``optimizer.init(carried.params)`` gives, filled.

    Raises:
        ValueError: if the state has nothing for a tensor that was taken over, as in another
            optimizer, or one that had it frozen; or if parameters are joined in it, as in L-BFGS.

    Example:
        >>> import fdl, jax
        >>> from fdl.models import surgery
        >>> old, new = fdl.models.mlp([4, 8, 3]), fdl.models.mlp([4, 8, 5])
        >>> optimizer = fdl.optim.skip_absent(fdl.optim.adamw, lr=1e-3)
        >>> params, buffers = old.init(jax.random.key(0))
        >>> state = optimizer.init(params)
        >>> carried = surgery.replace_head(
        ...     params, buffers, like=new, head="2", key=jax.random.key(1)
        ... )
        >>> state = surgery.carry_opt_state(state, carried, optimizer)

    Torch: ``add_param_group`` for the new parameters. There each parameter counts its own steps;
    ``fdl.optim.skip_absent`` does so too and equals torch. The plain transforms have one count for
    all, so that the bias correction of a new parameter is over before it begins: with Adam's
    defaults, its first step becomes up to 3.2 times as large.
    """
    old = dict(tree_leaves_with_path(opt_state))
    lost = []

    def carry(path: tuple[Any, ...], leaf: Any) -> Any:
        names = {key.key for key in path if isinstance(key, DictKey)}
        if names & set(carried.fresh):
            return leaf
        before = tuple(
            DictKey(carried.source.get(key.key, key.key)) if isinstance(key, DictKey) else key
            for key in path
        )
        found = old.get(before)
        if found is None and not names & carried.source.keys():
            return leaf  # the count of a group that is new as a whole
        if found is None or jnp.shape(found) != jnp.shape(leaf):
            lost.append(keystr(path))
            return leaf
        return found

    state = tree_map_with_path(carry, optimizer.init(carried.params))
    if lost:
        raise ValueError(
            f"carry_opt_state: opt_state: expected the state of the same optimizer, in the same "
            f"groups, with a value for each parameter; it has none that fits {', '.join(lost)}. "
            "Begin anew with optimizer.init(params), as for parameters that were frozen."
        )
    return state


def replace_head(
    params: Params, buffers: Buffers, *, like: Model, head: str, key: jax.Array
) -> Carried:
    """Draws a new head, and takes over everything else.

    Args:
        params: of the model with the old head, such as 1000 classes.
        buffers: likewise.
        like: the model with the new head.
        head: name of the module that is the head: ``"fc"``, ``"classifier.6"``.
        key: what the head is drawn from, also where it keeps its size.

    Returns:
        The tensors for `like`; `fresh` lists those of the head.

    Raises:
        ValueError: if `like` has no such module, or anything else does not fit; all is listed.

    Example:
        >>> import fdl, jax
        >>> old, new = fdl.models.mlp([4, 8, 1000]), fdl.models.mlp([4, 8, 10])
        >>> carried = fdl.models.surgery.replace_head(
        ...     *old.init(jax.random.key(0)), like=new, head="2", key=jax.random.key(1)
        ... )
        >>> carried.params["2.weight"].shape, sorted(carried.source)
        ((10, 8), ['0.bias', '0.weight'])

    Torch: ``model.fc = nn.Linear(model.fc.in_features, 10)``.
    """
    gone = {name: None for name in (*params, *buffers) if name.startswith(f"{head}.")}
    carried = carry_over(params, buffers, like=like, key=key, renamed=gone)
    if not any(name.startswith(f"{head}.") for name in carried.fresh):
        raise ValueError(
            f"replace_head: head: expected a module of the new model, got {head!r}. Its tensors "
            f"are {sorted({**carried.params, **carried.buffers})}."
        )
    check_inside("replace_head", carried, lambda name: name.startswith(f"{head}."), f"head {head}")
    return carried


def check_inside(caller: str, carried: Carried, inside: Inside, where: str) -> None:
    """Checks that nothing was drawn or lost but there."""
    wrong = [f"{name} is new or of another shape" for name in carried.fresh if not inside(name)]
    wrong += [f"{name} has no place" for name in carried.dropped if not inside(name)]
    if wrong:
        raise ValueError(
            f"{caller}: like: expected a model that differs in {where} alone, but "
            f"{'; '.join(wrong)}. Check its sizes, or use carry_over, which takes what fits."
        )


def _check_renamed(
    old: Mapping[str, Any], target: Mapping[str, str | None], renamed: Mapping[str, str | None]
) -> None:
    if unknown := sorted(renamed.keys() - old.keys()):
        raise ValueError(
            f"carry_over: renamed: expected names of tensors, got {unknown}. There are "
            f"{sorted(old)}."
        )
    goals = [goal for goal in target.values() if goal is not None]
    if twice := sorted({goal for goal in goals if goals.count(goal) > 1}):
        raise ValueError(
            f"carry_over: renamed: expected one tensor for each new name, got several for {twice}. "
            "Rename what has that name to None, or to another."
        )
