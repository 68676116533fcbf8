"""Hypotheses about precision and about gradients that do not flow."""

import torch

from fdl.parity._calls import Call
from fdl.parity.causes._closeness import ROUGH
from fdl.parity.causes._hypothesis import Hypothesis, Variants, after, hypothesis

PRODUCTS = (
    *("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d"),
    *("conv_transpose3d", "matmul", "mm", "bmm", "__matmul__"),
)
FACTORS = ("input", "weight", "other")
TF32_BITS = 10  # of the mantissa


def to_tf32(tensor: torch.Tensor) -> torch.Tensor:
    """Rounds to the ten bits of mantissa that NVIDIA's TF32 keeps; gradients pass as they are."""
    mantissa, exponent = torch.frexp(tensor.detach())
    steps = 2.0 ** (TF32_BITS + 1)
    rounded = torch.ldexp((mantissa * steps).round() / steps, exponent)
    return tensor + (rounded - tensor.detach())


def to_dtype(dtype: torch.dtype):
    """Rounds to the values of a dtype."""
    return lambda tensor: tensor.to(dtype).to(tensor.dtype)


ROUNDINGS = {
    "bfloat16": to_dtype(torch.bfloat16),
    "float16": to_dtype(torch.float16),
    "TF32": to_tf32,
    "float32": to_dtype(torch.float32),
}


@hypothesis("rounding", *PRODUCTS, residual=ROUGH)
def rounded(call: Call) -> Variants:
    for name, rounding in ROUNDINGS.items():
        yield f"a product of factors rounded to {name}", _factors(rounding)
        yield f"a product of factors rounded to {name}, itself rounded", _all(rounding)


def _factors(rounding):
    def rewrite(call: Call):
        factors = {name: rounding(call[name]) for name in FACTORS if torch.is_tensor(call[name])}
        return call.run(**factors)

    return rewrite


def _all(rounding):
    product = _factors(rounding)

    def rewrite(call: Call):
        bias = call["bias"]
        if bias is None:
            return rounding(product(call))
        axes = 0 if call.site.function == "linear" else call["input"].ndim - 2
        factors = {name: rounding(call[name]) for name in ("input", "weight")}
        unbiased = rounding(call.run(**factors, bias=None))
        return unbiased + bias.reshape(-1, *(1 for _ in range(axes)))

    return rewrite


STOPPABLE = (
    *("linear", "conv2d", "conv1d", "matmul", "softmax", "relu", "batch_norm", "layer_norm"),
    *("tanh", "sigmoid", "gelu", "lstm", "gru", "embedding", "add", "__add__", "mul", "__mul__"),
    *("transpose", "permute", "masked_fill", "div", "__truediv__", "bmm", "mean"),
    *("conv_transpose2d", "group_norm", "instance_norm", "rms_norm", "embedding_bag"),
    *("mse_loss", "cross_entropy", "log_softmax", "dropout", "max_pool2d", "flatten"),
)


@hypothesis("stopped gradient", *STOPPABLE)
def stopped(call: Call) -> Variants:
    yield "no gradient flows back from its output", after(lambda y, c: _stopped(y))
    if torch.is_tensor(call["input"]):
        yield "no gradient flows into its input", lambda c: c.run(input=_stopped(c["input"]))
    if torch.is_tensor(call["other"]):
        yield (
            "no gradient flows into its second factor",
            lambda c: c.run(other=_stopped(c["other"])),
        )
    if torch.is_tensor(call["weight"]):
        yield "no gradient flows into its weight", lambda c: c.run(weight=_stopped(c["weight"]))


class _Stop(torch.autograd.Function):
    """Lets a value through, and zeros as its gradient; what is detached has none to compare."""

    @staticmethod
    def forward(ctx, input):
        """Returns the value."""
        return input.view_as(input)

    @staticmethod
    def backward(ctx, *gradients):
        """Returns zeros."""
        return torch.zeros_like(gradients[0])


def _stopped(output):
    return _Stop.apply(output) if torch.is_tensor(output) else tuple(map(_stopped, output))


@hypothesis("padding_idx", "embedding")
def padding_row(call: Call) -> Variants:
    if call["padding_idx"] is not None:
        yield "the row of the padding index learns too", lambda c: c.run(padding_idx=None)


ROUNDING: list[Hypothesis] = [rounded]
GRADIENTS: list[Hypothesis] = [padding_row, stopped]
