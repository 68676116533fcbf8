"""Hypotheses about losses: reduction, weights, labels that do not count."""

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, after, hypothesis

CLASSES = ("cross_entropy", "nll_loss")
LOSSES = (
    *CLASSES,
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div"),
    *("binary_cross_entropy", "binary_cross_entropy_with_logits"),
)


@hypothesis("reduction", *LOSSES)
def reduction(call: Call) -> Variants:
    given = call["reduction"] or "mean"
    other = "sum" if given == "mean" else "mean"
    yield f"{other} instead of {given}", lambda c: c.run(reduction=other)
    if given == "mean":
        yield "the sum divided by the batch's size alone", _per_example


def _per_example(call: Call):
    return call.run(reduction="sum") / len(call["input"])


@hypothesis("ignore_index", *CLASSES)
def ignore_index(call: Call) -> Variants:
    index = -100 if call["ignore_index"] is None else call["ignore_index"]
    if bool((call["target"] == index).any()):
        yield f"targets {index} are left out of the sum but counted in the mean", _counted
        yield f"targets {index} count as class 0", _as_zero
        if index >= 0:
            yield f"targets {index} are not ignored", lambda c: c.run(ignore_index=-100)


def _counted(call: Call):
    return call.run(reduction="sum") / call["target"].numel()


def _as_zero(call: Call):
    index = -100 if call["ignore_index"] is None else call["ignore_index"]
    return call.run(target=call["target"].masked_fill(call["target"] == index, 0))


@hypothesis("class weights", *CLASSES)
def class_weights(call: Call) -> Variants:
    if call["weight"] is not None:
        yield "the weights of the classes are not used", lambda c: c.run(weight=None)
        yield "the weighted sum is divided by the batch's size, not by the weights", _per_example


@hypothesis("label smoothing", "cross_entropy")
def label_smoothing(call: Call) -> Variants:
    given = call["label_smoothing"] or 0.0
    for value in (0.0, 0.1, 0.05, 0.2, 1e-6):
        if value != given:
            yield f"labels are smoothed by {value:g}, not {given:g}", _smoothed(value)


def _smoothed(value: float):
    return lambda c: c.run(label_smoothing=value)


@hypothesis("logits and probabilities", "cross_entropy")
def twice(call: Call) -> Variants:
    axis = 1 if call["input"].ndim > 1 else 0
    yield "softmax is applied before the loss, which applies it again", _after_softmax(axis)
    yield (
        "the logits are taken for log-probabilities",
        lambda c: F.nll_loss(c["input"], c["target"]),
    )


def _after_softmax(axis: int):
    return lambda c: c.run(input=c["input"].softmax(axis))


@hypothesis("half of the square", "mse_loss")
def half(call: Call) -> Variants:
    yield "half the squared error, as optax.l2_loss has it", after(lambda y, c: y / 2)
    yield "the root of the mean squared error", after(lambda y, c: y.sqrt())


@hypothesis("another loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
def another(call: Call) -> Variants:
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss"):
        if name != call.site.function:
            yield f"{name} instead of {call.site.function}", _as(getattr(F, name))


def _as(function):
    return lambda c: function(c["input"], c["target"], reduction=c["reduction"] or "mean")


@hypothesis("target of another type", "binary_cross_entropy_with_logits")
def as_probabilities(call: Call) -> Variants:
    yield "the logits are taken for probabilities", _as_probabilities


def _as_probabilities(call: Call):
    return F.binary_cross_entropy(torch.clamp(call["input"], 0, 1), call["target"])


LOSS: list[Hypothesis] = [
    ignore_index,
    class_weights,
    reduction,
    label_smoothing,
    twice,
    half,
    another,
    as_probabilities,
]
