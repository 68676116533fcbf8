"""Hypotheses about weights and biases: in another layout, missing, or counted twice."""

from itertools import permutations

import torch

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, hypothesis

CONVS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
ALL_CONVS = (*CONVS, *TRANSPOSED)
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
GATES = {"lstm": "ifgo", "gru": "rzn"}


@hypothesis("transposed weight", "linear", *ALL_CONVS)
def transposed(call: Call) -> Variants:
    weight = call["weight"]
    if weight.shape[0] == weight.shape[1]:
        yield (
            f"the weight {tuple(weight.shape)} is used with inputs and outputs exchanged",
            lambda c: c.run(weight=c["weight"].transpose(0, 1)),
        )
    if weight.ndim == 4 and weight.shape[2] == weight.shape[3]:
        yield (
            "the kernel's height and width are exchanged",
            lambda c: c.run(weight=c["weight"].transpose(2, 3)),
        )


@hypothesis("transposed weight", "matmul", "mm", "bmm", "__matmul__")
def transposed_product(call: Call) -> Variants:
    other = call["other"]
    if torch.is_tensor(other) and other.ndim > 1 and other.shape[-1] == other.shape[-2]:
        yield "the second factor is transposed", lambda c: c.run(other=c["other"].mT)


@hypothesis("flipped kernel", *ALL_CONVS)
def flipped(call: Call) -> Variants:
    axes = tuple(range(2, call["weight"].ndim))
    mirrored = "a convolution in the mathematical sense: the kernel is mirrored"
    unmirrored = "a convolution with the kernel as it is, not mirrored: no transpose of one"
    words = unmirrored if call.site.function in TRANSPOSED else mirrored
    yield words, lambda c: c.run(weight=c["weight"].flip(axes))


@hypothesis("permuted weight", *ALL_CONVS)
def permuted(call: Call) -> Variants:
    shape = tuple(call["weight"].shape)
    axes = range(len(shape))
    for order in permutations(axes):
        sizes = tuple(shape[axis] for axis in order)
        if order != tuple(axes) and order[:2] != (1, 0) and sizes == shape:
            yield f"the kernel's axes are in the order {order}", _in_order(order)
        elif order != tuple(axes) and sizes != shape:
            yield f"the kernel is a reshape of axes in the order {order}", _reshaped(order)


def _in_order(order):
    return lambda c: c.run(weight=c["weight"].permute(order))


def _reshaped(order):
    return lambda c: c.run(weight=c["weight"].permute(order).reshape(c["weight"].shape))


@hypothesis("gate order", "lstm", "gru")
def gates(call: Call) -> Variants:
    names = GATES[call.site.function]
    for order in permutations(range(len(names))):
        if order != tuple(range(len(names))):
            spelled = ",".join(names[gate] for gate in order)
            yield f"the gates are read as {spelled} instead of {','.join(names)}", _gated(order)


def _gated(order):
    def reordered(weight):
        blocks = weight.chunk(len(order))
        return torch.cat([blocks[gate] for gate in order])

    return lambda c: c.run(flat_weights=[reordered(weight) for weight in c["flat_weights"]])


@hypothesis("missing bias", "linear", *ALL_CONVS)
def missing_bias(call: Call) -> Variants:
    if call["bias"] is not None:
        yield "the bias is not added", lambda c: c.run(bias=None)


@hypothesis("doubled bias", "linear", *ALL_CONVS)
def doubled_bias(call: Call) -> Variants:
    if call["bias"] is not None:
        yield "the bias is added twice", lambda c: c.run(bias=2 * c["bias"])


@hypothesis("missing bias", "lstm", "gru", "rnn_tanh", "rnn_relu")
def missing_recurrent_bias(call: Call) -> Variants:
    if call["has_biases"]:
        for name, kept in (("b_hh", 2), ("b_ih", 3)):
            yield f"only one of the two biases is used, {name} is not", _one_bias(kept)


def _one_bias(kept):
    def weights(call):
        return [w if i % 4 in (0, 1, kept) else w * 0 for i, w in enumerate(call["flat_weights"])]

    return lambda c: c.run(flat_weights=weights(c))


@hypothesis("missing scale and shift", *NORMS)
def missing_affine(call: Call) -> Variants:
    for name in ("weight", "bias"):
        if call[name] is not None:
            yield f"the {name} is not used", _without(name)


def _without(name):
    return lambda c: c.run(**{name: None})


WEIGHTS: list[Hypothesis] = [
    transposed,
    transposed_product,
    flipped,
    permuted,
    gates,
    missing_bias,
    doubled_bias,
    missing_recurrent_bias,
    missing_affine,
]
