"""Layers whose weight is computed from other tensors at each call."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, wraps
from operator import attrgetter
from typing import Any, TypeVar, cast

import jax
from flax import nnx

from fdl._variables import assign
from fdl.nn._module import Module

Layer = TypeVar("Layer", bound=Module)


@dataclass(frozen=True)
class Reparametrization(ABC):
    """How a weight is computed, and from which of a layer's tensors.

    Attributes:
        name: the layer's attribute that it computes.
        paths: attribute paths of the tensors, which are the ends of torch's ``state_dict`` keys.
    """

    name: str
    paths: tuple[str, ...]

    @abstractmethod
    def weight(self, *tensors: jax.Array) -> jax.Array:
        """The weight, from the tensors at `paths`."""

    def iterated(self, *tensors: jax.Array) -> Sequence[jax.Array]:
        """The tensors for a call in training."""
        return tensors

    def of(self, layer: Module) -> jax.Array:
        """The weight of a layer."""
        return self.weight(*(variable[...] for variable in self._variables(layer)))

    def iterate(self, layer: Module) -> None:
        """Updates a layer's tensors before a call in training."""
        variables = self._variables(layer)
        old = [variable[...] for variable in variables]
        for variable, before, after in zip(variables, old, self.iterated(*old), strict=True):
            if after is not before:
                assign(variable, after)

    def _variables(self, layer: Module) -> list[nnx.Variable]:
        return [attrgetter(path)(layer) for path in self.paths]


def parameter_of(function: str, layer: Module, name: str) -> nnx.Param:
    """A layer's parameter.

    Raises:
        ValueError: if the layer has no such parameter, or computes it already.
    """
    found = vars(layer).get(name)
    if not isinstance(found, nnx.Param):
        names = sorted(k for k, value in vars(layer).items() if isinstance(value, nnx.Param))
        computed = [how.name for how in _reparametrizations(type(layer))]
        why = "which is computed from others already" if name in computed else "which is none"
        raise ValueError(
            f"{function}: name: expected a parameter of {type(layer).__name__}, one of {names}, "
            f"got {name!r}, {why}. Name a parameter of the layer itself."
        )
    return found


def reparametrized(
    layer: Layer, how: Reparametrization, variables: Sequence[nnx.Variable]
) -> Layer:
    """Has a layer compute a parameter; as in torch, the layer becomes one of a subclass.

    Args:
        layer: changed in place.
        how: what computes the parameter.
        variables: the tensors to compute it from, in the order of ``how.paths``.
    """
    delattr(layer, how.name)
    for path, variable in zip(how.paths, variables, strict=True):
        _put(layer, path, variable)
    return _as_class(layer, (*_reparametrizations(type(layer)), how))


def restored(function: str, layer: Layer, name: str, kind: type[Reparametrization]) -> Layer:
    """Makes a computed parameter a parameter again, in place, with its present value.

    Raises:
        ValueError: if the layer does not compute it so.
    """
    reparametrizations = _reparametrizations(type(layer))
    found = [how for how in reparametrizations if how.name == name and isinstance(how, kind)]
    if not found:
        raise ValueError(
            f"{function}: name: expected what {type(layer).__name__} computes, got {name!r}. "
            "Name the parameter that the layer was made to compute."
        )
    weight = found[0].of(layer)
    for path in found[0].paths:
        _drop(layer, path)
    _as_class(layer, tuple(how for how in reparametrizations if how not in found))
    setattr(layer, name, nnx.Param(weight))
    return layer


def _as_class(layer: Layer, reparametrizations: tuple[Reparametrization, ...]) -> Layer:
    plain = getattr(layer, "_plain", type(layer))
    kind = _subclass(plain, reparametrizations) if reparametrizations else plain
    object.__setattr__(layer, "__class__", kind)
    return layer


def _reparametrizations(kind: type) -> tuple[Reparametrization, ...]:
    return getattr(kind, "_reparametrizations", ())


@cache
def _subclass(plain: type[Module], reparametrizations: tuple[Reparametrization, ...]) -> type:
    """A subclass that computes some of its parameters; the same one for the same arguments.

    The layer's own code reads ``self.weight[...]``, and an array is what it was for a parameter.
    """
    call = cast(Any, plain).__call__

    @wraps(call)
    def iterate_and_call(self, *inputs, **named):
        if self.training:
            for how in reparametrizations:
                how.iterate(self)
        return call(self, *inputs, **named)

    computed = {how.name: property(how.of) for how in reparametrizations}
    known = {"_plain": plain, "_reparametrizations": reparametrizations, "__doc__": plain.__doc__}
    name = f"Parametrized{plain.__name__}"
    return type(plain)(name, (plain,), {"__call__": iterate_and_call, **known, **computed})


def _put(module: Module, path: str, variable: nnx.Variable) -> None:
    *inner, last = path.split(".")
    for name in inner:
        if not hasattr(module, name):
            setattr(module, name, Module())
        module = getattr(module, name)
    setattr(module, last, variable)


def _drop(module: Module, path: str) -> None:
    """Deletes a variable, and the modules that it leaves empty."""
    name, _, rest = path.partition(".")
    if rest:
        child = getattr(module, name)
        _drop(child, rest)
        if any(isinstance(value, nnx.Variable | nnx.Module) for value in vars(child).values()):
            return
    delattr(module, name)
