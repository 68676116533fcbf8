"""Hypotheses about attention and padding: masks, scale, heads."""

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


@hypothesis("mask polarity", "__getitem__")
def broadcast_mask_polarity(call: Call) -> Variants:
    if _is_mask(call["input"]):
        yield "true and false mean the opposite", lambda c: ~c.run()


@hypothesis("missing mask", "__getitem__")
def missing_broadcast_mask(call: Call) -> Variants:
    if _is_mask(call["input"]):
        yield "nothing is masked: all is true", lambda c: torch.ones_like(c.run())
        yield "nothing is masked: all is false", lambda c: torch.zeros_like(c.run())


@hypothesis("missing mask", "mul", "__mul__")
def missing_factor_mask(call: Call) -> Variants:
    other = call.other()
    if torch.is_tensor(other) and _is_zero_or_one(other) and not bool(other.all()):
        yield "nothing is masked: the factor of zeros and ones is missing", lambda c: c["input"]


def _is_zero_or_one(tensor: torch.Tensor) -> bool:
    return bool(((tensor == 0) | (tensor == 1)).all())


def _is_mask(tensor) -> bool:
    return torch.is_tensor(tensor) and tensor.dtype == torch.bool


@hypothesis("padding counted", "sum")
def padding_counted(call: Call) -> Variants:
    terms = call["input"]
    if torch.is_tensor(terms) and _is_zero_or_one(terms):
        yield "all elements are counted, not only those that the mask keeps", _counted


def _counted(call: Call):
    return call.run(input=torch.ones_like(call["input"]))


@hypothesis("order of heads", "view", "reshape", "unflatten")
def order_of_heads(call: Call) -> Variants:
    shape = call.run().shape
    if call["input"].shape[:-1] == shape[:-2]:
        yield "features are split into (width, heads), not (heads, width)", _features_first


def _features_first(call: Call):
    split = call.run()
    return split.reshape(*split.shape[:-2], *split.shape[:-3:-1]).mT


@hypothesis("missing transpose", "transpose", "permute", "movedim", "swapaxes")
def missing_transpose(call: Call) -> Variants:
    yield "the axes are reshaped, not exchanged", lambda c: c["input"].reshape(c.run().shape)


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
    other, scores = call.other(), call["input"]
    if not isinstance(other, int | float) or other in (0, 1) or _rank(scores) < 3:
        return
    yield f"the factor {other:g} is missing", lambda c: c["input"]
    yield f"the factor {other:g} is squared", lambda c: c.run_with(c.other() ** 2)
    if _rank(scores) == 4:  # (N, H, L, S)
        yield "the width of all heads is used", _with_all_heads


def _rank(value) -> int:
    return value.ndim if torch.is_tensor(value) else 0


def _with_all_heads(call: Call):
    root = math.sqrt(call["input"].shape[1])
    return call.run_with(call.other() * (root if abs(call.other()) > 1 else 1 / root))


@hypothesis("softmax axis", "scaled_dot_product_attention")
def attention_axis(call: Call) -> Variants:
    if call["attn_mask"] is None and not call["is_causal"] and not call["dropout_p"]:
        yield "softmax over the queries instead of the keys", _over_queries


def _over_queries(call: Call):
    query, key, value = call["query"], call["key"], call["value"]
    scale = 1 / math.sqrt(query.shape[-1]) if call["scale"] is None else call["scale"]
    return (query @ key.mT * scale).softmax(-2) @ value


ATTENTION: list[Hypothesis] = [
    mask_polarity,
    attention_mask_polarity,
    missing_mask,
    broadcast_mask_polarity,
    missing_broadcast_mask,
    missing_factor_mask,
    padding_counted,
    order_of_heads,
    missing_transpose,
    attention_scale,
    score_scale,
    attention_axis,
]
