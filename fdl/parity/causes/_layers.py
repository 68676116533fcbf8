"""Hypotheses about layers: padding, normalisation, dropout, embeddings, modes."""

from typing import Any

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, after, hypothesis, spread

EPSILONS = (0.0, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
TRACKED = ("batch_norm", "instance_norm")
NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")


@hypothesis("SAME instead of explicit padding", "conv2d", "conv1d", "max_pool2d", "avg_pool2d")
def same_padding(call: Call) -> Variants:
    yield "zeros are split as TensorFlow's SAME does, the odd one at the end", _same_padded


def _same_padded(call: Call):
    x, weight = call["input"], call["weight"]
    axes = x.ndim - 2
    kernel = weight.shape[2:] if weight is not None else spread(call["kernel_size"], axes)
    strides = spread(call["stride"] or kernel if weight is None else call["stride"] or 1, axes)
    dilation = spread(call["dilation"] or 1, axes)
    pads: list[int] = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        pads = [total // 2, total - total // 2, *pads]
    value = float("-inf") if call.site.function == "max_pool2d" else 0.0
    return call.run(input=F.pad(x, pads, value=value), padding=0)


@hypothesis("epsilon", *NORMS)
def epsilon(call: Call) -> Variants:
    given = call["eps"]
    words = "that of the dtype" if given is None else f"{given:g}"
    for eps in EPSILONS:
        if eps != given:
            yield f"epsilon {eps:g} instead of {words}", _with_epsilon(eps)
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


@hypothesis("biased variance", *TRACKED)
def biased_running_variance(call: Call) -> Variants:
    if _trains(call) and call["running_var"] is not None:
        yield "the running variance is that of n, not n - 1 values", _biased


def _trains(call: Call) -> bool:
    """Whether a norm uses the statistics of what it is given."""
    return bool(call["training"] or call["use_input_stats"])


def _biased(call: Call):
    x, momentum = call["input"], call["momentum"]
    before = call["running_var"].clone()
    output = call.run()
    axes = tuple(range(2, x.ndim))
    if call.site.function == "batch_norm":
        batch = x.detach().var((0, *axes), correction=0)
    else:
        batch = x.detach().var(axes, correction=0).mean(0)
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


@hypothesis("momentum convention", *TRACKED)
def momentum(call: Call) -> Variants:
    given = call["momentum"]
    if not _trains(call) or call["running_mean"] is None or given is None:
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


@hypothesis("train instead of eval mode", *TRACKED)
def batch_statistics(call: Call) -> Variants:
    if not _trains(call):
        yield f"the {_whose(call)} own statistics are used", _own_statistics


def _whose(call: Call) -> str:
    return "batch's" if call.site.function == "batch_norm" else "sample's"


def _own_statistics(call: Call):
    return call.run(running_mean=None, running_var=None, **{_flag(call): True})


def _flag(call: Call) -> str:
    return "training" if call.site.function == "batch_norm" else "use_input_stats"


@hypothesis("eval instead of train mode", *TRACKED)
def running_statistics(call: Call) -> Variants:
    if _trains(call) and call["running_mean"] is not None:
        yield "the running statistics are used", lambda c: c.run(**{_flag(c): False})


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


@hypothesis("number of groups", "group_norm")
def groups(call: Call) -> Variants:
    channels, given = call["input"].shape[1], call["num_groups"]
    for number in range(1, channels + 1):
        if channels % number == 0 and number != given:
            yield f"{number} groups instead of {given}", _in_groups(number)
    if 1 < given < channels:
        yield f"a group has every {given}th channel, not channels in a row", _interleaved


def _in_groups(number: int):
    return lambda c: c.run(num_groups=number)


def _interleaved(call: Call):
    x = call["input"]
    order = torch.arange(x.shape[1]).reshape(-1, call["num_groups"]).T.flatten()
    affine = {
        name: None if call[name] is None else call[name][order] for name in ("weight", "bias")
    }
    return call.run(input=x[:, order], **affine)[:, order.argsort()]


@hypothesis("centring", "rms_norm", "layer_norm")
def centring(call: Call) -> Variants:
    if call.site.function == "rms_norm":
        yield "the mean is subtracted, as LayerNorm does", _centred
    else:
        yield "the mean is not subtracted: RMSNorm instead of LayerNorm", _uncentred


def _centred(call: Call):
    eps = torch.finfo(call["input"].dtype).eps if call["eps"] is None else call["eps"]
    return F.layer_norm(call["input"], call["normalized_shape"], call["weight"], None, eps)


def _uncentred(call: Call):
    shape, bias = call["normalized_shape"], call["bias"]
    y = F.rms_norm(call["input"], shape, call["weight"], call["eps"])
    return y if bias is None else y + bias


@hypothesis("local response norm", "local_response_norm")
def response(call: Call) -> Variants:
    size = call["size"]
    width = 2 * size + 1
    yield f"alpha is not divided by size = {size}", _with(alpha=call["alpha"] * size)
    yield f"size is a radius: windows of {width}", _with(size=width)
    yield (
        f"size is a radius: windows of {width}, alpha not divided by it",
        _with(size=width, alpha=call["alpha"] * width),
    )
    yield "the wider side of an even window is the other one", _mirrored
    for name, values in {"k": (1.0, 2.0), "beta": (0.5, 0.75), "alpha": (1.0, 1e-4)}.items():
        for value in values:
            if value != call[name]:
                yield f"{name} {value:g} instead of {call[name]:g}", _with(**{name: value})


def _with(**changes: Any):
    return lambda c: c.run(**changes)


def _mirrored(call: Call):
    return call.run(input=call["input"].flip(1)).flip(1)


@hypothesis("padding counted", "embedding_bag")
def bag_padding(call: Call) -> Variants:
    padding = call["padding_idx"]
    if padding is None:
        return
    yield f"the bag holds its padding {padding} too", lambda c: c.run(padding_idx=None)
    if call["mode"] == "mean" and call["offsets"] is None:
        yield "the sum without padding is divided by the length with it", _over_length


def _over_length(call: Call):
    return call.run(mode="sum") / call["input"].shape[1]


@hypothesis("reduction of a bag", "embedding_bag")
def bag_reduction(call: Call) -> Variants:
    given = call["mode"] or "mean"
    for mode in ("mean", "sum", "max"):
        if mode != given:
            yield f"{mode} instead of {given}", _with(mode=mode)


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
    stopped_statistics,
    groups,
    centring,
    response,
    bag_padding,
    bag_reduction,
]
