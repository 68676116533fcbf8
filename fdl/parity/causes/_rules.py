"""Update rules with every knob that ports get wrong, in NumPy: torch's own at their defaults."""

import math
from typing import NamedTuple

import numpy as np


class Rule(NamedTuple):
    """SGD or Adam for one tensor.

    The first fields are torch's options. The others are what a port may do otherwise.

    Attributes:
        decoupled: decay parameters, not gradients (AdamW).
        inside: add epsilon to the second moment instead of its root.
        early: add epsilon before the second moment's bias is corrected, as TensorFlow does.
        corrected: correct the moments' bias.
        averaged: the momentum buffer is an average, ``m b + (1 - m) g``, from the start.
        rate_inside: the learning rate is multiplied into what the momentum buffer takes up.
        full_decay: the decoupled decay is not multiplied by the learning rate.
        skips: a parameter without gradient stays as it is.
        low: the bias of the moments is computed in float32.
    """

    adam: bool
    weight_decay: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    amsgrad: bool = False
    maximize: bool = False
    decoupled: bool = False
    inside: bool = False
    early: bool = False
    corrected: bool = True
    averaged: bool = False
    rate_inside: bool = False
    full_decay: bool = False
    skips: bool = True
    low: bool = False


def trajectory(
    rule: Rule, start: np.ndarray, gradients: list[np.ndarray], rates: list[float]
) -> list[np.ndarray]:
    """The parameter after every step."""
    step = _adam if rule.adam else _sgd
    parameter, memory, path = start.astype(np.float64), {}, []
    for count, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        gradient = -gradient if rule.maximize else gradient
        if rule.weight_decay and not rule.decoupled:
            gradient = gradient + rule.weight_decay * parameter
        elif rule.weight_decay:
            share = 1.0 if rule.full_decay else rate
            parameter = parameter - share * rule.weight_decay * parameter
        with np.errstate(all="ignore"):  # a hypothesis may divide by 0: then it explains nothing
            parameter = parameter - step(rule, gradient, rate, count, memory)
        path.append(parameter)
    return path


def _sgd(rule: Rule, gradient: np.ndarray, rate: float, count: int, memory: dict) -> np.ndarray:
    scaled = rate * gradient if rule.rate_inside else gradient
    if rule.momentum:
        if rule.averaged:
            before = memory.get("buffer", np.zeros_like(scaled))
            memory["buffer"] = rule.momentum * before + (1 - rule.momentum) * scaled
        elif count == 1:
            memory["buffer"] = scaled
        else:
            memory["buffer"] = rule.momentum * memory["buffer"] + (1 - rule.dampening) * scaled
        scaled = scaled + rule.momentum * memory["buffer"] if rule.nesterov else memory["buffer"]
    return scaled if rule.rate_inside else rate * scaled


def _adam(rule: Rule, gradient: np.ndarray, rate: float, count: int, memory: dict) -> np.ndarray:
    b1, b2 = rule.betas
    first = memory["first"] = b1 * memory.get("first", 0.0) + (1 - b1) * gradient
    second = memory["second"] = b2 * memory.get("second", 0.0) + (1 - b2) * gradient**2
    if rule.amsgrad:
        second = memory["most"] = np.maximum(memory.get("most", 0.0), second)
    c1, c2 = (1 - b1**count, 1 - b2**count) if rule.corrected else (1.0, 1.0)
    if rule.low:
        c1, c2 = (float(np.float32(1) - np.float32(beta) ** np.float32(count)) for beta in (b1, b2))
    if rule.early:
        return rate * math.sqrt(c2) / c1 * first / (np.sqrt(second) + rule.eps)
    if rule.inside:
        return rate * (first / c1) / np.sqrt(second / c2 + rule.eps)
    return rate * (first / c1) / (np.sqrt(second / c2) + rule.eps)
