"""The state of optimizers between torch and fdl, by parameter name: a run goes on elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import DictKey, GetAttrKey

from fdl._checks import check_tensors, require
from fdl._types import Params
from fdl.interop import _lbfgs_state
from fdl.interop._optimizer_parts import (
    Part,
    Path,
    check_kinds,
    counts_in,
    injected_in,
    is_below,
    is_stateless,
    named,
    names_below,
    nearest,
    one_value,
    parts_in,
    skipping_in,
)
from fdl.interop._torch_optimizer import TorchOptimizers, listed, read
from fdl.interop.scheduler_state import replayed
from fdl.interop.tensors import to_jax, to_tensor
from fdl.optim import AdagradState, LBFGSState, SGDState, SparseAdamState

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

FROM, TO = "optimizer_from_torch", "optimizer_to_torch"


def optimizer_from_torch(
    source: Any,
    *,
    like: optax.GradientTransformation,
    params: Params,
    names: Sequence[str] | None = None,
    steps: int | None = None,
) -> optax.OptState:
    """Copies the state of a torch optimizer, so that its run goes on in JAX.

    Args:
        source: a ``torch.optim.Optimizer`` or its ``state_dict()``; a list of these where torch has
            several, as Muon for the matrices and AdamW for the rest.
        like: the transform that goes on: one of fdl's optimizers with the same options, or any
            composition of Optax that holds some: chains, groups, wrappers.
        params: the parameters as they are now, by torch's names.
        names: the name of each parameter in the order in which torch's optimizer got them, as
            ``[name for name, _ in module.named_parameters()]``; not needed where it was made from
            ``module.named_parameters()``.
        steps: the number of updates so far. Torch's SGD, Muon and LBFGS do not keep it; it is
            needed where fdl's state does, and for their schedules. With one scheduler step an
            update it is ``scheduler.last_epoch``. Where given, schedules go on from it, also where
            the optimizer counted fewer: gradient scaling skips updates.

    Returns:
        What ``like.init(params)`` gives, filled: every state of fdl's optimizers, the counts of
        schedules, and numbers of ``optax.inject_hyperparams`` that are options of torch's group,
        such as the learning rate. What torch has no counterpart of stays as it is made. An
        optimizer before its first step gives the fresh state.

    Raises:
        ValueError: if names, tensors or options do not fit, listing all that do not; if a count is
            needed that torch does not keep, or parameters of one state have different ones.
        TypeError: for float64 tensors without x64, or a torch optimizer of another kind.

    Example:
        >>> import fdl, optax, torch
        >>> module = torch.nn.Linear(2, 1)
        >>> theirs = torch.optim.Adam(module.named_parameters(), lr=0.1)
        >>> module(torch.ones(1, 2)).sum().backward()
        >>> theirs.step()
        >>> params = {name: fdl.interop.to_jax(p) for name, p in module.named_parameters()}
        >>> ours = fdl.optim.adam(lr=0.1)
        >>> state = fdl.interop.optimizer_from_torch(theirs, like=ours, params=params)
        >>> int(optax.tree.get(state, "step")), optax.tree.get(state, "exp_avg")["bias"]
        (1, Array([0.1], dtype=float32))

    Torch: ``optimizer.load_state_dict``, which goes by position, not by name. As there, tensors are
    cast to the dtype of the state that they go into.
    """
    torch = read(FROM, source, names)
    leaves = {named(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    if unknown := [repr(name) for name in torch.slots if name not in leaves]:
        raise ValueError(
            f"{FROM}: names: expected names of params, got {', '.join(unknown)}, which it lacks. "
            "Both go by the names of module.named_parameters()."
        )
    state = like.init(params)
    parts = parts_in(state, flat=_flattened(torch))
    check_kinds(FROM, parts, torch)
    begun = _begun(parts, torch)
    _check_entries(begun, torch)
    filled: dict[Path, Any] = {}
    for part in begun:
        filled |= _filled(part, torch, leaves, steps)
    filled |= _filled_counts(state, parts, filled, steps)
    for path, place, key, _ in injected_in(state):
        owners = names_below(path, parts, torch)
        values = {n: float(torch.group(n)[key]) for n in owners if key in torch.group(n)}
        if values:
            filled[place] = one_value(FROM, key, values)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(filled[path], leaf.dtype) if path in filled else leaf, state
    )


def optimizer_to_torch(
    opt_state: optax.OptState,
    *,
    like: Optimizer | Sequence[Optimizer],
    names: Sequence[str] | None = None,
    scheduler: LRScheduler | Sequence[LRScheduler] | None = None,
    steps: int | None = None,
) -> Any:
    """Copies the state of fdl's optimizers, so that their run goes on in torch.

    Args:
        opt_state: of any composition that holds fdl's optimizers.
        like: the torch optimizer that goes on, or a list of several.
        names: as in :func:`optimizer_from_torch`.
        scheduler: a torch scheduler of that optimizer, fresh or no further than `opt_state`. The
            learning rate, momentum and betas are then those that it sets by now. It is stepped on a
            copy; its own state is what :func:`scheduler_to_torch` gives.
        steps: how often the scheduler has been stepped by now; None is once an update.

    Returns:
        What ``like.load_state_dict`` takes; for a list, a list. Options are those of `like`, but
        for what `scheduler` sets and what ``optax.inject_hyperparams`` holds.

    Raises:
        ValueError: if names, shapes or options do not fit, listing all that do not; if the
            scheduler is further than `opt_state`.
        TypeError: if `like` is a torch optimizer of another kind, or `scheduler` needs metrics.

    Example:
        >>> import fdl, torch
        >>> module = torch.nn.Linear(2, 1)
        >>> params = {name: fdl.interop.to_jax(p) for name, p in module.named_parameters()}
        >>> ours = fdl.optim.adam(lr=0.1)
        >>> _, state = ours.update(params, ours.init(params), params)
        >>> theirs = torch.optim.Adam(module.named_parameters(), lr=0.1)
        >>> theirs.load_state_dict(fdl.interop.optimizer_to_torch(state, like=theirs))
        >>> theirs.state[module.bias]["step"]
        tensor(1.)

    Torch: ``optimizer.state_dict()``. What it has no place for is left out: the gradients that
    ``fdl.optim.accumulate`` has added up so far, the scale of ``fdl.optim.grad_scaler`` and the
    wide copies of ``fdl.optim.mixed_precision``.
    """
    require("torch", extra="torch", purpose=TO)
    likes = listed(like)
    torch = read(TO, likes, names)
    parts = parts_in(opt_state, flat=_flattened(torch))
    check_kinds(TO, parts, torch)
    sizes = _check_parameters(likes, parts, torch)
    dicts = [
        {**d, "state": {}, "param_groups": copy.deepcopy(d["param_groups"])} for d in torch.dicts
    ]
    for part in parts:
        for name, entry in _entries(part, sizes).items():
            slot = torch.slots[name]
            dicts[slot.optimizer]["state"][slot.index] = entry
    for one in [] if scheduler is None else listed(scheduler):
        taken = _taken(opt_state, parts) if steps is None else steps
        groups = replayed(TO, one, taken).optimizer.param_groups
        for group, now in zip(dicts[_owner(one, likes)]["param_groups"], groups, strict=True):
            group |= now
    for path, _, key, value in injected_in(opt_state):
        for slot in {torch.slots[name] for name in names_below(path, parts, torch)}:
            group = dicts[slot.optimizer]["param_groups"][slot.group]
            if key in group:
                old = group[key]
                new = value.item()
                group[key] = old.new_tensor(new) if hasattr(old, "new_tensor") else new
    return dicts if isinstance(like, Sequence) else dicts[0]


def _flattened(torch: TorchOptimizers) -> list[str]:
    """The parameters of torch's L-BFGS, in its order."""
    return [name for name in torch.slots if "history_size" in torch.group(name)]


def _begun(parts: list[Part], torch: TorchOptimizers) -> list[Part]:
    """The states that torch has begun.

    Raises:
        ValueError: if torch has begun some parameters of a state and not the others.
    """
    begun, problems = [], []
    for part in parts:
        names = part.names[:1] if isinstance(part.state, LBFGSState) else part.names
        known = [name for name in names if name in torch.slots]
        without = [name for name in known if not torch.entry(name)]
        problems += [f"{name!r} is not in torch's optimizer" for name in names if name not in known]
        if len(without) < len(known):
            begun.append(part)
            problems += [f"{name!r} has had no gradient in torch yet" for name in without]
    if problems:
        raise ValueError(
            f"{FROM}: expected a state of torch's for every parameter, but {'; '.join(problems)}. "
            "For a list of optimizers pass all of them; parameters without gradient are skipped by "
            "fdl.optim.skip_absent, or frozen by fdl.optim.param_groups."
        )
    return begun


def _check_entries(begun: list[Part], torch: TorchOptimizers) -> None:
    """Checks that torch holds just what the states do, in the same shapes."""
    expected: dict[str, Any] = {}
    for part in begun:
        expected |= {f"{name} {field}": leaf for name, field, _, leaf in part.leaves()}
        expected |= {
            f"{n} {key}": value for key, value in part.scalars().items() for n in part.names
        }
    got = {
        f"{name} {field}": value if hasattr(value, "shape") else np.asarray(value)
        for name in torch.slots.keys() - set(_flattened(torch))
        for field, value in torch.entry(name).items()
    }
    check_tensors(f"{FROM}: the values in torch's state", expected, got)


def _filled(
    part: Part, torch: TorchOptimizers, params: dict[str, jax.Array], steps: int | None
) -> dict[Path, Any]:
    """New values of a state, by their places."""
    if isinstance(part.state, LBFGSState):
        sizes = {name: params[name].size for name in part.names}
        entry = torch.entry(part.names[0])
        state = _lbfgs_state.from_torch(entry, part.state, sizes, _needed(steps))
        return {part.place(field): value for field, value in state._asdict().items()}
    found: dict[Path, Any] = {
        place: to_jax(torch.entry(name)[field]).astype(leaf.dtype)
        for name, field, place, leaf in part.leaves()
    }
    for field in part.scalars():
        values = {name: float(torch.entry(name)[field]) for name in part.names}
        found[part.place(field)] = one_value(FROM, field, values)
    if isinstance(part.state, SGDState):
        found[part.place("step")] = _needed(steps)
    return found


def _filled_counts(
    state: optax.OptState, parts: list[Part], filled: dict[Path, Any], steps: int | None
) -> dict[Path, Any]:
    """Counts that schedules go by, by their places: those of the states beside them, or `steps`."""

    def count(near: list[Part]) -> int:
        values = {part.names[0]: _step(part, filled) for part in near}
        found = one_value(FROM, "step", values)
        return _needed(steps if found is None else found)

    apart = dict(skipping_in(state))
    found: dict[Path, Any] = {}
    for path, skipping in apart.items():
        inside = [part for part in parts if is_below(part.path, path)]
        begun = [part for part in inside if _is_begun(part, filled)]
        seen = {name for part in begun for name in part.names}
        totals = {_step(part, filled) for part in begun} or {0 if inside else None}
        total = totals.pop() if steps is None and len(totals) == 1 else steps
        found[(*path, GetAttrKey("step"))] = _needed(total)
        found |= {(*path, GetAttrKey("seen"), DictKey(n)): n in seen for n in skipping.seen}
    for path, _ in counts_in(state):
        own = any(is_below(path, outer) for outer in apart)
        found[path] = count(nearest(path, parts)) if own or steps is None else steps
    return found


def _is_begun(part: Part, filled: dict[Path, Any]) -> bool:
    return any(is_below(place, part.path) for place in filled)


def _step(part: Part, filled: dict[Path, Any]) -> int | None:
    """The count of updates of a state; None where neither it nor torch keeps one."""
    if part.place("step") in filled:
        return int(filled[part.place("step")])
    return None if part.idle or _is_begun(part, filled) else 0


def _needed(steps: int | None) -> int:
    if steps is None:
        raise ValueError(
            f"{FROM}: steps: expected the number of updates so far, which torch does not keep for "
            "this optimizer, got None. Pass steps=scheduler.last_epoch where the scheduler steps "
            "once an update; 0 for a new run."
        )
    return steps


def _check_parameters(
    likes: list[Optimizer], parts: list[Part], torch: TorchOptimizers
) -> dict[str, int]:
    """Checks that the states are of torch's parameters, all of them; returns their sizes."""
    tensors = [p for one in likes for group in one.param_groups for p in group["params"]]
    owned = dict(zip(torch.slots, tensors, strict=True))
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for part in parts:
        for name, _, _, leaf in part.leaves():
            shapes.setdefault(name, []).append(leaf.shape)
        if isinstance(part.state, LBFGSState):
            total = sum(owned[name].numel() for name in part.names)
            shapes |= {name: [tuple(owned[name].shape)] for name in part.names}
            if total != part.state.d.size:
                raise ValueError(
                    f"{TO}: opt_state: expected as many elements as torch's parameters have, "
                    f"{total}, got {part.state.d.size}. Is it the state of another model?"
                )
    got = {n: jax.ShapeDtypeStruct(np.broadcast_shapes(*s), float) for n, s in shapes.items()}
    expected = {
        name: tensor
        for name, tensor in owned.items()
        if name in got or (tensor.requires_grad and not is_stateless(torch.group(name)))
    }
    check_tensors(f"{TO}: the parameters of opt_state", expected, got)
    return {name: tensor.numel() for name, tensor in owned.items()}


def _entries(part: Part, sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
    """What torch holds for each parameter of a state; nothing before its first step."""
    torch, state = require("torch", extra="torch", purpose=TO), part.state
    if isinstance(state, LBFGSState):
        entry = _lbfgs_state.to_torch(state, {name: sizes[name] for name in part.names})
        return {part.names[0]: entry} if entry else {}
    if int(getattr(state, "step", 1)) == 0 and not isinstance(state, AdagradState):
        return {}  # torch's Adagrad alone makes its state when it is made itself
    counted = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
    entries: dict[str, dict[str, Any]] = {}
    for name in part.names:
        entries[name] = {key: to_tensor(value) for key, value in part.scalars().items()}
        if "step" in entries[name]:
            entries[name]["step"] = entries[name]["step"].to(counted)
        if isinstance(state, SparseAdamState):
            entries[name]["step"] = int(state.step)
    for name, field, _, leaf in part.leaves():
        entries[name][field] = to_tensor(leaf)
    return entries


def _taken(opt_state: optax.OptState, parts: list[Part]) -> int:
    """How many steps a scheduler has taken that steps once an update."""
    apart = dict(skipping_in(opt_state))
    counts = [skipping.step for skipping in apart.values()]
    counts += [
        count
        for path, count in counts_in(opt_state)
        if not any(is_below(path, outer) for outer in apart)
    ]
    counts = counts or [part.state.step for part in parts if hasattr(part.state, "step")]
    found = sorted({int(count) for count in counts})
    if len(found) != 1:
        raise ValueError(
            f"{TO}: steps: expected one count of updates in opt_state, got {found or 'none'}. Pass "
            "steps=, how often the scheduler has been stepped."
        )
    return found[0]


def _owner(scheduler: LRScheduler, likes: list[Optimizer]) -> int:
    """Which of the optimizers a scheduler is of."""
    for number, optimizer in enumerate(likes):
        if scheduler.optimizer is optimizer:
            return number
    raise ValueError(
        f"{TO}: scheduler: expected one of the optimizer given as like, got a "
        f"{type(scheduler).__name__} of another. Make the scheduler with that optimizer."
    )
