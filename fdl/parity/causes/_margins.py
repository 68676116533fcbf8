"""Hypotheses about losses with a margin."""

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, after, hypothesis
from fdl.parity.causes._losses import MARGINS

WITHOUT = ("margin_ranking_loss", "cosine_embedding_loss")
"""Losses whose margin is 0 if none is given."""


@hypothesis("margin", *MARGINS)
def margin(call: Call) -> Variants:
    given = _margin(call)
    for value in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0):
        if value != given and (value or call.site.function != "triplet_margin_loss"):
            yield f"{value:g} instead of {given:g}", _with_margin(value)


def _margin(call: Call) -> float:
    usual = 0.0 if call.site.function in WITHOUT else 1.0
    return usual if call["margin"] is None else call["margin"]


def _with_margin(value: float):
    return lambda c: c.run(margin=value)


@hypothesis("mean over classes", "multi_margin_loss")
def classes(call: Call) -> Variants:
    number = call["input"].shape[-1]
    yield f"the sum is not divided by the {number} classes", after(lambda y, c: y * number)
    yield (
        f"the sum is divided by the {number - 1} other classes",
        after(lambda y, c: y * number / (number - 1)),
    )
    if call["weight"] is None and (call["reduction"] or "mean") == "mean":
        own = _margin(call) ** (call["p"] or 1) / number
        yield "the true class counts as one that is wrong", after(lambda y, c: y + own)


@hypothesis("power of the margin", "multi_margin_loss")
def power(call: Call) -> Variants:
    other = 1 if call["p"] == 2 else 2
    yield f"p is {other} instead of {3 - other}", lambda c: c.run(p=other)


@hypothesis("distance", "triplet_margin_loss")
def distance(call: Call) -> Variants:
    yield "squared, as FaceNet's", _triplet(lambda x, p, eps: x.norm(p, -1) ** p)
    yield "squared, with epsilon", _triplet(lambda x, p, eps: (x + eps).norm(p, -1) ** p)
    yield (
        "epsilon is added inside the root, as Optax does",
        _triplet(lambda x, p, eps: ((x.abs() ** p).sum(-1) + eps) ** (1 / p)),
    )
    yield "without epsilon", _triplet(lambda x, p, eps: x.norm(p, -1))
    for other in (1.0, 2.0):
        if other != (2.0 if call["p"] is None else call["p"]):
            yield f"that of the {other:g}-norm", _with_power(other)
    swapped = bool(call["swap"])
    words = "is not tried" if swapped else "is tried"
    yield f"that of the positive to the negative {words}", lambda c: c.run(swap=not swapped)


def _with_power(value: float):
    return lambda c: c.run(p=value)


def _triplet(measure):
    """The loss of another distance: ``measure(x - y, p, eps)``."""

    def rewrite(call: Call):
        p = 2.0 if call["p"] is None else call["p"]
        eps = 1e-6 if call["eps"] is None else call["eps"]

        def apart(x, y):
            return measure(x - y, p, eps)

        return F.triplet_margin_with_distance_loss(
            *(call["anchor"], call["positive"], call["negative"]),
            distance_function=apart,
            margin=_margin(call),
            swap=bool(call["swap"]),
            reduction=call["reduction"] or "mean",
        )

    return rewrite


@hypothesis("distance", "cosine_embedding_loss")
def cosine(call: Call) -> Variants:
    yield "products of vectors that are not divided by their lengths", _products


def _products(call: Call):
    product, target = (call["input1"] * call["input2"]).sum(-1), call["target"]
    apart = torch.clamp(product - _margin(call), min=0)
    losses = torch.where(target == 1, 1 - product, apart)
    reduction = call["reduction"] or "mean"
    return losses if reduction == "none" else getattr(losses, reduction)()


MARGIN: list[Hypothesis] = [margin, classes, power, distance, cosine]
