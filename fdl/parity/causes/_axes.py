"""Hypotheses about order: of flattened pixels, of axes, of parts, of time steps."""

import torch

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, hypothesis


@hypothesis("flatten order", "flatten", "reshape", "view")
def flatten_order(call: Call) -> Variants:
    x = call["input"]
    if torch.is_tensor(x) and x.ndim > 2:
        yield "pixels come first and channels last, as in NHWC", _channels_last


def _channels_last(call: Call):
    flat = call.run()
    turned = call["input"].movedim(1, -1).reshape(len(call["input"]), -1)
    return turned.reshape(flat.shape)


@hypothesis("softmax axis", "softmax", "log_softmax")
def softmax_axis(call: Call) -> Variants:
    axes, given = call["input"].ndim, call["dim"]
    for axis in range(axes):
        if given is not None and axis != given % axes:
            yield f"axis {axis} of {axes} instead of {given % axes}", _over(axis)


def _over(axis: int):
    return lambda c: c.run(dim=axis)


@hypothesis("missing softmax", "softmax", "log_softmax")
def missing_softmax(call: Call) -> Variants:
    yield "the values go on as they are", lambda c: c["input"]
    other = "softmax" if call.site.function == "log_softmax" else "log_softmax"
    yield f"{other} instead of {call.site.function}", _softmaxed(other)


def _softmaxed(name: str):
    return lambda c: getattr(torch, name)(c["input"], c["dim"])


@hypothesis("order of parts", "cat")
def concatenation(call: Call) -> Variants:
    yield "the parts are joined in reverse", lambda c: c.run(tensors=[*c["tensors"]][::-1])


@hypothesis("time step", "__getitem__")
def time_step(call: Call) -> Variants:
    x = call["input"]
    if not torch.is_tensor(x) or x.ndim < 3:
        return
    yield "the first step instead of the last", lambda c: c["input"][:, 0]
    yield "the last step of the first axis", lambda c: c["input"][-1]
    yield "the mean over time", lambda c: c["input"].mean(1)
    yield "the sequence's last step", lambda c: c["input"][:, -1]


@hypothesis("missing connection", "add", "__add__", "__iadd__", "add_", "__radd__")
def missing_term(call: Call) -> Variants:
    if torch.is_tensor(call["input"]) and not call["input"].is_floating_point():
        return
    yield "the second term of a sum is missing", lambda c: c["input"]
    yield "the first term of a sum is missing", _second_term


def _second_term(call: Call):
    other = call.other()
    return other if torch.is_tensor(other) else call.run()


@hypothesis("missing factor", "mul", "__mul__", "div", "__truediv__")
def missing_factor(call: Call) -> Variants:
    yield "a factor or divisor is missing", lambda c: c["input"]


@hypothesis("reduction over time or pixels", "mean", "sum")
def reduction(call: Call) -> Variants:
    name = call.site.function
    other = "sum" if name == "mean" else "mean"
    yield f"{other} instead of {name}", _reduced(other)


def _reduced(name: str):
    return lambda c: c.run_as(getattr(torch.Tensor, name))


AXES: list[Hypothesis] = [
    flatten_order,
    softmax_axis,
    missing_softmax,
    concatenation,
    time_step,
    missing_term,
    missing_factor,
    reduction,
]
