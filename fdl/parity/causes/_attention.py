"""Hypotheses about attention: masks, scale, heads."""

import math

import torch

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, hypothesis


@hypothesis("mask polarity", "masked_fill", "where")
def mask_polarity(call: Call) -> Variants:
    name = "mask" if call.site.function == "masked_fill" else "condition"
    if call[name] is not None and call[name].dtype == torch.bool:
        yield "true and false mean the opposite", lambda c: c.run(**{name: ~c[name]})


@hypothesis("mask polarity", "scaled_dot_product_attention")
def attention_mask_polarity(call: Call) -> Variants:
    mask = call["attn_mask"]
    if mask is not None and mask.dtype == torch.bool:
        yield "true means attend in torch, blocked here", lambda c: c.run(attn_mask=~c["attn_mask"])


@hypothesis("missing mask", "masked_fill", "scaled_dot_product_attention")
def missing_mask(call: Call) -> Variants:
    if call.site.function == "masked_fill":
        yield "nothing is masked", lambda c: c["input"]
    elif call["attn_mask"] is not None or call["is_causal"]:
        yield "nothing is masked", lambda c: c.run(attn_mask=None, is_causal=False)


@hypothesis("attention scale", "scaled_dot_product_attention")
def attention_scale(call: Call) -> Variants:
    width = call["query"].shape[-1]
    for scale, words in (
        (1.0, "scores are not divided by the root of the head's width"),
        (1 / width, "scores are divided by the head's width, not by its root"),
        (1 / math.sqrt(width * call["query"].shape[1]), "the width of all heads is used"),
    ):
        yield words, _scaled(scale)


def _scaled(scale: float):
    return lambda c: c.run(scale=scale)


@hypothesis("attention scale", "div", "__truediv__", "mul", "__mul__")
def score_scale(call: Call) -> Variants:
    other = call.other()
    if isinstance(other, int | float) and other not in (0, 1):
        yield f"the factor {other:g} is missing", lambda c: c["input"]
        yield f"the factor {other:g} is squared", lambda c: c.run_with(c.other() ** 2)


@hypothesis("softmax axis", "scaled_dot_product_attention")
def attention_axis(call: Call) -> Variants:
    if call["attn_mask"] is None and not call["is_causal"] and not call["dropout_p"]:
        yield "softmax over the queries instead of the keys", _over_queries


def _over_queries(call: Call):
    query, key, value = call["query"], call["key"], call["value"]
    scale = call["scale"] or 1 / math.sqrt(query.shape[-1])
    return (query @ key.mT * scale).softmax(-2) @ value


ATTENTION: list[Hypothesis] = [
    mask_polarity,
    attention_mask_polarity,
    missing_mask,
    attention_scale,
    score_scale,
    attention_axis,
]
