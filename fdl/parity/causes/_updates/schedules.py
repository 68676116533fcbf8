"""Learning rates that a port may have had instead of torch's."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from fdl.parity.causes._updates.history import History
from fdl.parity.causes._updates.rule import At, Rule, advanced

ROUNDED = 1e-5
"""Rates this near to torch's are torch's, computed in float32."""

FITTED = 1e-6
"""Rates this near to a multiple of torch's are that multiple."""


class Rates(NamedTuple):
    """Rates that a hypothesis puts in place of torch's."""

    name: str
    words: str
    rates: list[float]


Found = Iterator[Rates]


def schedules(scheduler: Mapping[str, Any], group: int, history: History) -> Found:
    """The hypotheses about a schedule.

    Args:
        scheduler: class and attributes of torch's.
        group: of the optimizer.
        history: of a parameter.
    """
    count, future = len(history.rates), history.future
    if len(set(future)) == 1:
        return
    if (own := OWN.get(scheduler.get("name", ""))) is not None:
        for name, words, rate in own(scheduler, group, history.given[0]):
            yield Rates(name, words, [rate(step) for step in range(count)])
    ahead = [*future[1:], future[-1]][:count]
    behind = [future[0], *future[:-1]][:count]
    yield Rates("schedule off by one", "a step ahead of torch", ahead)
    yield Rates("schedule off by one", "a step behind torch", behind)
    words = "a step behind torch: 0 in the first"
    yield Rates("schedule off by one", words, [0.0, *future[:-1]][:count])
    yield Rates("missing schedule", "the first rate stays", [future[0]] * count)
    base = history.given[0].get("initial_lr", future[0])
    yield Rates("missing schedule", "the base rate stays", [base] * count)
    for length in range(2, count + 1):
        rates = [future[step // length] for step in range(count)]
        words = f"it moves on every {length} steps, torch's every step"
        yield Rates("schedule per epoch", words, rates)


Formulas = Iterator[tuple[str, str, Callable[[int], float]]]


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _annealing(scheduler: Mapping[str, Any], group: int, given: Mapping[str, Any]) -> Formulas:
    base, end, length = scheduler["base_lrs"][group], scheduler["eta_min"], scheduler["T_max"]
    words = "the rate stays at its end; torch's goes up again after T_max"
    yield "cosine past its end", words, lambda t: _cosine(base, end, min(t / length, 1.0))
    yield from _minima(base, end, length)


def _minima(base: float, end: float, length: int) -> Formulas:
    """The smallest rate forgotten, or taken for a share of the base rate."""
    name = "smallest rate"
    for words, other in ((f"0 instead of {end:g}", 0.0), ("a share of the base rate", end * base)):
        yield name, words, lambda t, other=other: _cosine(base, other, min(t / length, 1.0))


def _restarts(scheduler: Mapping[str, Any], group: int, given: Mapping[str, Any]) -> Formulas:
    base, end, length = scheduler["base_lrs"][group], scheduler["eta_min"], scheduler["T_0"]
    name = "missing restart"
    words = "the rate stays at its end"
    yield name, words, lambda t: _cosine(base, end, min(t / length, 1.0))
    yield name, "the cosine goes up as it went down", lambda t: _cosine(base, end, t / length)
    words = "every cycle is as long as the first; T_mult is missing"
    yield "length of cycles", words, lambda t: _cosine(base, end, t % length / length)


def _one_cycle(scheduler: Mapping[str, Any], group: int, given: Mapping[str, Any]) -> Formulas:
    total, largest = scheduler["total_steps"], given["max_lr"]
    first, last, start = given["initial_lr"], given["min_lr"], scheduler["_schedule_phases"][0]
    turn = start["end_step"]

    def cycle(turn: float, end: float, last: float, between=_cosine) -> Callable[[int], float]:
        def rate(step: int) -> float:
            if step <= turn:
                return between(first, largest, step / turn)
            return between(largest, last, min(1.0, (step - turn) / (end - turn)))

        return rate

    def line(start: float, end: float, part: float) -> float:
        return start + (end - start) * part

    words = "its phases end at steps {} and {}, as Optax's; torch's one step earlier"
    whole = int(turn + 1)
    name = "one cycle, a step late"
    yield name, words.format(whole, total), cycle(whole, total, last)
    words = "the last rate is a share of the largest; torch's of the first"
    share = last / first * largest
    yield "last rate", words, cycle(turn, total - 1, share)
    words = "straight lines where torch has cosines, or the reverse"
    yield "shape of the cycle", words, cycle(turn, total - 1, last, line)
    yield "shape of the cycle", words, cycle(turn, total - 1, last)


def _cyclic(scheduler: Mapping[str, Any], group: int, given: Mapping[str, Any]) -> Formulas:
    low, high = scheduler["base_lrs"][group], scheduler["max_lrs"][group]
    size, up = scheduler["total_size"], scheduler["step_ratio"]
    gamma, own = scheduler["gamma"], scheduler["mode"]
    scales: dict[str, Callable[[int], float]] = {
        "triangular": lambda t: 1.0,
        "triangular2": lambda t: 2.0 ** -(t // size),
        "exp_range": lambda t: gamma**t,
    }

    def height(step: int) -> float:
        part = step % size / size
        return part / up if part <= up else (1 - part) / (1 - up)

    for mode, scale in scales.items():
        if mode != own:
            words = f"{mode} instead of {own}"
            yield (
                "mode of the cycle",
                words,
                lambda t, scale=scale: low + (high - low) * height(t) * scale(t),
            )


OWN: dict[str, Callable[[Mapping[str, Any], int, Mapping[str, Any]], Formulas]] = {
    "CosineAnnealingLR": _annealing,
    "CosineAnnealingWarmRestarts": _restarts,
    "OneCycleLR": _one_cycle,
    "CyclicLR": _cyclic,
}


def fitted(rule: Rule, history: History) -> Rates:
    """The rates with which the rule would have made the candidate's steps, as near as it can."""
    parameter, memory, rates, count = history.start, {}, [], 0
    steps = zip(history.updates(), history.rates, history.given, history.got, strict=True)
    for gradient, rate, given, got in steps:
        factor = 1.0
        if gradient is not None:
            count += 1
            at = At(gradient.astype(np.float64), parameter.astype(np.float64), rate or 1.0, count)
            ours, memory = advanced(rule, given, at, memory)
            wanted, made = got - at.parameter, ours - at.parameter
            square = float((made * made).sum())
            factor = float((wanted * made).sum()) / square if square > 0 else 1.0
            rate = factor * at.rate
        rates.append(rate)
        parameter = got
    return Rates(*_described(rates, history.rates), rates)


def _described(rates: list[float], torchs: list[float]) -> tuple[str, str]:
    ratios = [ours / theirs for ours, theirs in zip(rates, torchs, strict=True) if theirs]
    if ratios and max(abs(ratio - 1) for ratio in ratios) < ROUNDED:
        return "rounding of the rate", "it is torch's, computed in float32"
    if ratios and max(abs(ratio - ratios[0]) for ratio in ratios) < FITTED * abs(ratios[0]):
        return "learning rate", f"{ratios[0]:.6g} times torch's"
    first = next(i for i, rate in enumerate(rates) if abs(rate - torchs[i]) > FITTED * abs(rate))
    shown = slice(first, first + 5)
    ours, theirs = (", ".join(f"{rate:.6g}" for rate in of[shown]) for of in (rates, torchs))
    return "learning rate", f"from step {first + 1} on {ours} instead of {theirs}"
