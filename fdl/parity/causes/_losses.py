"""Hypotheses about losses: reduction, weights, labels that do not count."""

from typing import Any

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, after, hypothesis

CLASSES = ("cross_entropy", "nll_loss")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
MARGINS = (
    *("multi_margin_loss", "hinge_embedding_loss", "margin_ranking_loss"),
    *("cosine_embedding_loss", "triplet_margin_loss"),
)
LOSSES = (
    *(*CLASSES, *BINARY, *MARGINS, "soft_margin_loss", "kl_div"),
    *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"),
    *("poisson_nll_loss", "gaussian_nll_loss"),
)
FIRST = ("input", "input1", "anchor")
"""Names of a loss's first argument, whose first axis is the batch."""


@hypothesis("reduction", *LOSSES)
def reduction(call: Call) -> Variants:
    given = call["reduction"] or "mean"
    other = "sum" if given == "mean" else "mean"
    yield f"{other} instead of {given}", lambda c: c.run(reduction=other)
    if given == "mean":
        yield "the sum divided by the batch's size alone", _per_example


def _per_example(call: Call):
    first = next(call[name] for name in FIRST if call[name] is not None)
    return call.run(reduction="sum") / len(first)


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
        if call["label_smoothing"]:
            yield "the class of a label weighs its smoothing too", _weighed_smoothing


def _weighed_smoothing(call: Call):
    index = -100 if call["ignore_index"] is None else call["ignore_index"]
    target = call["target"]
    weight = call["weight"][target.masked_fill(target == index, 0)] * (target != index)
    return (call.run(weight=None, reduction="none") * weight).sum() / weight.sum()


@hypothesis("class weights", *BINARY)
def binary_weights(call: Call) -> Variants:
    if call["weight"] is not None:
        yield "the weights are not used", lambda c: c.run(weight=None)
        yield "the weighted sum is divided by the sum of the weights", _by_weights
    if call["pos_weight"] is None:
        return
    yield "the weight of positive labels is not used", lambda c: c.run(pos_weight=None)
    yield (
        "the weight of positive labels weighs negative ones too",
        lambda c: c.run(weight=c["pos_weight"], pos_weight=None),
    )
    yield (
        "the weight of positive labels weighs negative ones instead",
        lambda c: c.run(input=-c["input"], target=1 - c["target"]),
    )
    yield "the weighted sum is divided by the sum of the weights", _by_positive_weights


def _by_weights(call: Call):
    return call.run(reduction="sum") / call["weight"].expand_as(call["input"]).sum()


def _by_positive_weights(call: Call):
    weight = 1 + (call["pos_weight"] - 1) * call["target"]
    return call.run(reduction="sum") / weight.sum()


@hypothesis("label smoothing", "cross_entropy")
def label_smoothing(call: Call) -> Variants:
    given = call["label_smoothing"] or 0.0
    for value in (0.0, 0.1, 0.05, 0.2, 1e-6):
        if value != given:
            yield f"labels are smoothed by {value:g}, not {given:g}", _smoothed(value)
    classes = call["input"].shape[1 if call["input"].ndim > 1 else 0]
    if given and classes > 1:
        yield (
            f"the other {classes - 1} classes share {given:g}, in torch all {classes}",
            _smoothed(given * classes / (classes - 1)),
        )


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


@hypothesis("beta or delta", "smooth_l1_loss", "huber_loss")
def transition(call: Call) -> Variants:
    name = "beta" if call.site.function == "smooth_l1_loss" else "delta"
    given = 1.0 if call[name] is None else call[name]
    for value in (1.0, 0.5, 0.1, 1 / 9, 2.0, 10.0):
        if value != given:
            yield f"{name} {value:g} instead of {given:g}", _with(**{name: value})
    if name == "beta":
        yield "not divided by beta: Huber's loss", after(lambda y, c: y * given)
    else:
        yield "divided by delta: the smooth L1 loss", after(lambda y, c: y / given)


def _with(**changes: Any):
    return lambda c: c.run(**changes)


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


@hypothesis("divergence", "kl_div")
def divergence(call: Call) -> Variants:
    logarithm = bool(call["log_target"])
    words = "probabilities" if logarithm else "log-probabilities"
    yield "prediction and target are exchanged", _exchanged
    yield f"the target is taken for {words}", _with(log_target=not logarithm)
    yield "a cross-entropy: that of the target is not subtracted", _crossed


def _exchanged(call: Call):
    x, t = call["input"], call["target"]
    if call["log_target"]:
        return call.run(input=t, target=x)
    return call.run(input=t.log(), target=x.exp())


def _crossed(call: Call):
    """The divergence from the target is the cross-entropy, but for a term without gradient."""
    t = call["target"].exp() if call["log_target"] else call["target"]
    crossed = -(t * call["input"])
    reduction = call["reduction"] or "mean"
    if reduction == "none":
        return crossed
    if reduction == "batchmean":
        return crossed.sum() / len(crossed)
    return getattr(crossed, reduction)()


@hypothesis("likelihood", "poisson_nll_loss", "gaussian_nll_loss")
def likelihood(call: Call) -> Variants:
    full = bool(call["full"])
    constant = "is missing" if full else "is added"
    yield f"the term that the prediction does not change {constant}", _with(full=not full)
    if call.site.function == "poisson_nll_loss":
        logarithm = call["log_input"] is not False
        word = "the rate" if logarithm else "its logarithm"
        yield f"the prediction is taken for {word}", _with(log_input=not logarithm)
    else:
        yield "the variance is taken for a deviation", lambda c: c.run(var=c["var"] ** 2)
        yield "the variance is taken for its logarithm", lambda c: c.run(var=c["var"].exp())


LOSS: list[Hypothesis] = [
    ignore_index,
    class_weights,
    binary_weights,
    reduction,
    label_smoothing,
    twice,
    half,
    transition,
    divergence,
    likelihood,
    another,
    as_probabilities,
]
