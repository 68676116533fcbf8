"""Hypotheses about how a network is put together: sums, strides, paddings, places in a table."""

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, hypothesis, spread

SUMS = ("add", "__add__", "__iadd__", "add_")
CONVS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
SHIFTS = (1, 2, -1)


@hypothesis("activation before the sum", *SUMS)
def activated_branch(call: Call) -> Variants:
    branch = call["input"]
    if torch.is_tensor(branch) and branch.is_floating_point():
        yield "ReLU is applied to the branch, before the identity is added", _activated_branch


def _activated_branch(call: Call):
    return F.relu(call["input"]) + call.other()


@hypothesis("missing normalisation", "batch_norm", "layer_norm", "group_norm", "normalize")
def unnormalised(call: Call) -> Variants:
    yield "the values go on as they are", lambda c: c["input"]


@hypothesis("stride", *CONVS)
def stride(call: Call) -> Variants:
    given = spread(call["stride"] or 1, CONVS[call.site.function])
    for step in (1, 2, 3, 4):
        if any(step != own for own in given):
            yield f"stride {step} instead of {_spelled(given)}", _with_stride(step)


def _with_stride(step: int):
    return lambda c: c.run(stride=step)


@hypothesis("dilation", *CONVS)
def dilation(call: Call) -> Variants:
    axes = CONVS[call.site.function]
    given = spread(call["dilation"] or 1, axes)
    if any(step != 1 for step in given) and not isinstance(call["padding"], str):
        yield f"the kernel is dense, not dilated by {_spelled(given)}", _dense


def _dense(call: Call):
    """Without dilation, and with what padding then keeps the size."""
    axes = CONVS[call.site.function]
    paddings, steps = (spread(call[name] or 0, axes) for name in ("padding", "dilation"))
    pads = [padding // step for padding, step in zip(paddings, steps, strict=True)]
    return call.run(dilation=1, padding=pads)


def _spelled(values: tuple[int, ...]) -> str:
    return f"{values[0]}" if len({*values}) == 1 else f"{tuple(values)}"


@hypothesis("side of the padding", "pad")
def padded_side(call: Call) -> Variants:
    pads = call["pad"]
    if any(low != high for low, high in zip(pads[::2], pads[1::2], strict=True)):
        yield "the wider side of an uneven padding is the other one", _other_side


def _other_side(call: Call):
    pads = [*call["pad"]]
    turned = [pads[index ^ 1] for index in range(len(pads))]
    return call.run(pad=turned)


@hypothesis("shifted index", "embedding")
def shifted_index(call: Call) -> Variants:
    for shift in SHIFTS:
        yield f"rows are {abs(shift)} {'later' if shift > 0 else 'earlier'}", _shifted(shift)


def _shifted(shift: int):
    return lambda c: c.run(input=c["input"] + shift)


ASSEMBLY: list[Hypothesis] = [
    activated_branch,
    unnormalised,
    stride,
    dilation,
    padded_side,
    shifted_index,
]
