"""fdl.parity.tap: an identity that costs nothing, and is heard through JAX's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from nearness import assert_near

import fdl
from fdl.parity import tap
from fdl.parity._listen import Mark, hear, listen

X = jnp.arange(6.0).reshape(3, 2)


def named(x):
    return jnp.sin(tap("a", jnp.cos(x)))


def plain(x):
    return jnp.sin(jnp.cos(x))


def test_it_costs_nothing_in_the_compiled_program():
    def program(function):
        function.__name__ = function.__qualname__ = "f"
        return jax.jit(function).lower(X).compile().as_text().partition("ENTRY")[2]

    def stripped(text):
        return [line.partition(", metadata")[0] for line in text.splitlines()]

    assert stripped(program(named)) == stripped(program(plain))


def test_it_is_an_identity_with_a_gradient():
    np.testing.assert_array_equal(named(X), plain(X))
    gradient = jax.grad(lambda x: named(x).sum())
    np.testing.assert_array_equal(gradient(X), jax.grad(lambda x: plain(x).sum())(X))
    forward = jax.jvp(named, (X,), (X,))
    np.testing.assert_array_equal(forward[1], jax.jvp(plain, (X,), (X,))[1])


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_it_lowers_elsewhere(platform):
    exported = jax.export.export(jax.jit(named), platforms=[platform])(X)
    assert exported.platforms == (platform,)


@pytest.mark.parametrize(
    "function",
    [
        named,
        jax.jit(named),
        jax.vmap(named),
        jax.vmap(named, in_axes=1, out_axes=1),
        jax.checkpoint(named),
        jax.jit(jax.vmap(jax.checkpoint(named))),
        lambda x: jax.value_and_grad(lambda y: named(y).sum())(x)[0],
    ],
)
def test_it_is_heard_through_transformations(function):
    heard = hear(function, X)
    assert [mark for mark, _ in heard.marks] == [Mark("a", "", None)]
    assert heard.hidden == []
    assert sorted(heard.marks[0][1].shape) == [2, 3]


def test_what_is_heard_can_be_replaced():
    tenfold = listen(named, lambda mark, value: 10 * value)
    assert_near(tenfold(X), jnp.sin(10 * jnp.cos(X)))
    np.testing.assert_array_equal(named(X), plain(X))  # and nobody else hears of it


def test_calls_are_numbered_and_trees_are_taken_apart():
    def network(x):
        x = tap("layer", {"out": x * 2, "state": (x, None)})["out"]
        return tap("layer", {"out": x * 2, "state": (x, None)})

    first, second = [("layer", "out"), ("layer", "state.0")], [("layer#2", "out")]
    marks = [(mark.name, mark.leaf) for mark, _ in hear(network, X).marks]
    assert marks == [*first, *second, ("layer#2", "state.0")]


def test_taps_in_a_loop_are_hidden_and_the_report_says_so():
    class Twin(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(2, 2)

        def forward(self, x):
            for _ in range(3):
                x = self.fc(x)
            return x

    def looped(params, x):
        def step(x, _):
            return tap("fc", x @ params["fc.weight"].T + params["fc.bias"]), None

        return jax.lax.scan(step, x, length=3)[0]

    twin = Twin()
    params = {name: tensor.detach().numpy() for name, tensor in twin.named_parameters()}
    batch = (np.ones((3, 2)), np.ones((3, 2)))
    report = fdl.parity.compare(
        twin, looped, [batch], loss="mse_loss", params=params, precisions=["float64"]
    )
    assert report.equal, str(report)
    (check,) = (check for check in report.preflight if check.name == "taps")
    assert check.status == "note"
    assert "loop" in check.detail
    assert "fc" in check.detail


def by_jvp(x):
    square = jax.custom_jvp(jnp.square)
    square.defjvp(lambda primals, tangents: jax.jvp(jnp.square, primals, tangents))
    return square(x)


def by_vjp(x):
    square = jax.custom_vjp(jnp.square)
    square.defvjp(lambda x: jax.vjp(jnp.square, x), lambda pull, cotangent: pull(cotangent))
    return square(x)


def looped(function):
    return lambda x: jax.lax.fori_loop(0, 2, lambda _, x: function(x), x)


@pytest.mark.parametrize(
    ("function", "customised"),
    [
        (named, False),
        (looped(named), False),
        (by_jvp, True),
        (by_vjp, True),
        (jax.jit(by_vjp), True),
        (looped(by_jvp), True),
    ],
)
def test_derivatives_that_are_written_out_are_seen(function, customised):
    assert hear(function, X).customised is customised
