"""Hypotheses about the optimizer: the candidate's parameters, recomputed from its gradients."""

import math
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from fdl.parity._reference import Anatomy
from fdl.parity._run import Evidence
from fdl.parity.causes._closeness import EXACT, ROUGH, closeness
from fdl.parity.causes._updates.changes import changes
from fdl.parity.causes._updates.history import CLIP_EPSILON, History, history
from fdl.parity.causes._updates.kinds import ALIKE, KINDS, MOMENTS
from fdl.parity.causes._updates.rule import Rule
from fdl.parity.causes._updates.schedules import fitted, schedules
from fdl.parity.report import Cause

SMALL = 20_000
"""Elements times steps up to which two changes at once are tried."""


class Tweak(NamedTuple):
    """A rule and a history, changed as a hypothesis says."""

    name: str
    words: str
    rule: Rule
    history: History


def updated(evidence: Evidence, anatomy: Anatomy, options: dict[str, Any]) -> list[Cause]:
    """The hypotheses about the optimizer that reproduce the candidate's parameters."""
    key, groups = evidence.first.name, anatomy.optimizer["groups"]
    kind = anatomy.optimizer["name"]
    if kind not in KINDS or not math.isfinite(evidence.first.error):
        return []
    own = next((i for i, group in enumerate(groups) if key in group["names"]), None)
    ways = [history(evidence.history, key, options, index) for index in range(len(groups))]
    rule = KINDS[kind]
    if own is None or key in anatomy.optimizer["frozen"]:
        return _first_found(evidence, _thawed(rule, ways))
    way = ways[own]
    if evidence.precision == "float32":
        return _imprecise(evidence, kind, way)
    scheduler = anatomy.optimizer["scheduler"]
    if way.skipped:
        words = "a parameter without gradient is updated; torch leaves it alone"
        tweak = Tweak("parameter without gradient", words, rule, way._replace(skipped=False))
        return _first_found(evidence, [tweak])
    single = [*_of_rules(kind, way), *_of_histories(rule, way, scheduler, own)]
    pairs = _pairs(single, way) if way.start.size * len(way.got) <= SMALL else []
    return _first_found(evidence, [*_of_groups(rule, ways, own), *single], _fits(rule, way), pairs)


def _first_found(evidence: Evidence, *stages: Iterable[Tweak]) -> list[Cause]:
    """The causes of the first of the stages that has any."""
    allowed = max(evidence.first.budget, EXACT * evidence.first.error)
    for tweaks in stages:
        found = [
            Cause(tweak.name, evidence.first.module, tweak.words, error)
            for tweak in tweaks
            if (error := tweak.history.error(tweak.rule, allowed)) <= allowed
        ]
        if found:
            unique = {(cause.name, cause.detail): cause for cause in found}
            return sorted(unique.values(), key=lambda cause: closeness(cause.error))
    return []


def _imprecise(evidence: Evidence, kind: str, way: History) -> list[Cause]:
    """What the rule loses where it computes in float32 what torch computes in Python's floats."""
    rule, words = KINDS[kind], "1 - beta**t is computed in float32, which cancels"
    left, before = way.error(rule._replace(changes={"low": True})), way.error(rule)
    if kind not in MOMENTS or left > ROUGH * before:
        return []
    return [Cause("bias correction in float32", evidence.first.module, words, left)]


def _thawed(rule: Rule, ways: list[History]) -> Iterator[Tweak]:
    """A parameter that torch does not train."""
    for index, way in enumerate(ways):
        words = f"it moves as parameter group {index} does; torch leaves it as it is"
        yield Tweak("frozen parameter", words, rule, way._replace(skipped=False))


def _of_groups(rule: Rule, ways: list[History], own: int) -> Iterator[Tweak]:
    """The options of another group."""
    for index, way in enumerate(ways):
        pairs = [(way.given[0].get(f), ways[own].given[0].get(f), f) for f in way.given[0]]
        told = [
            f"{field} {theirs} instead of {ours}" for theirs, ours, field in pairs if theirs != ours
        ]
        if index != own and told:
            words = f"treated as group {index}, not as group {own}: {', '.join(told)}"
            yield Tweak("parameter group", words, rule, way)


def _of_rules(kind: str, way: History) -> Iterator[Tweak]:
    """Other options, and another rule."""
    rule = KINDS[kind]
    for change in changes(kind, [rule.options(given) for given in way.given]):
        yield Tweak(change.name, change.words, rule._replace(changes=change.options), way)
    first = way.given[0]
    others = ALIKE if isinstance(first.get("eps", 0.0), float) else ()
    for other in others:
        alike = other == "AdamW" and not first.get("weight_decay")  # it is Adam then
        if KINDS[other].step is not rule.step and not alike:
            words = f"{other} instead of {kind}, with the same options"
            yield Tweak("another optimizer", words, KINDS[other], way)


def _of_histories(
    rule: Rule, way: History, scheduler: dict[str, Any], group: int
) -> Iterator[Tweak]:
    """Changes of rates, of accumulation and of clipping."""
    for name, words, rates in schedules(scheduler, group, way):
        yield Tweak(name, words, rule, way._replace(rates=rates))
    if way.every > 1:
        words = f"the mean of {way.every} steps' gradients; torch adds them up"
        yield Tweak("accumulation", words, rule, way._replace(mean=True))
        words = "the sum so far is kept in float32"
        yield Tweak("accumulation in float32", words, rule, way._replace(low=True))
        words = "every step updates; torch adds gradients up first"
        yield Tweak("missing accumulation", words, rule, way._replace(every=1))
    if any(factor != 1 for factor in way.clips):
        whole = way._replace(clips=[1.0] * len(way.clips))
        yield Tweak("missing clipping", "gradients are not clipped", rule, whole)
        yield from _clippings(rule, way)


def _clippings(rule: Rule, way: History) -> Iterator[Tweak]:
    most, ones = way.most, [1.0] * len(way.clips)
    plain = [min(1.0, most / norm) for norm in way.norms]
    words = f"the norm is divided by as it is; torch adds {CLIP_EPSILON:g} to it"
    yield Tweak("clip epsilon", words, rule, way._replace(clips=plain))
    norms = [math.sqrt(float((gradient**2).sum())) for gradient in way.gradients]
    own = [min(1.0, most / max(norm, 1e-300)) for norm in norms]
    words = "every tensor is clipped by its own norm, not all by the norm of all"
    yield Tweak("clipping", words, rule, way._replace(clips=own))
    values = [np.clip(gradient, -most, most) for gradient in way.gradients]
    words = "every element is clipped by value"
    yield Tweak("clipping", words, rule, way._replace(gradients=values, clips=ones))


def _fits(rule: Rule, way: History) -> Iterator[Tweak]:
    """The rates that would have made the candidate's steps; a scalar has some for every rule."""
    if way.start.size > 1:
        name, words, rates = fitted(rule, way)
        yield Tweak(name, words, rule, way._replace(rates=rates))


def _pairs(single: list[Tweak], way: History) -> Iterator[Tweak]:
    """Two changes at once, of different things."""
    for one, other in combinations(single, 2):
        fields = [_moved(tweak.history, way) for tweak in (one, other)]
        options = [tweak.rule.changes for tweak in (one, other)]
        if any(first.keys() & second.keys() for first, second in (fields, options)):
            continue
        rule = one.rule._replace(changes={**options[0], **options[1]})
        yield _joined(one, other, rule, way._replace(**fields[0], **fields[1]))
    for one in single:
        if one.rule.changes:
            yield from (_joined(one, fit, *fit[2:]) for fit in _fits(one.rule, way))


def _joined(one: Tweak, other: Tweak, rule: Rule, way: History) -> Tweak:
    words = f"{one.words}; and {other.name}: {other.words}"
    return Tweak(f"{one.name} and {other.name}", words, rule, way)


def _moved(changed: History, way: History) -> dict[str, Any]:
    """The fields that a hypothesis replaced."""
    pairs = zip(History._fields, changed, way, strict=True)
    return {field: new for field, new, old in pairs if new is not old}
