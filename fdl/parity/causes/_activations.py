"""Hypotheses about activations: another one, another parameter, another gradient at a kink."""

import math

import torch
import torch.nn.functional as F

from fdl.parity._calls import Call
from fdl.parity.causes._hypothesis import Hypothesis, Variants, after, hypothesis

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
ABOVE_AND_BELOW = {"hardtanh": (-1.0, 1.0), "relu6": (0.0, 6.0), "clamp": (None, None)}
AT_KINK = {
    0.5: "1/2, as jnp.maximum and jnp.clip have it",
    1.0: "1, as jax.nn.hard_tanh and jax.nn.leaky_relu have it",
    0.0: "0",
}


@hypothesis("GELU", "gelu")
def gelu(call: Call) -> Variants:
    tanh = call["approximate"] == "tanh"
    other, this = ("erf", "tanh") if tanh else ("tanh", "erf")
    mode = "none" if tanh else "tanh"
    yield f"the {other} form instead of the {this} form", lambda c: c.run(approximate=mode)


@hypothesis("negative slope", "relu", "leaky_relu", "prelu")
def slope(call: Call) -> Variants:
    given = {"relu": 0.0, "prelu": math.nan}.get(call.site.function, call["negative_slope"])
    given = 0.01 if given is None else given
    words = "the learnt one" if math.isnan(given) else f"{given:g}"
    for value in (0.0, 0.01, 0.1, 0.2, 0.25, 0.3, 1e-6):
        if value != given:
            yield f"leaky by {value:g} instead of {words}", _leaky(value)


def _leaky(value: float):
    return lambda c: F.leaky_relu(c["input"], value)


@hypothesis("softplus", "softplus")
def softplus(call: Call) -> Variants:
    beta = 1.0 if call["beta"] is None else call["beta"]
    threshold = 20.0 if call["threshold"] is None else call["threshold"]
    yield f"there is no threshold; torch's is the identity above {threshold:g}", _unbounded
    if threshold != 20:
        yield f"the threshold is 20, not {threshold:g}", lambda c: c.run(threshold=20.0)
    if beta != 1:
        yield f"beta is 1, not {beta:g}", lambda c: F.softplus(c["input"])
        yield f"the logarithm is not divided by beta = {beta:g}", after(lambda y, c: y * beta)


def _unbounded(call: Call):
    beta = 1.0 if call["beta"] is None else call["beta"]
    x = call["input"] * beta
    return torch.logaddexp(x, torch.zeros_like(x)) / beta


@hypothesis("another activation", *ACTIVATIONS)
def activation(call: Call) -> Variants:
    yield f"{call.site.function} is missing", lambda c: c["input"]
    for name, function in ACTIVATIONS.items():
        if name != call.site.function:
            yield f"{name} instead of {call.site.function}", _activated(function)


def _activated(function):
    return lambda c: function(c["input"])


@hypothesis("gradient at the kink", "relu", "leaky_relu", "prelu", "abs", *ABOVE_AND_BELOW)
def kink(call: Call) -> Variants:
    bounds = _bounds(call)
    spelled = " and ".join(f"{bound:g}" for bound in bounds)
    for gradient, words in AT_KINK.items():
        yield f"the gradient at {spelled} is {words}", _with_gradient(bounds, gradient)


def _bounds(call: Call) -> list[float]:
    """Where the function has a kink."""
    if call.site.function not in ABOVE_AND_BELOW:
        return [0.0]
    usual = ABOVE_AND_BELOW[call.site.function]
    names = zip(("min_val", "max_val"), ("min", "max"), usual, strict=True)
    values = [next((call[n] for n in (a, b) if call[n] is not None), u) for a, b, u in names]
    return [value for value in values if isinstance(value, int | float)]


def _with_gradient(bounds: list[float], gradient: float):
    def rewrite(call: Call):
        x = call["input"]
        at = torch.isin(x.detach(), torch.tensor(bounds, dtype=x.dtype))
        y = call.run(**({"inplace": False} if call["inplace"] else {}))
        return torch.where(at, y.detach() + gradient * (x - x.detach()), y)

    return rewrite


ACTIVATION: list[Hypothesis] = [gelu, slope, softplus, activation, kink]
