"""Hearing taps: evaluates a traced function equation by equation, and hands over what is marked."""

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxprs_in_params

from fdl._equations import bound, evaluate
from fdl._taps import listening, tap_p

TRANSPARENT = frozenset({"jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint"})
"""Calls that only group equations; taps inside them are heard, inside a loop they are not."""


CUSTOMISED = frozenset({"custom_jvp_call", "custom_vjp_call"})
"""Calls that compute one thing where they are differentiated and may compute another elsewhere."""


class Mark(NamedTuple):
    """One marked value.

    Attributes:
        name: of the tap, the k-th under one name (k > 1) as ``name#k``; ``""`` too for a mask.
        leaf: which part of the tapped pytree.
        keep: for a dropout mask the probability of keeping an element, else None.
    """

    name: str
    leaf: str
    keep: float | None


class Heard(NamedTuple):
    """What is known of a function without computing it.

    Attributes:
        marks: with the shapes of what they mark.
        hidden: names of taps out of reach.
        customised: whether it has derivatives written out, by ``custom_jvp`` or ``custom_vjp``: it
            may then compute something else where nothing is differentiated.
    """

    marks: list[tuple[Mark, jax.ShapeDtypeStruct]]
    hidden: list[str]
    customised: bool


Listener = Callable[[Mark, Any], Any]


def listen(
    function: Callable[..., Any], listener: Listener, *, modules: bool = True
) -> Callable[..., Any]:
    """The function with ``value = listener(mark, value)`` at every mark, in order of execution.

    Args:
        function: of arrays.
        listener: gets a mark and the value, returns the value to go on with.
        modules: whether modules of fdl, Flax and Equinox mark what they return.
    """

    def heard(*args: Any) -> Any:
        with listening() if modules else nullcontext():
            closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        outputs = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(args), listener, Counter())
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return heard


def hear(function: Callable[..., Any], *args: Any) -> Heard:
    """Finds out what a function marks, and whether it is customised, without computing it."""
    marks: list[tuple[Mark, jax.ShapeDtypeStruct]] = []

    def note(mark: Mark, value: Any) -> Any:
        marks.append((mark, jax.ShapeDtypeStruct(value.shape, value.dtype)))
        return value

    jax.eval_shape(listen(function, note), *args)
    with listening():
        closed = jax.make_jaxpr(function)(*args)
    hidden = sorted(set(_hidden(closed.jaxpr)))
    return Heard(marks, hidden, is_customised(closed.jaxpr))


def is_customised(jaxpr: Jaxpr) -> bool:
    """Whether some derivative is written out, so that values may differ where none is taken."""
    return _has(jaxpr, lambda equation: equation.primitive.name in CUSTOMISED)


def _evaluate(
    jaxpr: Jaxpr, consts: Any, args: Any, listener: Listener, calls: Counter
) -> list[Any]:
    def rule(equation: Any, inputs: list[Any]) -> list[Any]:
        if equation.primitive is tap_p:
            return [listener(_mark(equation.params, calls), inputs[0])]
        if _transparent(equation):
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            return _evaluate(*_opened(inner), inputs, listener, calls)
        return bound(equation, inputs)

    return evaluate(jaxpr, consts, args, rule)


def _mark(params: dict[str, Any], calls: Counter) -> Mark:
    if "keep" in params:
        return Mark("", "", params["keep"])
    calls[params["name"], params["leaf"]] += 1
    call = calls[params["name"], params["leaf"]]
    name = params["name"] if call == 1 else f"{params['name']}#{call}"
    return Mark(name, params["leaf"], None)


def _transparent(equation: Any) -> bool:
    return equation.primitive.name in TRANSPARENT and any(
        _has(inner, lambda e: e.primitive is tap_p) for inner in jaxprs_in_params(equation.params)
    )


def _opened(inner: Any) -> tuple[Jaxpr, Any]:
    return (inner.jaxpr, inner.consts) if isinstance(inner, ClosedJaxpr) else (inner, ())


def _has(jaxpr: Jaxpr, wanted: Callable[[Any], bool]) -> bool:
    """Whether some equation, however deep, is one that is wanted."""
    return any(
        wanted(equation) or any(_has(inner, wanted) for inner in jaxprs_in_params(equation.params))
        for equation in jaxpr.eqns
    )


def _hidden(jaxpr: Jaxpr) -> list[str]:
    """Names of taps inside loops and branches."""
    found = []
    for equation in jaxpr.eqns:
        for inner in jaxprs_in_params(equation.params):
            found += _hidden(inner) if _transparent(equation) else _names(inner)
    return found


def _names(jaxpr: Jaxpr) -> list[str]:
    own = [e.params.get("name", "a dropout mask") for e in jaxpr.eqns if e.primitive is tap_p]
    inner = [inner for e in jaxpr.eqns for inner in jaxprs_in_params(e.params)]
    return own + [name for part in inner for name in _names(part)]
