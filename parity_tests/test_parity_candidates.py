"""Whatever a candidate is written in, it is compared."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from small_pairs import (
    BUFFERS,
    CNN,
    IMAGES,
    MLP,
    VECTORS,
    compared,
    layer_norm,
    linear,
    network_with_buffers,
    plain,
    shapes,
)

import fdl
from fdl.parity import tap

SEQUENCES = (np.random.default_rng(0).normal(size=(4, 5, 3)), np.array([0, 1, 2, 0]))


def heard(report) -> set[str]:
    return {row.name for row in report.rows if row.kind == "activation"}


def arrays(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {key: tensor.detach().numpy().copy() for key, tensor in module.state_dict().items()}


class SequenceTwin(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = torch.nn.LSTM(3, 4, batch_first=True)
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.lstm(x)[0][:, -1])


# --- libraries


def test_an_fdl_model():
    twin = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    report = compared(twin, fdl.models.mlp([4, 6, 3]), precisions=["float64", "float32"])
    assert report.equal, str(report)
    assert heard(report) == {"0", "1", "2"}


class NNXPort(nnx.Module):
    def __init__(self, rngs, rate=0.0):
        self.fc1 = nnx.Linear(4, 4, rngs=rngs)
        self.norm = nnx.LayerNorm(4, epsilon=1e-5, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.fc2 = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.fc2(self.dropout(jnp.tanh(self.norm(self.fc1(x)))))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_an_nnx_module_with_flax_layers(rate):
    report = compared(MLP(rate), NNXPort(nnx.Rngs(0), rate))
    assert report.equal, str(report)
    assert heard(report) == {"fc1", "norm", "dropout", "fc2"}


def test_an_nnx_module_with_channels_last_inside():
    class Port(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Conv(2, 3, (3, 3), padding="VALID", rngs=rngs)
            self.last = nnx.Linear(48, 3, rngs=rngs)

        def __call__(self, x):
            x = self.first(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
            return self.last(x.reshape(len(x), -1))

    twin = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(48, 3))
    report = compared(twin, Port(nnx.Rngs(0)), IMAGES)
    assert report.equal, str(report)
    assert heard(report) == {"0", "2"}  # known by their parameters


def equinox_port(rate):

    class Port(eqx.Module):
        fc1: eqx.nn.Linear
        norm: eqx.nn.LayerNorm
        dropout: eqx.nn.Dropout
        fc2: eqx.nn.Linear

        def __init__(self, key):
            first, second = jax.random.split(key)
            self.fc1 = eqx.nn.Linear(4, 4, key=first)
            self.norm = eqx.nn.LayerNorm(4)
            self.dropout = eqx.nn.Dropout(rate)
            self.fc2 = eqx.nn.Linear(4, 3, key=second)

        def __call__(self, x, key=None):
            return self.fc2(self.dropout(jnp.tanh(self.norm(self.fc1(x))), key=key))

    return Port(jax.random.key(0))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_an_equinox_module_for_one_example(rate):
    report = compared(MLP(rate), equinox_port(rate))
    assert report.equal, str(report)
    assert heard(report) == {"fc1", "norm", "dropout", "fc2"}


def test_equinox_without_a_key_in_its_signature():
    model = eqx.nn.Sequential([eqx.nn.Linear(4, 4, key=jax.random.key(0)), eqx.nn.Lambda(jnp.tanh)])
    report = compared(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh()), model)
    assert report.equal, str(report)


class LinenPort(linen.Module):
    rate: float = 0.0

    @linen.compact
    def __call__(self, x, train):
        x = linen.LayerNorm(epsilon=1e-5)(linen.Dense(4, name="fc1")(x))
        x = linen.Dropout(self.rate, deterministic=not train, name="dropout")(jnp.tanh(x))
        return linen.Dense(3, name="fc2")(x)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_a_linen_module(rate):
    report = compared(MLP(rate), LinenPort(rate))
    assert report.equal, str(report)
    assert heard(report) == {"fc1", "norm", "dropout", "fc2"}


@pytest.mark.parametrize("whole", [True, False], ids=["variables", "params alone"])
def test_a_linen_module_with_variables(whole):
    variables = LinenPort().init(jax.random.key(0), jnp.ones((1, 4)), False)
    report = compared(MLP(), LinenPort(), params=variables if whole else variables["params"])
    assert report.equal, str(report)


def test_a_linen_module_without_its_bias_does_not_fit():
    class Port(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(3, use_bias=False)(x)

    report = compared(torch.nn.Sequential(torch.nn.Linear(4, 3)), Port())
    assert report.exit_code == 2
    assert "'0.bias'" in report.failure


# --- functions


def test_a_function_of_parameters_and_inputs():
    report = compared(MLP(), plain, params=shapes(MLP()))
    assert report.equal, str(report)
    assert heard(report) == {"fc1", "norm", "fc2"}


def test_a_function_with_a_nested_tree_of_its_own_names():
    def port(params, x):
        for layer in params["layers"]:
            x = x @ layer["w"] + layer["b"]
        return x

    torch.manual_seed(0)
    twin = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 3))
    sizes = ((4, 6), (6, 3))
    params = {"layers": [{"w": jnp.ones(s), "b": jnp.ones(s[1])} for s in sizes]}
    report = compared(twin, port, params=params)
    assert report.equal, str(report)


def test_a_function_that_is_told_mode_and_key():
    def port(params, x, train, key):
        x = jnp.tanh(layer_norm(params, "norm", linear(params, "fc1", x)))
        if train:
            x = jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, 0)
        return linear(params, "fc2", tap("dropout", x))

    report = compared(MLP(0.5), port, params=shapes(MLP()))
    assert report.equal, str(report)


def test_a_function_with_buffers_and_without_the_counter():
    report = compared(CNN(), network_with_buffers, IMAGES, params=shapes(CNN()), buffers=BUFFERS)
    assert [row.name for row in report.rows if not row.equal] == []
    assert report.equal, str(report)


# --- tensors of its own


def test_own_tensors_that_are_right():
    report = compared(MLP(), plain, params=arrays(MLP()), load=False)
    assert report.equal, str(report)


def test_an_own_square_weight_that_is_transposed():
    params = arrays(MLP())
    params["fc1.weight"] = params["fc1.weight"].T
    first = compared(MLP(), plain, params=params, load=False).first_divergence
    assert (first.kind, first.step, first.name) == ("parameter", 0, "fc1.weight")
    assert first.module == "fc1"
    assert first.causes[0].name == "transposed weight"


def lstm_model() -> fdl.Model:
    class Port(fdl.nn.Module):
        def __init__(self, rngs):
            self.lstm = fdl.nn.LSTM(3, 4, batch_first=True, rngs=rngs)
            self.fc = fdl.nn.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.fc(self.lstm(x)[0][:, -1])

    return fdl.as_model(Port)


def test_own_lstm_weights_with_their_gates_in_another_order():
    params = arrays(SequenceTwin())
    for key in ("lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0"):
        i, f, g, o = np.split(params[key], 4)
        params[key] = np.concatenate([i, f, o, g])
    report = compared(SequenceTwin(), lstm_model(), SEQUENCES, params=params, load=False)
    first = report.first_divergence
    assert (first.module, first.kind, first.step) == ("lstm", "parameter", 0)
    assert first.causes[0].name == "gate order"
    assert "i,f,o,g" in first.cause or "ifog" in first.cause


def test_own_tensors_of_an_nnx_module():
    port, twin = NNXPort(nnx.Rngs(0)), MLP()
    for name in ("fc1", "fc2"):
        layer, other = getattr(port, name), getattr(twin, name)
        layer.kernel[...] = jnp.asarray(other.weight.detach().numpy().T)
        layer.bias[...] = jnp.asarray(other.bias.detach().numpy())
    assert compared(MLP(), port, load=False).equal
    port.fc1.kernel[...] = port.fc1.kernel[...].T
    first = compared(MLP(), port, load=False).first_divergence
    assert (first.name, first.causes[0].name) == ("fc1.weight", "transposed weight")


def test_shapes_are_no_tensors_of_its_own():
    report = compared(MLP(), plain, params=shapes(MLP()), load=False)
    assert report.exit_code == 2
    assert "load=False" in report.failure


# --- ties, calls, trees


class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encode = torch.nn.Linear(4, 4, bias=False)
        self.decode = torch.nn.Linear(4, 4, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(torch.tanh(self.encode(x)))


def test_tied_weights_are_one_array():
    def port(params, x):
        weight = params["encode.weight"]
        return tap("decode", jnp.tanh(tap("encode", x @ weight.T)) @ weight.T)

    options = {"optimizer": (torch.optim.AdamW, fdl.optim.adamw()), "steps": 2}
    report = compared(Tied(), port, params={"encode.weight": jnp.ones((4, 4))}, **options)
    assert report.equal, str(report)


def test_tied_weights_in_two_arrays_are_refused():
    def port(params, x):
        return jnp.tanh(x @ params["encode.weight"].T) @ params["decode.weight"].T

    params = {f"{name}.weight": jnp.ones((4, 4)) for name in ("encode", "decode")}
    report = compared(Tied(), port, params=params)
    assert report.exit_code == 2
    assert "'encode.weight' are one tensor in torch (tied), and two in the" in report.failure


class InPlace(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc1 = torch.nn.Linear(4, 4)
        self.relu = torch.nn.ReLU(inplace=True)
        self.fc2 = torch.nn.Linear(4, 4)
        self.last = torch.nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.fc2(self.relu(self.fc1(x)))
        out += x
        return self.last(out)


def test_modules_that_work_in_place():
    def port(params, x):
        hidden = tap("relu", jax.nn.relu(linear(params, "fc1", x)))
        return tap("last", jax.nn.relu(linear(params, "fc2", hidden) + x))

    report = compared(InPlace(), port, params=shapes(InPlace()), precisions=["float64", "float32"])
    assert report.equal, str(report)
    assert heard(report) == {"fc1", "relu", "fc2", "last"}


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(torch.tanh(self.fc(x)))


def test_a_module_that_is_called_twice():
    def port(params, x):
        return linear(params, "fc", jnp.tanh(linear(params, "fc", x)))

    report = compared(Twice(), port, params=shapes(Twice()))
    assert report.equal, str(report)
    assert heard(report) == {"fc", "fc#2"}


def test_the_second_of_two_calls_is_wrong():
    def port(params, x):
        hidden = jnp.tanh(linear(params, "fc", x))
        return tap("fc", hidden @ params["fc.weight"].T)

    first = compared(Twice(), port, params=shapes(Twice())).first_divergence
    assert (first.module, first.name) == ("fc", "fc#2")
    assert first.causes[0].name == "missing bias"


class Several(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x, y):
        both = {"sum": self.fc(x + y), "both": (self.fc(x), self.fc(y))}
        return both, x


def several(params, x, y):
    layer = partial(linear, params, "fc")
    return {"sum": layer(x + y), "both": (layer(x), layer(y))}, x


def several_loss(output, target):
    return output[0]["sum"].sum() * output[0]["both"][1].mean() + output[1].sum()


def test_trees_of_outputs_and_several_inputs():
    batch = (VECTORS[0], VECTORS[0][::-1].copy(), VECTORS[1])
    loss = (several_loss, several_loss)
    report = compared(Several(), several, batch, loss=loss, params=shapes(Several()))
    assert report.equal, str(report)
    outputs = {row.name for row in report.rows if row.kind == "output"}
    assert outputs == {"0.sum", "0.both.0", "0.both.1", "1"}
