"""The engine behind the sample tests finds what is wrong, in whatever tensor it shows."""

import jax
import jax.numpy as jnp
import pytest
import torch
from samples.engine import compared
from samples.sample import Sample, parameters

import fdl
import fdl.functional as F
from fdl.parity.report import Row

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn((4, 3, 6, 6), generator=GENERATOR, dtype=torch.float64).requires_grad_()
ROUNDED = IMAGES.detach().round().requires_grad_()
GIVEN = {"Embedding": torch.tensor([0, 2, 2, 5]), "MaxPool2d": ROUNDED, "ReLU": ROUNDED}


class SharedTies(fdl.nn.MaxPool2d):
    def __call__(self, input):
        n, c, h, w = input.shape
        return input.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))


class FrozenBias(fdl.nn.Conv2d):
    def __call__(self, input):
        return F.conv2d(input, self.weight[...], jax.lax.stop_gradient(self.bias[...]))


class Forgetful(fdl.nn.Embedding):
    def __call__(self, input):
        before = self.weight[...]
        output = super().__call__(input)
        self.weight[...] = before
        return output


class Halved(fdl.nn.ReLU):
    def __call__(self, input):
        return jnp.maximum(input, 0)


class WrongWithoutGradients(fdl.nn.Tanh):
    def __call__(self, input):
        wrong = jax.custom_jvp(lambda x: jnp.tanh(x) + 1e-6)
        wrong.defjvp(lambda given, moved: jax.jvp(jnp.tanh, given, moved))
        return wrong(input)


MISTAKES = {
    "epsilon": ("BatchNorm2d", (3,), {"eps": 1e-5}, {"eps": 1e-6}),
    "momentum": ("BatchNorm2d", (3,), {"momentum": 0.1}, {"momentum": 0.9}),
    "dropout rate": ("Dropout", (), {"p": 0.3}, {"p": 0.31}),
    "missing dropout": ("Dropout", (), {"p": 0.3}, {"p": 0.0}),
    "shared ties": ("MaxPool2d", (2,), {}, SharedTies),
    "kink": ("ReLU", (), {}, Halved),
    "bias without gradient": ("Conv2d", (3, 2, 3), {}, FrozenBias),
    "output without gradients": ("Tanh", (), {}, WrongWithoutGradients),
    "table not rewritten": ("Embedding", (6, 2), {"max_norm": 0.5}, Forgetful),
}


def sample(name, args, right, wrong) -> Sample:
    kind, options = (getattr(fdl.nn, name), wrong) if isinstance(wrong, dict) else (wrong, right)

    def build(rngs):
        streams = {"rngs": rngs} if "rngs" in parameters(kind.__init__) else {}
        return kind(*args, **options, **streams)

    builders = (lambda: getattr(torch.nn, name)(*args, **right), build)
    return Sample(name, inputs=(GIVEN.get(name, IMAGES),), builders=builders)


def rows_of(compared_sample) -> list[Row]:
    return [row for train in (True, False) for row in compared(compared_sample, train=train)]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake):
    rows = rows_of(sample(*MISTAKES[mistake]))
    assert not all(row.equal for row in rows)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_without_it_all_is_equal(mistake):
    name, args, right, _ = MISTAKES[mistake]
    rows = rows_of(sample(name, args, right, right))
    assert rows
    assert all(row.equal for row in rows)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_imprecision_is_found(precision):
    class Rounded(fdl.nn.Conv2d):
        def __call__(self, input):
            return super().__call__(input.astype(jnp.bfloat16).astype(input.dtype))

    rows = compared(sample("Conv2d", (3, 2, 3), {}, Rounded), train=True, precision=precision)
    assert not all(row.equal for row in rows)
