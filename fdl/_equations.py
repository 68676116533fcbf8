"""Traced functions, computed again one operation after another by a rule for each."""

from collections.abc import Callable, Iterable
from typing import Any

from jax.extend.core import Jaxpr, Literal

Rule = Callable[[Any, list[Any]], list[Any]]
"""``rule(equation, inputs) -> outputs``; what the values are is between the rules."""


def evaluate(jaxpr: Jaxpr, consts: Iterable[Any], inputs: Iterable[Any], rule: Rule) -> list[Any]:
    """The outputs of a traced function, each of its operations computed by a rule."""
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else known[atom]

    for equation in jaxpr.eqns:
        outputs = rule(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def bound(equation: Any, inputs: Iterable[Any], **changed: Any) -> list[Any]:
    """The rule that computes an operation as it stands, or with some parameters changed."""
    found = equation.primitive.get_bind_params({**equation.params, **changed})
    functions, params = found if isinstance(found, tuple) else ((), found)  # older: a pair
    with equation.ctx.manager:
        outputs = equation.primitive.bind(*functions, *inputs, **params)
    return list(outputs) if equation.primitive.multiple_results else [outputs]
