"""Hypotheses about the optimizer: the candidate's parameters, recomputed from its gradients."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fdl.parity._record import Record
from fdl.parity._reference import Anatomy
from fdl.parity._run import Evidence
from fdl.parity.causes._closeness import EXACT, ROUGH, closeness
from fdl.parity.causes._rules import Rule, trajectory
from fdl.parity.judge import root_mean_square
from fdl.parity.report import Cause

DECAYS = (0.0, 1e-4, 1e-2, 5e-4, 1e-3, 1e-5, 5e-5, 1e-1)
EPSILONS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-10, 1e-3, 1e-15, 0.0)
BETAS = ((0.9, 0.99), (0.9, 0.98), (0.9, 0.95), (0.95, 0.999), (0.8, 0.999), (0.5, 0.999))
MOMENTA = (0.0, 0.9, 0.99, 0.95, 0.5)
RATES = 1e-6
CLIP_EPSILON = 1e-6
"""What torch adds to the norm when it clips."""


class History(NamedTuple):
    """One parameter's way: its start, gradients, torch's rates, factors of clipping, results.

    `most` is the norm that torch clips to, infinite if it does not; `norms` are the candidate's.
    """

    start: np.ndarray
    gradients: list[np.ndarray]
    rates: list[float]
    future: list[float]
    clips: list[float]
    most: float
    norms: list[float]
    got: list[np.ndarray]
    unused: bool


class Tweak(NamedTuple):
    """A rule and a history, changed as a hypothesis says."""

    name: str
    words: str
    rule: Rule
    history: History


def updated(evidence: Evidence, anatomy: Anatomy, options: dict[str, Any]) -> list[Cause]:
    """The hypotheses about the optimizer that reproduce the candidate's parameters."""
    key = evidence.first.name
    group = next((g for g in anatomy.optimizer["groups"] if key in g["names"]), None)
    rule = None if group is None else _rule(anatomy.optimizer["name"], group)
    if rule is None:
        return []
    index = anatomy.optimizer["groups"].index(group)
    history = _history(evidence.history, key, options, index)
    if evidence.precision == "float32":
        return _imprecise(evidence, rule, history)
    found = [
        Cause(tweak.name, evidence.first.module, tweak.words, error)
        for tweak in _tweaks(rule, history)
        if (error := _error(tweak)) <= max(evidence.first.budget, EXACT * evidence.first.error)
    ]
    unique = {(cause.name, cause.detail): cause for cause in found}
    return sorted(unique.values(), key=lambda cause: closeness(cause.error))


def _imprecise(evidence: Evidence, rule: Rule, history: History) -> list[Cause]:
    """What the rule loses where it computes in float32 what torch computes in Python's floats."""
    words = "1 - beta**t is computed in float32, which cancels"
    tweak = Tweak("bias correction in float32", words, rule._replace(low=True), history)
    left, before = _error(tweak), _error(tweak._replace(rule=rule))
    if not rule.adam or left > ROUGH * before:
        return []
    return [Cause(tweak.name, evidence.first.module, tweak.words, left)]


def _error(tweak: Tweak) -> float:
    """How far the rule's parameters are from the candidate's, at the worst step."""
    history = tweak.history
    if history.unused and tweak.rule.skips:
        path = [history.start] * len(history.got)
    else:
        pairs = zip(history.gradients, history.clips, strict=True)
        clipped = [gradient * factor for gradient, factor in pairs]
        path = trajectory(tweak.rule, history.start, clipped, history.rates)
    return max(
        root_mean_square(ours - theirs) / max(root_mean_square(theirs), np.finfo(float).tiny)
        for ours, theirs in zip(path, history.got, strict=True)
    )


def _rule(name: str, group: dict[str, Any]) -> Rule | None:
    if name not in ("SGD", "Adam", "AdamW"):
        return None
    given = {field: group[field] for field in Rule._fields if field in group}
    decoupled = name == "AdamW" or bool(group.get("decoupled_weight_decay"))
    return Rule(adam=name != "SGD", **given | {"decoupled": decoupled})


def _history(records: list[Record], key: str, options: dict[str, Any], group: int) -> History:
    start, *steps = records
    tensors = [{(q.kind, q.name): array for q, array in record.items()} for record in steps]
    rates = [rate[group] for rate in options["rates"]]
    norms = [float(step["norm", ""]) for step in tensors]
    most = _clipped_to(options["clips"], norms)
    return History(
        start=next(a for q, a in start.items() if (q.kind, q.name) == ("parameter", key)),
        gradients=[step["gradient", key] for step in tensors],
        rates=rates[: len(tensors)],
        future=rates,
        clips=[min(1.0, most / (norm + CLIP_EPSILON)) for norm in norms],
        most=most,
        norms=norms,
        got=[step["parameter", key] for step in tensors],
        unused=key in options["unused"],
    )


def _clipped_to(clips: list[float], norms: list[float]) -> float:
    """The largest norm that torch left, from the first step, where the candidate's is torch's."""
    first = next((index for index, factor in enumerate(clips) if factor != 1), None)
    if first is None:
        return math.inf
    return clips[first] * (norms[first] + CLIP_EPSILON)


def _tweaks(rule: Rule, history: History) -> Iterator[Tweak]:
    for name, words, changed in _rules(rule):
        yield Tweak(name, words, rule._replace(**changed), history)
    for name, words, changed in _histories(rule, history):
        yield Tweak(name, words, rule, history._replace(**changed))
    if history.unused:
        words = "a parameter without gradient is updated; torch leaves it alone"
        yield Tweak("parameter without gradient", words, rule._replace(skips=False), history)


def _rules(rule: Rule) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Changes of the rule."""
    if rule.weight_decay or rule.adam:
        this, other = ("decoupled", "coupled") if rule.decoupled else ("coupled", "decoupled")
        yield "weight decay", f"{other} instead of {this}", {"decoupled": not rule.decoupled}
    if rule.decoupled:
        yield "weight decay", "not multiplied by the learning rate", {"full_decay": True}
    for decay in DECAYS:
        if decay != rule.weight_decay:
            words = f"{decay:g} instead of {rule.weight_decay:g}"
            yield "weight decay", words, {"weight_decay": decay}
            if rule.adam:
                words = f"{words}, and {'coupled' if rule.decoupled else 'decoupled'}"
                changed = {"weight_decay": decay, "decoupled": not rule.decoupled}
                yield "weight decay", words, changed
    yield from _adam_rules(rule) if rule.adam else _sgd_rules(rule)
    yield "sign", "the gradient is followed upwards", {"maximize": not rule.maximize}


def _adam_rules(rule: Rule) -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "bias correction", "the moments' bias is not corrected", {"corrected": False}
    for eps in (rule.eps, rule.eps**2):
        words = f"{eps:g} is added inside the root"
        yield "epsilon inside the root", words, {"inside": True, "eps": eps}
    words = "epsilon is added before the bias of the second moment is corrected"
    yield "epsilon inside the root", words, {"early": True}
    for eps in EPSILONS:
        if eps != rule.eps:
            yield "epsilon", f"{eps:g} instead of {rule.eps:g}", {"eps": eps}
    yield "betas", "exchanged", {"betas": tuple(rule.betas)[::-1]}
    for betas in BETAS:
        yield "betas", f"{betas} instead of {tuple(rule.betas)}", {"betas": betas}
    yield "amsgrad", "on where torch has it off or the reverse", {"amsgrad": not rule.amsgrad}


def _sgd_rules(rule: Rule) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if rule.momentum:
        words = "off where torch has it on" if rule.nesterov else "on where torch has it off"
        yield "Nesterov", words, {"nesterov": not rule.nesterov}
        yield "momentum", "the buffer is an average", {"averaged": True}
        words = "the learning rate is multiplied into the buffer"
        yield "momentum", words, {"rate_inside": True}
    for dampening in (0.0, rule.momentum, 0.1, 0.5):
        if dampening != rule.dampening:
            words = f"dampening {dampening:g} instead of {rule.dampening:g}"
            yield "dampening", words, {"dampening": dampening}
    for momentum in MOMENTA:
        if momentum != rule.momentum:
            yield "momentum", f"{momentum:g} instead of {rule.momentum:g}", {"momentum": momentum}


def _histories(rule: Rule, history: History) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Changes of rates and clipping."""
    count, future = len(history.rates), history.future
    if len(set(future)) > 1:
        ahead = [*future[1:], future[-1]][:count]
        behind = [future[0], *future[:-1]][:count]
        yield "schedule off by one", "a step ahead of torch", {"rates": ahead}
        yield "schedule off by one", "a step behind torch", {"rates": behind}
        yield "missing schedule", "the first rate stays", {"rates": [future[0]] * count}
    if any(factor != 1 for factor in history.clips):
        yield "missing clipping", "gradients are not clipped", {"clips": [1.0] * count}
        yield from _clippings(history)
    factor = _rate_factor(rule, history)
    if factor is not None:
        rates = [rate * factor for rate in history.rates]
        yield "learning rate", f"{factor:.6g} times torch's", {"rates": rates}


def _clippings(history: History) -> Iterator[tuple[str, str, dict[str, Any]]]:
    most = history.most
    plain = [min(1.0, most / norm) for norm in history.norms]
    words = f"the norm is divided by as it is; torch adds {CLIP_EPSILON:g} to it"
    yield "clip epsilon", words, {"clips": plain}
    own = [math.sqrt(float((gradient**2).sum())) for gradient in history.gradients]
    words = "every tensor is clipped by its own norm, not all by the norm of all"
    yield "clipping", words, {"clips": [min(1.0, most / max(norm, 1e-300)) for norm in own]}
    words = "every element is clipped by value"
    values = [np.clip(gradient, -most, most) for gradient in history.gradients]
    yield "clipping", words, {"gradients": values, "clips": [1.0] * len(values)}


def _rate_factor(rule: Rule, history: History) -> float | None:
    """The factor that would make torch's first step as long as the candidate's."""
    ours = trajectory(rule, history.start, history.gradients[:1], history.rates[:1])[0]
    expected, got = ours - history.start, history.got[0] - history.start
    square = float((expected**2).sum())
    factor = float((expected * got).sum()) / square if square else 1.0
    return factor if abs(factor - 1) > RATES and factor > 0 else None
