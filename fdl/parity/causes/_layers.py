"""Hypotheses about layers: padding, pooling, normalisation, activations, modes."""

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, after, hypothesis

EPSILONS = (0.0, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")
ACTIVATIONS = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "softplus": F.softplus,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "hardtanh": F.hardtanh,
    "selu": F.selu,
    "mish": F.mish,
}


@hypothesis("SAME instead of explicit padding", "conv2d", "conv1d", "max_pool2d", "avg_pool2d")
def same_padding(call: Call) -> Variants:
    yield "zeros are split as TensorFlow's SAME does, the odd one at the end", _same_padded


def _same_padded(call: Call):
    x, weight = call["input"], call["weight"]
    axes = x.ndim - 2
    kernel = weight.shape[2:] if weight is not None else _spread(call["kernel_size"], axes)
    strides = _spread(call["stride"] or kernel if weight is None else call["stride"] or 1, axes)
    dilation = _spread(call["dilation"] or 1, axes)
    pads: list[int] = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    value = float("-inf") if call.site.function == "max_pool2d" else 0.0
    return call.run(input=F.pad(x, pads, value=value), padding=0)


def _spread(value, axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


@hypothesis("epsilon", *NORMS)
def epsilon(call: Call) -> Variants:
    given = call["eps"]
    for eps in EPSILONS:
        if eps != given:
            yield f"epsilon {eps:g} instead of {given:g}", _with_epsilon(eps)
    if call.site.function == "layer_norm":
        yield "epsilon is added to the deviation, not to the variance", _epsilon_outside


def _with_epsilon(eps: float):
    return lambda c: c.run(eps=eps)


def _epsilon_outside(call: Call):
    axes = tuple(range(-len(call["normalized_shape"]), 0))
    x = call["input"]
    centred = x - x.mean(axes, keepdim=True)
    y = centred / (x.std(axes, correction=0, keepdim=True) + call["eps"])
    return _affine(y, call["weight"], call["bias"])


def _affine(y, weight, bias):
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@hypothesis("biased variance", "batch_norm")
def biased_running_variance(call: Call) -> Variants:
    if call["training"] and call["running_var"] is not None:
        yield "the running variance is that of n, not n - 1 values", _biased


def _biased(call: Call):
    x, momentum = call["input"], call["momentum"]
    before = call["running_var"].clone()
    output = call.run()
    axes = [axis for axis in range(x.ndim) if axis != 1]
    batch = x.detach().var(axes, correction=0)
    call["running_var"].data.copy_((1 - momentum) * before + momentum * batch)
    return output


@hypothesis("unbiased variance", "layer_norm", "batch_norm")
def unbiased(call: Call) -> Variants:
    if call.site.function == "layer_norm":
        yield "the variance is divided by n - 1 instead of n", _unbiased_layer_norm
    elif call["training"]:
        yield "the batch is normalised by the variance of n - 1", _unbiased_batch_norm


def _unbiased_layer_norm(call: Call):
    axes = tuple(range(-len(call["normalized_shape"]), 0))
    x = call["input"]
    variance = x.var(axes, correction=1, keepdim=True)
    y = (x - x.mean(axes, keepdim=True)) / (variance + call["eps"]).sqrt()
    return _affine(y, call["weight"], call["bias"])


def _unbiased_batch_norm(call: Call):
    call.run()
    x = call["input"]
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = (1, -1, *(1 for _ in x.shape[2:]))
    variance = x.var(axes, correction=1, keepdim=True)
    y = (x - x.mean(axes, keepdim=True)) / (variance + call["eps"]).sqrt()
    weight, bias = (None if t is None else t.reshape(shape) for t in (call["weight"], call["bias"]))
    return _affine(y, weight, bias)


@hypothesis("momentum convention", "batch_norm", "instance_norm")
def momentum(call: Call) -> Variants:
    given = call["momentum"]
    if not call["training"] or call["running_mean"] is None or given is None:
        return
    yield (
        f"momentum {given:g} weighs the old statistics, not the new ones",
        lambda c: c.run(momentum=1 - c["momentum"]),
    )
    for other in (0.01, 0.001, 0.1, 0.003, 0.0):
        if other not in (given, 1 - given):
            kept = "is never updated" if other == 0 else f"is updated by {other:g}, not {given:g}"
            yield f"the running average {kept}", _with_momentum(other)


def _with_momentum(value: float):
    return lambda c: c.run(momentum=value)


@hypothesis("train instead of eval mode", "batch_norm")
def batch_statistics(call: Call) -> Variants:
    if not call["training"]:
        yield "the batch's own statistics are used", _own_statistics


def _own_statistics(call: Call):
    return call.run(running_mean=None, running_var=None, training=True)


@hypothesis("eval instead of train mode", "batch_norm")
def running_statistics(call: Call) -> Variants:
    if call["training"] and call["running_mean"] is not None:
        yield "the running statistics are used", lambda c: c.run(training=False)


@hypothesis("stopped gradient of the statistics", "batch_norm")
def stopped_statistics(call: Call) -> Variants:
    if call["training"]:
        yield "no gradient flows through the batch's mean and variance", _stopped_statistics


def _stopped_statistics(call: Call):
    x = call["input"]
    axes = [axis for axis in range(x.ndim) if axis != 1]
    mean, variance = x.detach().mean(axes), x.detach().var(axes, correction=0)
    call.run()
    return F.batch_norm(x, mean, variance, call["weight"], call["bias"], False, 0.0, call["eps"])


@hypothesis("dropout scale", "dropout", "dropout1d", "dropout2d", "dropout3d")
def dropout_scale(call: Call) -> Variants:
    p = 0.5 if call["p"] is None else call["p"]
    if call["training"] is False or not 0 < p < 1:
        return
    yield f"what is kept is not divided by 1 - p = {1 - p:g}", after(lambda y, c: y * (1 - p))
    if p != 0.5:
        yield f"what is kept is divided by p = {p:g}", after(lambda y, c: y * (1 - p) / p)


@hypothesis("dropout rate", "dropout", "dropout1d", "dropout2d", "dropout3d")
def dropout_rate(call: Call) -> Variants:
    p = 0.5 if call["p"] is None else call["p"]
    if call["training"] is False or not 0 < p < 1:
        return
    for rate in (0.1, 0.2, 0.5, 0.25, 0.3, 0.4, 0.05, 0.15, 0.6, 0.75, 0.8, 0.9):
        if rate != p:
            yield f"the rate is {rate:g} instead of {p:g}", _with_rate(p, rate)


def _with_rate(p: float, rate: float):
    """What the mask of one rate keeps, scaled as for another."""
    return after(lambda y, c: y * (1 - p) / (1 - rate))


@hypothesis("missing dropout", "dropout", "dropout1d", "dropout2d", "dropout3d")
def missing_dropout(call: Call) -> Variants:
    if call["training"] is not False:
        yield "nothing is dropped: none there, or in evaluation mode", lambda c: c["input"]


@hypothesis("missing dropout", "lstm", "gru", "rnn_tanh", "rnn_relu")
def missing_recurrent_dropout(call: Call) -> Variants:
    if call["train"] and call["dropout"]:
        yield "nothing is dropped between the layers", lambda c: c.run(train=False)


@hypothesis("missing count", "add_")
def uncounted(call: Call) -> Variants:
    if not call["input"].is_floating_point():
        yield "the number of batches is not counted", lambda c: c["input"]


@hypothesis("GELU", "gelu")
def gelu(call: Call) -> Variants:
    tanh = call["approximate"] == "tanh"
    other, this = ("erf", "tanh") if tanh else ("tanh", "erf")
    mode = "none" if tanh else "tanh"
    yield f"the {other} form instead of the {this} form", lambda c: c.run(approximate=mode)


@hypothesis("negative slope", "relu", "leaky_relu", "elu")
def slope(call: Call) -> Variants:
    given = {"relu": 0.0, "leaky_relu": call["negative_slope"]}.get(call.site.function)
    for value in (0.0, 0.01, 0.1, 0.2, 0.3, 1e-6):
        if given is not None and value != given:
            yield f"leaky by {value:g} instead of {given:g}", _leaky(value)


def _leaky(value: float):
    return lambda c: F.leaky_relu(c["input"], value)


@hypothesis("another activation", *ACTIVATIONS)
def activation(call: Call) -> Variants:
    yield f"{call.site.function} is missing", lambda c: c["input"]
    for name, function in ACTIVATIONS.items():
        if name != call.site.function:
            yield f"{name} instead of {call.site.function}", _activated(function)


def _activated(function):
    return lambda c: function(c["input"])


@hypothesis("pooling", "max_pool2d", "avg_pool2d", "max_pool1d", "avg_pool1d")
def pooling(call: Call) -> Variants:
    name = call.site.function
    other = name.replace("max", "avg") if "max" in name else name.replace("avg", "max")
    yield f"{other} instead of {name}", _pooled(getattr(F, other))
    if "avg" in name:
        counted = call["count_include_pad"] is not False
        word = "do not count" if counted else "count"
        yield f"padded zeros {word}", lambda c: c.run(count_include_pad=not counted)


def _pooled(function):
    return lambda c: function(c["input"], c["kernel_size"], c["stride"], c["padding"] or 0)


@hypothesis("shared ties", "max_pool2d")
def shared_ties(call: Call) -> Variants:
    yield "equal maxima of a window share the gradient; in torch the first has it", _shared


def _shared(call: Call):
    padding = call["padding"] or 0
    kernel = _spread(call["kernel_size"], 2)
    stride = _spread(call["stride"] or kernel, 2)
    rows, columns = _spread(padding, 2)
    padded = F.pad(call["input"], (columns, columns, rows, rows), value=float("-inf"))
    windows = padded.unfold(2, kernel[0], stride[0]).unfold(3, kernel[1], stride[1])
    return windows.amax((-2, -1))


@hypothesis("gradient at the kink", "relu", "clamp", "hardtanh", "abs", "leaky_relu")
def kink(call: Call) -> Variants:
    if call.site.function == "relu":
        yield "the gradient at 0 is 1/2, as jnp.maximum has it", _half_kink
        yield "the gradient at 0 is 1", lambda c: c["input"].clamp(min=0)


def _half_kink(call: Call):
    return torch.maximum(call["input"], torch.zeros_like(call["input"]))


LAYERS: list[Hypothesis] = [
    same_padding,
    epsilon,
    biased_running_variance,
    unbiased,
    momentum,
    batch_statistics,
    running_statistics,
    dropout_scale,
    dropout_rate,
    missing_dropout,
    missing_recurrent_dropout,
    uncounted,
    gelu,
    slope,
    activation,
    pooling,
    shared_ties,
    kink,
    stopped_statistics,
]
