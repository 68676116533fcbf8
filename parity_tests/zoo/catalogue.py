"""All cases, by name; one that begins with a factory's name is a case of that factory."""

import inspect
from importlib import import_module
from pkgutil import iter_modules

import fdl
import zoo
from zoo.case import Case

_OTHER = ("case", "catalogue", "page")

CASES: dict[str, Case] = {
    name: case
    for module in iter_modules(zoo.__path__)
    if module.name not in _OTHER
    for name, case in getattr(import_module(f"zoo.{module.name}"), "CASES", {}).items()
}


def factory_of(name: str) -> str:
    """The factory that a case is of."""
    return name.partition(",")[0]


def factories() -> list[str]:
    """Every public function of fdl.models that makes a network."""
    public = ((name, getattr(fdl.models, name)) for name in fdl.models.__all__)
    return [
        name
        for name, value in public
        if inspect.isfunction(value)
        and inspect.signature(value, eval_str=True).return_annotation is fdl.Model
    ]


def firsts(*, heavy: bool) -> list[str]:
    """The first case of every factory that has one, light or heavy."""
    found: dict[str, str] = {}
    for name, case in CASES.items():
        if case.heavy == heavy:
            found.setdefault(factory_of(name), name)
    return list(found.values())
