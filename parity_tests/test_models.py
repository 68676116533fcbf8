"""Every model: equal to its torch twin over whole runs, and true to the protocol."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import export

import fdl
from fdl.parity import twins


class Case(NamedTuple):
    """A model, its twin, and one batch."""

    model: fdl.Model
    twin: Callable[[], torch.nn.Module]
    loss: str
    batch: tuple[np.ndarray, ...]


def classified(*shape: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(0)
    return generator.normal(size=shape), generator.integers(0, 10, shape[0])


def regressed(shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(0)
    return generator.uniform(size=shape), generator.uniform(size=out)


def case(name: str, loss: str, batch: tuple[np.ndarray, ...], *args: Any, **kwargs: Any) -> Case:
    model = getattr(fdl.models, name)(*args, **kwargs)
    return Case(model, lambda: getattr(twins, name)(*args, **kwargs), loss, batch)


CASES = {
    "mlp": case("mlp", "cross_entropy", classified(16, 20), [20, 32, 10]),
    "mlp deep, dropout": case(
        "mlp", "cross_entropy", classified(16, 20), [20, 32, 16, 10], dropout=0.3
    ),
    "cnn": case("cnn", "cross_entropy", classified(8, 1, 12, 12), image_size=(12, 12), hidden=16),
    "cnn three blocks": case(
        "cnn",
        "cross_entropy",
        classified(8, 3, 17, 19),
        3,
        image_size=(17, 19),
        channels=(4, 6, 8),
        hidden=16,
        dropout=0.0,
    ),
    "lstm classifier": case("lstm", "cross_entropy", classified(8, 7, 3), 3, 12, 10),
    "lstm forecaster, dropout": case(
        "lstm", "mse_loss", regressed((8, 9, 2), (8, 1)), 2, 8, 1, num_layers=3, dropout=0.4
    ),
    "autoencoder": case("autoencoder", "mse_loss", regressed((8, 20), (8, 20)), [20, 12, 4]),
    "autoencoder, no last activation": case(
        "autoencoder", "mse_loss", regressed((8, 20), (8, 20)), [20, 4], output_activation=None
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
FACTORIES = ("mlp deep, dropout", "cnn", "lstm forecaster, dropout", "autoencoder")
VARIANTS = {name: case for name, case in CASES.items() if name not in FACTORIES}
every_factory = pytest.mark.parametrize("case", [CASES[name] for name in FACTORIES], ids=FACTORIES)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_every_factory_has_a_case():
    assert {name.partition(" ")[0].rstrip(",") for name in FACTORIES} == set(fdl.models.__all__)


@pytest.mark.parametrize(
    "precision", ["float64", pytest.param("float32", marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("case", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_variant_equals_torch_over_training(case, precision):
    check(case, [precision])


@every_factory
def test_every_factory_equals_torch_over_training(case):
    check(case, ["float64", "float32"])


def check(case: Case, precisions: list[str]) -> None:
    report = fdl.parity.compare(
        case.twin(),
        case.model,
        [case.batch],
        loss=case.loss,
        optimizer=(lambda p: torch.optim.AdamW(p, lr=1e-3), fdl.optim.adamw(1e-3)),
        steps=5,
        precisions=precisions,
    )
    assert report.equal, report
    assert {row.kind for row in report.rows} >= {"output", "loss", "gradient", "parameter"}


@every_case
def test_keys_and_shapes_are_torchs(case):
    params, buffers = case.model.init(jax.random.key(0))
    twin = case.twin()
    expected = {name: tuple(t.shape) for name, t in twin.state_dict().items()}
    assert {name: t.shape for name, t in {**params, **buffers}.items()} == expected
    assert params.keys() == dict(twin.named_parameters()).keys()
    twin.load_state_dict(fdl.interop.to_torch(params, buffers), strict=True)


def inputs(case: Case) -> list[jax.Array]:
    return [jnp.array(x, jnp.float32) for x in case.batch[:-1]]


@every_factory
def test_protocol(case):
    model = case.model
    assert list(inspect.signature(model.init).parameters) == ["key"]
    for function in (model.apply, model.trace):
        names = list(inspect.signature(function).parameters)
        assert names == ["params", "buffers", "inputs", "train", "key", "named"]

    params, buffers = model.init(jax.random.key(0))
    arguments = (params, buffers, inputs(case))
    before = jax.tree.map(np.array, arguments)
    key = jax.random.key(1)
    for train in (False, True):
        traces = []

        @jax.jit
        def jitted(params, buffers, inputs, train=train, traces=traces):
            traces.append(1)
            return model.apply(params, buffers, *inputs, train=train, key=key)

        eager = model.apply(params, buffers, *inputs(case), train=train, key=key)
        compiled = jax.tree.map(lambda *pair: pair[0], jitted(*arguments), jitted(*arguments))
        assert len(traces) == 1
        jax.tree.map(near, compiled, eager)
        again = model.apply(params, buffers, *inputs(case), train=train, key=key)
        jax.tree.map(np.testing.assert_array_equal, again, eager)
    jax.tree.map(np.testing.assert_array_equal, arguments, before)


def near(x: jax.Array, y: jax.Array) -> None:
    """Within float32 rounding of each other."""
    x, y = np.asarray(x), np.asarray(y)
    scale = fdl.parity.judge.maximum(y.astype(np.float64))
    error = fdl.parity.judge.distance(x, y, scale, fdl.parity.judge.maximum)
    assert error <= fdl.parity.TOLERANCE.float32(0.0)


@every_factory
def test_training_step_lowers_for_cuda_and_tpu(case):
    loss = getattr(fdl.functional, case.loss)
    optimizer = fdl.optim.adamw()
    step = fdl.train.make_step(fdl.train.supervised(case.model, loss), optimizer)
    state = fdl.train.init_state(
        *case.model.init(jax.random.key(0)), optimizer, key=jax.random.key(1)
    )
    target = jnp.array(case.batch[-1])
    target = target.astype(jnp.float32) if target.dtype == float else target
    exported = export.export(step, platforms=["cuda", "tpu"])(state, (*inputs(case), target))
    assert exported.platforms == ("cuda", "tpu")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fdl.models.mlp([10]), r"mlp: sizes: expected two or more positive numbers"),
        (lambda: fdl.models.autoencoder([10, 0]), r"autoencoder: sizes: .* got \[10, 0\]"),
        (lambda: fdl.models.cnn(image_size=(3, 28)), r"cnn: channels: .*\(3, 28\) pixels"),
    ],
)
def test_wrong_arguments_say_what_is_expected(build, message):
    with pytest.raises(ValueError, match=message):
        build()
