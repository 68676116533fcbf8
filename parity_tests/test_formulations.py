"""Which formulation is computed where: forced ones, and what is computed op by op."""

from contextlib import nullcontext

import jax
import jax.numpy as jnp
import pytest

import fdl
import fdl.functional as F
from fdl.functional._formulations import by_platform, forced, forced_of

IMAGES, KERNEL = jnp.ones((2, 3, 6, 6)), jnp.ones((4, 3, 3, 3))
ADAMW = fdl.optim.adamw(1e-3)


class Pooled(fdl.nn.Module):
    """Images turned at its edges, with the choice of the pooling inside."""

    def __init__(self, rngs):
        self.conv = fdl.nn.Conv2d(3, 4, 3, rngs=rngs)

    def __call__(self, images):
        return F.max_pool2d(self.conv(images), 2)


def compiled_again(caplog, function, argument):
    """What is compiled when a function is called for the second time."""
    for _ in range(2):
        caplog.clear()
        with jax.log_compiles():
            jax.block_until_ready(function(argument))
    return [line for line in caplog.messages if line.startswith("Compiling")]


def stepped(kernel):
    return fdl.optim.apply_gradients(ADAMW, kernel, ADAMW.init(kernel), kernel)


@pytest.mark.parametrize("disabled", [False, True], ids=["eager", "disable_jit"])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (stepped, KERNEL),
        (lambda images: F.max_pool2d(images, 2), IMAGES),
        (lambda images: F.conv2d(images, KERNEL), IMAGES),
        (lambda images: jnp.tanh(F.linear(images, jnp.ones((5, 6)))), IMAGES),
    ],
    ids=["adamw", "max_pool2d", "conv2d", "linear"],
)
def test_op_by_op_nothing_is_compiled_twice(function, argument, disabled, caplog):
    with jax.disable_jit() if disabled else nullcontext():
        assert not compiled_again(caplog, function, argument)


def test_networks_compile_nothing_twice_where_jit_is_disabled(caplog):
    model = fdl.as_model(Pooled)
    params, buffers = model.init(jax.random.key(0))

    def loss(params):
        return model.apply(params, buffers, IMAGES)[0].sum()

    with jax.disable_jit():
        assert not compiled_again(caplog, jax.grad(loss), params)


def test_compilations_are_seen(caplog):
    assert compiled_again(caplog, lambda x: jax.jit(lambda x: x + 1)(x), IMAGES)


@pytest.mark.parametrize(("name", "chosen"), [("library", "library"), ("slices", "cpu")])
def test_what_is_forced_is_computed(name, chosen):
    def which(x):
        return by_platform("max_pool", x, library=lambda x: x, cpu=lambda x: 2 * x)

    with forced({"max_pool": name}):
        assert forced_of("max_pool") == name
        for function in (which, jax.jit(which)):
            assert float(function(jnp.float32(1))) == {"library": 1, "cpu": 2}[chosen]


@pytest.mark.parametrize("wrong", [{"max_pool": "onednn"}, {"pooling": "slices"}])
def test_what_is_not_there_is_not_forced(wrong):
    with pytest.raises(ValueError, match=r"expected one of .*, got"), forced(wrong):
        pass
