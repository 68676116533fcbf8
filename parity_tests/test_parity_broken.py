"""Whatever is wrong with a candidate, there is a verdict in words, and no traceback."""

import jax.numpy as jnp
import pytest
import torch
from small_pairs import BUFFERS, CNN, IMAGES, MLP, compared, network_with_buffers, plain, shapes


def raises(params, x):
    raise RuntimeError("there is a hole\nin the bucket")


def counts(params, x):
    return plain(params, x * float(x.sum()))


def misses(params, x):
    return plain({key: array for key, array in params.items() if key != "fc2.bias"}, x)


BROKEN = {
    "raises": (raises, "the candidate raised RuntimeError"),
    "takes too little": (lambda params: params["fc1.weight"], "raised TypeError"),
    "takes too much": (lambda params, x, y: plain(params, x), "raised TypeError"),
    "reads a number out of the trace": (counts, "raised ConcretizationTypeError"),
    "looks up what is not there": (misses, "raised KeyError"),
    "returns a word": (lambda params, x: "logits", "raised TypeError"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_candidate_that_does_not_run(name):
    candidate, message = BROKEN[name]
    report = compared(MLP(), candidate, params=shapes(MLP()))
    assert report.exit_code == 2
    assert message in report.failure
    assert len(report.failure.splitlines()) == 1
    assert report.first_divergence is None


def test_the_place_where_a_candidate_raises_is_named():
    report = compared(MLP(), raises, params=shapes(MLP()))
    line = raises.__code__.co_firstlineno + 1
    assert report.failure.endswith(f"test_parity_broken.py:{line}): there is a hole")


def without_taps(params, x):
    return jnp.full((len(x), 3), jnp.nan, x.dtype)


@pytest.mark.parametrize(
    "candidate",
    [lambda params, x: plain(params, x) * jnp.nan, without_taps],
    ids=["behind the last tap", "without taps"],
)
def test_a_candidate_that_returns_nan(candidate):
    report = compared(MLP(), candidate, params=shapes(MLP()))
    first = report.first_divergence
    assert report.exit_code == 1
    assert (first.module, first.kind) == ("", "output")
    assert [cause.name for cause in first.causes] == ["not a number"]


WRONG = {
    "another tree": (lambda params, x: {"logits": plain(params, x)}, "the candidate has none"),
    "another shape": (lambda params, x: plain(params, x).T, "shape (3, 8), expected (8, 3)"),
    "one example": (lambda params, x: plain(params, x)[0], "shape (3,), expected (8, 3)"),
    "nothing": (lambda params, x: None, "the candidate has none"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_candidate_that_returns_something_else(name):
    candidate, note = WRONG[name]
    report = compared(MLP(), candidate, params=shapes(MLP()))
    first = report.first_divergence
    assert report.exit_code == 1
    assert (first.module, first.kind) == ("", "output")
    assert next(row.note for row in report.rows if not row.equal) == note


UNFIT = {
    "function without parameters": (plain, {"params": None}, "pass its parameters"),
    "number": (3, {}, "expected an fdl.Model, a Flax or Equinox module, or a function"),
    "array": (jnp.ones(3), {}, "got ArrayImpl"),
    "parameters of another name": (
        plain,
        {"params": {"fc1.weight": jnp.ones((4, 4))}},
        "tensors and torch's do not fit",
    ),
    "parameters of another shape": (
        plain,
        {"params": shapes(MLP()) | {"fc2.weight": jnp.ones((3, 5))}},
        "tensors and torch's do not fit",
    ),
    "parameters that are no arrays": (plain, {"params": {"fc1.weight": "a"}}, "do not fit"),
    "a loss that raises": (
        plain,
        {"params": shapes(MLP()), "loss": (torch.nn.functional.cross_entropy, raises)},
        "raised RuntimeError",
    ),
    "a loss of every example": (
        plain,
        {"params": shapes(MLP()), "loss": (torch.nn.functional.cross_entropy, lambda y, t: y)},
        "raised TypeError",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_candidate_that_does_not_fit(name):
    candidate, options, message = UNFIT[name]
    report = compared(MLP(), candidate, **options)
    assert report.exit_code == 2
    assert message in report.failure


def without_buffers(params, buffers, x, train):
    return network_with_buffers(params, buffers, x, train)[0]


def with_a_buffer_more(params, buffers, x, train):
    output, buffers = network_with_buffers(params, buffers, x, train)
    return output, buffers | {"steps": jnp.zeros(())}


def with_a_buffer_less(params, buffers, x, train):
    output, buffers = network_with_buffers(params, buffers, x, train)
    return output, {"norm.running_mean": buffers["norm.running_mean"]}


@pytest.mark.parametrize("port", [without_buffers, with_a_buffer_more, with_a_buffer_less])
def test_a_function_that_returns_other_buffers(port):
    report = compared(CNN(), port, IMAGES, params=shapes(CNN()), buffers=BUFFERS)
    assert report.exit_code == 2
    assert "(output, buffers)" in report.failure
    assert len(report.failure.splitlines()) == 1
