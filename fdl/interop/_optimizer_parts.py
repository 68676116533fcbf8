"""The states of fdl's optimizers inside any composition of Optax, and their classes in torch."""

from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any, NamedTuple

import jax
import optax
from jax.tree_util import DictKey, GetAttrKey, keystr, tree_leaves_with_path

from fdl import optim
from fdl.interop._torch_optimizer import TorchOptimizers

Path = tuple[Any, ...]

CLASSES: dict[type, list[str]] = {
    optim.AdadeltaState: ["Adadelta"],
    optim.AdafactorState: ["Adafactor"],
    optim.AdagradState: ["Adagrad"],
    optim.AdamState: ["Adam", "AdamW"],
    optim.AdamaxState: ["Adamax"],
    optim.ASGDState: ["ASGD"],
    optim.LBFGSState: ["LBFGS"],
    optim.MuonState: ["Muon"],
    optim.NAdamState: ["NAdam"],
    optim.RAdamState: ["RAdam"],
    optim.RMSpropState: ["RMSprop"],
    optim.RpropState: ["Rprop"],
    optim.SGDState: ["SGD"],
    optim.SparseAdamState: ["SparseAdam"],
}
SCALARS = {"step", "mu_product", "eta", "mu"}
"""Fields that are one number for all parameters here, and one for each in torch."""

COUNTS: dict[type, str] = {
    optax.ScaleByScheduleState: "count",
    optax.MultiStepsState: "gradient_step",
    optax.InjectStatefulHyperparamsState: "count",
}
"""Optax's states that count updates, and the field that does."""

SWITCHES: list[tuple[type, str, str]] = [
    (optim.AdamState, "max_exp_avg_sq", "amsgrad"),
    (optim.RMSpropState, "grad_avg", "centered"),
    (optim.RMSpropState, "momentum_buffer", "momentum"),
    (optim.SGDState, "momentum_buffer", "momentum"),
]
"""States, their fields that an option brings, and its name."""


class Part(NamedTuple):
    """The state of one of fdl's optimizers.

    Attributes:
        path: where it stands in the whole.
        state: itself.
        names: of its parameters; for L-BFGS in torch's order.
        idle: whether it is of an SGD whose momentum is 0 by injection: torch's keeps no state.
    """

    path: Path
    state: Any
    names: list[str]
    idle: bool = False

    def place(self, field: str) -> Path:
        """Where a field stands in the whole."""
        return (*self.path, GetAttrKey(field))

    def scalars(self) -> dict[str, jax.Array]:
        """The fields that torch has a number for with each parameter."""
        if isinstance(self.state, optim.LBFGSState | optim.SGDState):
            return {}
        return {key: value for key, value in self.state._asdict().items() if key in SCALARS}

    def leaves(self) -> Iterator[tuple[str, str, Path, jax.Array]]:
        """Name, field, place and value of all that belongs to one parameter each."""
        if isinstance(self.state, optim.LBFGSState):
            return
        for field, tree in self.state._asdict().items():
            if field not in SCALARS:
                for path, leaf in tree_leaves_with_path(tree):
                    yield named(path), field, (*self.place(field), *path), leaf


def named(path: Path) -> str:
    """The parameter's name, from a path in a tree like the parameters."""
    return keystr(path, simple=True, separator=".")


def parts_in(state: Any, *, flat: list[str]) -> list[Part]:
    """All states of fdl's optimizers in a tree; `flat` are the names that L-BFGS flattens."""
    still = [
        path
        for path, _, key, value in injected_in(state)
        if key == "momentum" and not isinstance(value, jax.core.Tracer) and value == 0
    ]
    parts = []
    for path, found in _found(state, tuple(CLASSES)):
        part = Part(path, found, flat)
        if not isinstance(found, optim.LBFGSState):
            part = part._replace(names=list(dict.fromkeys(name for name, *_ in part.leaves())))
        idle = isinstance(found, optim.SGDState) and any(is_below(path, outer) for outer in still)
        if part.names:
            parts.append(part._replace(idle=idle))
    return parts


def is_below(path: Path, outer: Path) -> bool:
    """Whether a place is inside another."""
    return path[: len(outer)] == outer


def is_stateless(group: Mapping[str, Any]) -> bool:
    """Whether a group of torch's is of an SGD without momentum, which keeps no state."""
    return "dampening" in group and group["momentum"] == 0


def counts_in(state: Any) -> Iterator[tuple[Path, jax.Array]]:
    """Every count of updates that Optax keeps, and its place."""
    for path, found in _found(state, tuple(COUNTS)):
        field = COUNTS[type(found)]
        yield (*path, GetAttrKey(field)), getattr(found, field)
        for key, state in getattr(found, "hyperparams_states", {}).items():
            yield (
                (*path, GetAttrKey("hyperparams_states"), DictKey(key), GetAttrKey("count")),
                state.count,
            )


def skipping_in(state: Any) -> Iterator[tuple[Path, optim.SkipAbsentState]]:
    """Every state that keeps the parameters apart, and its place."""
    yield from _found(state, (optim.SkipAbsentState,))


def injected_in(state: Any) -> Iterator[tuple[Path, Path, str, jax.Array]]:
    """Every injected number that is no schedule's: its optimizer's place, its own, its name."""
    for path, found in _found(state, (optax.InjectStatefulHyperparamsState,)):
        for key, value in found.hyperparams.items():
            if key not in found.hyperparams_states:
                yield path, (*path, GetAttrKey("hyperparams"), DictKey(key)), key, value


def _found(tree: Any, kinds: tuple[type, ...]) -> Iterator[tuple[Path, Any]]:
    """Every node of these kinds, those inside others too."""
    yield from ((path[1:], node) for path, node in _inside([tree], kinds))


def _inside(tree: Any, kinds: tuple[type, ...]) -> Iterator[tuple[Path, Any]]:
    def is_leaf(node: Any) -> bool:
        return node is not tree and isinstance(node, kinds)

    for path, node in tree_leaves_with_path(tree, is_leaf=is_leaf):
        if isinstance(node, kinds):
            yield path, node
            yield from (((*path, *below), inner) for below, inner in _inside(node, kinds))


def nearest(path: Path, parts: list[Part]) -> list[Part]:
    """The parts with which a place shares most of its path: those of its chain or its group."""

    def shared(part: Part) -> int:
        pairs = zip(path, part.path, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    most = max(map(shared, parts), default=0)
    return [part for part in parts if shared(part) == most]


def names_below(path: Path, parts: list[Part], torch: TorchOptimizers) -> list[str]:
    """The parameters of the optimizer at a place; all, where it keeps nothing of them."""
    below = [name for part in parts if is_below(part.path, path) for name in part.names]
    return [name for name in below or torch.slots if name in torch.slots]


def check_kinds(caller: str, parts: list[Part], torch: TorchOptimizers) -> None:
    """Checks that states meet optimizers of their own kind, with the options that bring fields.

    Raises:
        TypeError: if an optimizer is of another kind.
        ValueError: if an option is on at one side only.
    """
    for part in parts:
        kinds = CLASSES[type(part.state)]
        for name in part.names:
            found = torch.kind(name) if name in torch.slots else []
            if found and not set(found) & set(kinds):
                raise TypeError(
                    f"{caller}: expected torch.optim.{' or '.join(kinds)} for {name!r}, as "
                    f"{type(part.state).__name__} asks, got {found[0]}. Make both sides the same "
                    "optimizer, or pass a list of optimizers."
                )
    problems = dict.fromkeys(text for part in parts for text in _switched(part, torch))
    if problems:
        raise ValueError(f"{caller}: {' '.join(problems)} Make both sides with the same options.")


def _switched(part: Part, torch: TorchOptimizers) -> Iterator[str]:
    """What is wrong with the options of each parameter."""
    groups = [torch.group(name) for name in part.names if name in torch.slots]
    found = [
        (option, getattr(part.state, field) is not None and not part.idle)
        for kind, field, option in SWITCHES
        if isinstance(part.state, kind)
    ]
    for option, here in found:
        for group in groups:
            if bool(group[option]) != here:
                yield f"{option}: expected as in fdl's state, {here}, got {group[option]} in torch."
    if isinstance(part.state, optim.LBFGSState):
        here, there = len(part.state.ro), groups[0]["history_size"]
        if here != there:
            yield f"history_size: expected as in fdl's state, {here}, got {there} in torch."


def one_value(caller: str, what: str, values: Mapping[str, Any]) -> Any:
    """The value that all parameters have.

    Raises:
        ValueError: if they differ.
    """
    firsts = {value: name for name, value in reversed(list(values.items()))}
    if len(firsts) > 1:
        listed = ", ".join(
            f"{value} for {name!r}" for value, name in reversed(list(firsts.items()))
        )
        raise ValueError(
            f"{caller}: {what}: expected one value for all parameters of an optimizer, got "
            f"{listed}. Torch skips a parameter without gradient, so that its step falls behind: "
            "fdl.optim.skip_absent keeps a state for each. Groups with options of their own are "
            "those of fdl.optim.param_groups."
        )
    return next(iter(firsts), None)
