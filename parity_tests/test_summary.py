"""The summary's figures against torch's tensors, hooks, and the textbook's formulas."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import fdl
from fdl.parity import twins


def network(build) -> fdl.Model:
    return fdl.as_model(build)


def test_layers_shapes_and_parameters_are_torchs():
    options = {"image_size": (12, 12), "channels": (4, 6), "hidden": 16}
    found = fdl.summary(fdl.models.cnn(**options), (5, 1, 12, 12))
    twin = twins.cnn(**options).eval()
    expected = []
    for name, module in twin.named_modules():
        if not [*module.children()]:
            module.register_forward_hook(
                lambda module, _, output, name=name: expected.append(
                    (
                        name,
                        (tuple(output.shape),),
                        sum(p.numel() for p in module.parameters()),
                        sum(b.numel() for b in module.buffers()),
                    )
                )
            )
    twin(torch.zeros(5, 1, 12, 12))
    assert [layer[:4] for layer in found.layers] == expected
    assert found.parameters == sum(p.numel() for p in twin.parameters())
    assert found.parameters == sum(layer.parameters for layer in found.layers)
    assert found.buffers == sum(b.numel() for b in twin.buffers())
    state = twin.state_dict().values()
    integers = [t for t in state if not t.is_floating_point()]  # 4 bytes each here, 8 in torch
    in_torch = sum(t.numel() * t.element_size() for t in state)
    assert found.parameter_bytes == in_torch - 4 * sum(t.numel() for t in integers)


def test_activations_count_each_array_once():
    model = fdl.models.cnn(image_size=(12, 12), channels=(4,), hidden=16, dropout=0.5)
    images, floats = (5, 1, 12, 12), 4
    evaluated, trained = fdl.summary(model, images), fdl.summary(model, images, train=True)
    sizes = {layer.name: layer.bytes for layer in evaluated.layers}
    maps, flat = 5 * 4 * 144 * floats, 5 * 4 * 36 * floats
    assert sizes == {
        **{f"features.{i}": maps for i in range(3)},
        "features.3": flat,
        "classifier.0": flat,
        "classifier.1": 5 * 16 * floats,
        "classifier.2": 5 * 16 * floats,
        "classifier.3": 0,  # dropout in evaluation hands on what it gets
        "classifier.4": 5 * 10 * floats,
    }
    assert evaluated.activation_bytes == sum(sizes.values())
    assert trained.activation_bytes == evaluated.activation_bytes + 5 * 16 * floats


class Residual(fdl.nn.Module):
    """A layer that is called twice, and a sum of the network's own."""

    def __init__(self, rngs):
        self.inner = fdl.nn.Sequential(fdl.nn.Linear(4, 4, rngs=rngs))
        self.scale = fdl.nn.PReLU()

    def __call__(self, x):
        return x + self.scale(self.inner(self.inner(x)))


def test_a_module_called_twice_has_its_parameters_once_and_the_network_its_own_sum():
    found = fdl.summary(network(Residual), (2, 4))
    rows = [(layer.name, layer.parameters, layer.bytes) for layer in found.layers]
    assert rows == [
        ("inner.0", 20, 32),
        ("inner.0#2", 0, 32),
        ("scale", 1, 32),
        ("", 0, 32),
    ]


class Tied(fdl.nn.Module):
    """A language model whose last layer is its embedding."""

    def __init__(self, rngs):
        self.embedding = fdl.nn.Embedding(7, 3, rngs=rngs)
        self.fc = fdl.nn.Linear(3, 7, bias=False, rngs=rngs)
        self.fc.weight = self.embedding.weight

    def __call__(self, x):
        return self.fc(self.embedding(x))


def test_a_tied_tensor_counts_once():
    found = fdl.summary(network(Tied), "i32[2,5]")
    twin = nn.ModuleDict({"embedding": nn.Embedding(7, 3), "fc": nn.Linear(3, 7, bias=False)})
    twin["fc"].weight = twin["embedding"].weight
    assert found.parameters == sum(p.numel() for p in twin.parameters()) == 21
    assert [layer.parameters for layer in found.layers] == [21, 0]
    assert found.layers[-1].shapes == ((2, 5, 7),)


def test_attention_owns_what_no_called_module_does():
    model = network(lambda rngs: fdl.nn.TransformerEncoderLayer(8, 2, 16, rngs=rngs))
    found = fdl.summary(model, (5, 2, 8))
    twin = nn.TransformerEncoderLayer(8, 2, 16)
    assert found.parameters == sum(p.numel() for p in twin.parameters())
    assert found.parameters == sum(layer.parameters for layer in found.layers)
    rows = {layer.name: layer.parameters for layer in found.layers}
    assert rows["linear1"] == 8 * 16 + 16


def linear(rngs):
    return fdl.nn.Linear(64, 32, rngs=rngs)


def conv(rngs):
    return fdl.nn.Conv2d(3, 16, 3, rngs=rngs)


def padded(rngs):
    return fdl.nn.Conv2d(3, 16, 3, padding=1, rngs=rngs)


def lower_bound_of_padded() -> int:
    """Multiplications of a padded convolution by what is not padding, along each axis."""
    taps = 32 * 3 - 2
    return 2 * 2 * 16 * 3 * taps * taps


FORMULAS = {
    "linear": (linear, (8, 64), 2 * 8 * 64 * 32 + 8 * 32),
    "convolution": (conv, (2, 3, 32, 32), 2 * (2 * 16 * 30 * 30) * 27 + 2 * 16 * 30 * 30),
    "padded": (padded, (2, 3, 32, 32), lower_bound_of_padded() + 2 * 16 * 32 * 32),
}


@pytest.mark.parametrize(("build", "shape", "flops"), FORMULAS.values(), ids=FORMULAS)
def test_operations_are_the_textbooks(build, shape, flops):
    assert fdl.summary(network(build), shape).flops == flops


def test_inputs_may_be_arrays_structs_shapes_or_strings():
    model = network(Tied)
    tokens = np.zeros((2, 5), np.int64)
    forms = [tokens, jnp.zeros((2, 5), int), jax.ShapeDtypeStruct((2, 5), jnp.int32), "i64[2,5]"]
    assert len({fdl.summary(model, form) for form in forms}) == 1
    mlp = fdl.models.mlp([4, 2])
    assert len({fdl.summary(mlp, form) for form in ((3, 4), [3, 4], "f32[3,4]")}) == 1


def test_float64_doubles_every_size(x64):
    half, whole = (fdl.summary(fdl.models.mlp([4, 2]), (3, 4)) for _ in range(2))
    assert half == whole
    assert whole.parameter_bytes == 8 * 10
    assert whole.activation_bytes == 8 * 6


def test_nothing_is_allocated():
    class Huge(fdl.nn.Module):
        def __init__(self, rngs):
            self.fc = fdl.nn.Linear(2**20, 2**20, rngs=rngs)

        def __call__(self, x):
            return self.fc(x)

    before = len(jax.live_arrays())
    found = fdl.summary(network(Huge), (1, 2**20))
    assert found.parameter_bytes == 4 * (2**40 + 2**20)  # four terabytes
    assert len(jax.live_arrays()) == before


def test_the_printed_table_and_the_dict_have_all_figures():
    found = fdl.summary(fdl.models.mlp([784, 256, 10]), (32, 784))
    text = str(found)
    for part in ("32x256", "200,960", "203,530", "814 kB", "FLOP", "XLA's memory"):
        assert part in text
    read = json.loads(json.dumps(found.to_dict()))
    assert read["layers"][0]["shapes"] == [[32, 256]]
    assert read["parameters"] == found.parameters
    assert math.isfinite(read["flops"])


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (3, TypeError, r"inputs\[0\]: expected a shape such as .* got 3"),
        ("f99[2]", ValueError, r"inputs\[0\]"),
        ((3, 5), ValueError, "expected 4"),
    ],
)
def test_inputs_that_mean_nothing_are_refused(given, kind, message):
    with pytest.raises(kind, match=message):
        fdl.summary(fdl.models.mlp([4, 2]), given)
