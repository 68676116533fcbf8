"""Torch's optimizers seen by parameter name; torch itself goes by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Slot(NamedTuple):
    """Where a parameter stands in torch: in which optimizer, group and position."""

    optimizer: int
    group: int
    index: int


class TorchOptimizers(NamedTuple):
    """One or several optimizers of torch.

    Attributes:
        dicts: the ``state_dict()`` of each.
        kinds: the names of each one's classes, none where only its ``state_dict`` is known.
        slots: by parameter name, in torch's order.
    """

    dicts: list[dict[str, Any]]
    kinds: list[list[str]]
    slots: dict[str, Slot]

    def entry(self, name: str) -> dict[str, Any]:
        """What torch holds for a parameter; empty before its first step."""
        slot = self.slots[name]
        found = self.dicts[slot.optimizer]["state"].get(slot.index, {})
        return {key: value for key, value in found.items() if value is not None}

    def group(self, name: str) -> dict[str, Any]:
        """The options of a parameter."""
        slot = self.slots[name]
        return self.dicts[slot.optimizer]["param_groups"][slot.group]

    def kind(self, name: str) -> list[str]:
        """The classes of its optimizer."""
        return self.kinds[self.slots[name].optimizer]


def read(caller: str, source: Any, names: Sequence[str] | None) -> TorchOptimizers:
    """Reads optimizers of torch, or what their ``state_dict()`` gave.

    Raises:
        ValueError: if names are missing, repeated or not as many as the parameters.
    """
    sources = listed(source)
    kinds = [
        [] if isinstance(s, Mapping) else [kind.__name__ for kind in type(s).__mro__]
        for s in sources
    ]
    dicts: list[dict[str, Any]] = [
        dict(s) if isinstance(s, Mapping) else s.state_dict() for s in sources
    ]
    slots = [
        Slot(number, place, index)
        for number, state in enumerate(dicts)
        for place, group in enumerate(state["param_groups"])
        for index in group["params"]
    ]
    names = _own_names(caller, dicts) if names is None else list(names)
    if len(names) != len(slots) or len(set(names)) != len(names):
        raise ValueError(
            f"{caller}: names: expected {len(slots)} different ones, one for each parameter of "
            f"torch's optimizer, got {len(names)}, {len(set(names))} of them different."
        )
    return TorchOptimizers(dicts, kinds, dict(zip(names, slots, strict=True)))


def listed(one_or_more: Any) -> list[Any]:
    """A list of what may have been given alone."""
    return list(one_or_more) if isinstance(one_or_more, Sequence) else [one_or_more]


def _own_names(caller: str, dicts: list[dict[str, Any]]) -> list[str]:
    groups = [group for state in dicts for group in state["param_groups"]]
    if not all("param_names" in group for group in groups):
        raise ValueError(
            f"{caller}: names: expected the parameters' names, for torch's optimizer does not know "
            "them. Pass names=[name for name, _ in module.named_parameters()], in the order in "
            "which it got the parameters, or make it from module.named_parameters()."
        )
    return [name for group in groups for name in group["param_names"]]
