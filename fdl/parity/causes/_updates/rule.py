"""An optimizer's rule for one tensor, in NumPy, and the way it takes a parameter."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

Options = Mapping[str, Any]
"""Torch's options of a group, and beside them what a port may do otherwise."""

NOTHING: Options = MappingProxyType({})

Memory = dict[str, Any]
"""What a rule remembers from one step to the next."""

OUTSIDE, INSIDE, EARLY = "outside", "inside", "early"
"""Where epsilon is added: to the root, to the second moment, to the root before its bias is
corrected."""


class At(NamedTuple):
    """What a rule sees of one step.

    Attributes:
        gradient: with what is added to it, as coupled decay.
        parameter: before the step.
        rate: the learning rate.
        count: number of the step, from 1.
    """

    gradient: np.ndarray
    parameter: np.ndarray
    rate: float
    count: int


class Rule(NamedTuple):
    """A rule as a hypothesis has it.

    Attributes:
        step: ``(options, at, memory) -> what is subtracted``; it changes the memory.
        own: options that the class of the optimizer implies.
        usual: torch's defaults.
        changes: options that the hypothesis puts in place of torch's.
    """

    step: Callable[[Options, At, Memory], np.ndarray]
    own: Options = NOTHING
    usual: Options = NOTHING
    changes: Options = NOTHING

    def options(self, given: Options) -> Options:
        """The options of a step, given torch's."""
        return {**self.usual, **given, **self.own, **self.changes}


def advanced(
    rule: Rule,
    given: Options,
    at: At,
    memory: Memory,
) -> tuple[np.ndarray, Memory]:
    """The parameter after one step, and the memory; what is given stays as it is."""
    options, memory = rule.options(given), dict(memory)
    decay, parameter = options.get("weight_decay", 0.0), at.parameter
    gradient = -at.gradient if options.get("maximize") else at.gradient
    if decay and options.get("decoupled_weight_decay"):
        parameter = parameter - (1.0 if options.get("full_decay") else at.rate) * decay * parameter
    elif decay:
        gradient = gradient + decay * parameter
    with np.errstate(all="ignore"):  # a hypothesis may divide by 0: then it explains nothing
        return parameter - rule.step(options, at._replace(gradient=gradient), memory), memory


def trajectory(
    rule: Rule,
    start: np.ndarray,
    gradients: Sequence[np.ndarray | None],
    rates: Sequence[float],
    given: Sequence[Options],
) -> Iterator[np.ndarray]:
    """Yields the parameter after every step.

    Args:
        rule: what is done in a step.
        start: the parameter before the first.
        gradients: of every step, None where nothing is updated.
        rates: the learning rate of every step.
        given: torch's options of every step.
    """
    parameter, memory, count = start.astype(np.float64), {}, 0
    for gradient, rate, options in zip(gradients, rates, given, strict=True):
        if gradient is not None:
            count += 1
            at = At(gradient.astype(np.float64), parameter, rate, count)
            parameter, memory = advanced(rule, options, at, memory)
        yield parameter


def averaged(memory: Memory, name: str, decay: float, new: np.ndarray) -> np.ndarray:
    """Moves a running average on, which starts at 0, or where the memory says."""
    memory[name] = decay * memory.get(name, 0.0) + (1 - decay) * new
    return memory[name]


def root(square: np.ndarray, eps: float, place: str) -> np.ndarray:
    """The root of a second moment with its epsilon."""
    return np.sqrt(square + eps) if place == INSIDE else np.sqrt(square) + eps
