"""Adam and its kin, with every knob that ports get wrong: torch's own rules at their defaults."""

import math

import numpy as np

from fdl.parity.causes._updates.rule import EARLY, At, Memory, Options, averaged, root

RECTIFIED = 5.0
"""The length of average above which RAdam uses the second moment."""


def adam(options: Options, at: At, memory: Memory) -> np.ndarray:
    """Adam.

    Knobs: `place` of epsilon; `corrected`, the bias of the moments; `low`, that in float32; for
    amsgrad `late_maximum`, of moments whose bias is corrected.
    """
    first, second = _moments(options, at, memory)
    corrections = _corrections(options, at.count)
    if options.get("amsgrad"):
        scale = corrections[1] if options.get("late_maximum") else 1.0
        memory["most"] = np.maximum(memory.get("most", 0.0), second / scale)
        second = memory["most"] * scale
    return at.rate * _normalised(options, first / corrections[0], second, corrections[1])


def nadam(options: Options, at: At, memory: Memory) -> np.ndarray:
    """NAdam. Knobs: those of Adam; `scheduled`: the momentum grows."""
    first, second = _moments(options, at, memory)
    beta, decay = options["betas"][0], options["momentum_decay"]
    now, ahead = beta, beta
    if options.get("scheduled", True):
        now, ahead = (
            beta * (1 - 0.5 * 0.96 ** (count * decay)) for count in (at.count, at.count + 1)
        )
    memory["product"] = product = memory.get("product", 1.0) * now
    mean = (1 - now) / (1 - product) * at.gradient + ahead / (1 - product * ahead) * first
    return at.rate * _normalised(options, mean, second, _corrections(options, at.count)[1])


def radam(options: Options, at: At, memory: Memory) -> np.ndarray:
    """RAdam. Knobs: those of Adam; `threshold` of the length; `waits`: no step below it."""
    first, second = _moments(options, at, memory)
    correction1, correction2 = _corrections(options, at.count)
    beta, mean = options["betas"][1], first / correction1
    longest = 2 / (1 - beta) - 1
    length = longest - 2 * at.count * beta**at.count / (1 - beta**at.count)
    if length <= options.get("threshold", RECTIFIED):
        return np.zeros_like(mean) if options.get("waits") else at.rate * mean
    part, whole = ((x - 4) * (x - 2) / x for x in (length, longest))
    shrunk = math.sqrt(part / whole) * at.rate
    return shrunk * _normalised(options, mean, second, correction2)


def adamax(options: Options, at: At, memory: Memory) -> np.ndarray:
    """Adamax. Knobs: `place` of epsilon, `corrected`, `low`."""
    beta1, beta2 = options["betas"]
    first, size = averaged(memory, "first", beta1, at.gradient), np.abs(at.gradient)
    early = options["place"] == EARLY
    size = size + options["eps"] if early else size
    memory["most"] = most = np.maximum(beta2 * memory.get("most", 0.0), size)
    return (
        at.rate
        * first
        / _corrections(options, at.count)[0]
        / (most if early else most + options["eps"])
    )


def sparse_adam(options: Options, at: At, memory: Memory) -> np.ndarray:
    """Adam of the rows that are in the batch. Knobs: those of Adam; `dense`: of all rows."""
    before = {name: memory.get(name, np.zeros_like(at.gradient)) for name in ("first", "second")}
    step = adam(options, at, memory)
    if options.get("dense"):
        return step
    here = (at.gradient != 0).any(axis=tuple(range(1, at.gradient.ndim)), keepdims=True)
    memory |= {name: np.where(here, memory[name], old) for name, old in before.items()}
    return np.where(here, step, 0.0)


def _moments(options: Options, at: At, memory: Memory) -> tuple[np.ndarray, np.ndarray]:
    beta1, beta2 = options["betas"]
    first = averaged(memory, "first", beta1, at.gradient)
    return first, averaged(memory, "second", beta2, at.gradient**2)


def _corrections(options: Options, count: int) -> tuple[float, float]:
    if not options.get("corrected", True):
        return 1.0, 1.0
    if options.get("low"):
        low = (np.float32(1) - np.float32(beta) ** np.float32(count) for beta in options["betas"])
        first, second = map(float, low)
        return first, second
    first, second = (1 - beta**count for beta in options["betas"])
    return first, second


def _normalised(
    options: Options, mean: np.ndarray, second: np.ndarray, correction: float
) -> np.ndarray:
    """The mean over the root of the second moment."""
    eps, place = options["eps"], options["place"]
    if place == EARLY:
        return math.sqrt(correction) * mean / (np.sqrt(second) + eps)
    return mean / root(second / correction, eps, place)
