"""Every network of fdl.models: equal to its counterpart over training, true to the protocol."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import export
from nearness import assert_equal
from safetensors.torch import load_file
from zoo.case import Case
from zoo.catalogue import CASES, factories, factory_of, firsts
from zoo.page import Compared

import fdl
from fdl.parity._record import cast, leaves

LIGHT = [name for name, case in CASES.items() if not case.heavy]
FIRSTS = firsts(heavy=False)
NIGHTLY = pytest.mark.nightly
QUICK = 3
"""Training steps in the ordinary run; all of a case's in the nightly one."""


def some(names: list[str], *, nightly: list[str]) -> Any:
    """Runs for these cases, the nightly ones in the nightly run."""
    late = [pytest.param(CASES[name], id=name, marks=NIGHTLY) for name in nightly]
    return pytest.mark.parametrize(
        "case", [*(pytest.param(CASES[name], id=name) for name in names), *late]
    )


every_factory = some(
    FIRSTS,
    nightly=[n for n in firsts(heavy=True) if factory_of(n) not in map(factory_of, FIRSTS)],
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_every_factory_has_a_case():
    assert {factory_of(name) for name in CASES} == set(factories())


@some(LIGHT, nightly=[])
def test_meaning_in_training(case, record_property):
    record_property("network", compared(case, "float64", min(QUICK, case.steps)))


@pytest.mark.optimised
@some(FIRSTS, nightly=[])
def test_precision_in_training(case, record_property):
    record_property("network", compared(case, "float32", min(QUICK, case.steps)))


@pytest.mark.optimised
@NIGHTLY
@some([*CASES], nightly=[])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_over_training(case, precision, record_property):
    record_property("network", compared(case, precision, case.steps))


def compared(case: Case, precision: str, steps: int) -> tuple[object, ...]:
    """Asserts that a network equals its counterpart through some training steps.

    Returns a :class:`Compared` as a bare tuple, which a test worker can send.
    """
    report = fdl.parity.compare(
        case.twin(),
        case.model(),
        [case.batch],
        loss=case.loss,
        optimizer=case.optimizer,
        steps=steps,
        precisions=[precision],
    )
    assert report.equal, str(report)
    assert {row.kind for row in report.rows} >= {"output", "loss", "gradient", "parameter"}
    assert max(row.step for row in report.rows) == steps
    worst = max(row.error for row in report.rows if row.precision == precision)
    return tuple(Compared(name_of(case), precision, steps, worst))


def name_of(case: Case) -> str:
    (name,) = (name for name, other in CASES.items() if other is case)
    return name


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_keys_and_shapes_are_torchs(case):
    model = case.model()
    params, buffers = jax.eval_shape(model.init, jax.random.key(0))
    with torch.device("meta"):
        twin = case.twin()
    named = {**params, **buffers}
    named |= {alias: named[name] for alias, name in model.tied.items()}
    assert {k: x.shape for k, x in named.items()} == {
        k: tuple(t.shape) for k, t in twin.state_dict().items()
    }
    assert params.keys() == dict(twin.named_parameters()).keys()


@every_factory
def test_safetensors_of_fdl_load_into_torch(case, tmp_path):
    model, twin = case.model(), case.twin().to(torch.float64).eval()
    inputs = cast(case.batch[:-1], "float64")
    with jax.enable_x64(True):
        params, buffers = jax.jit(model.init)(jax.random.key(0))
        fdl.interop.save_safetensors(tmp_path / "w.safetensors", params, buffers, like=model)
        ours, _ = jax.jit(model.apply)(params, buffers, *map(jnp.asarray, inputs))
    twin.load_state_dict(load_file(tmp_path / "w.safetensors"), strict=True)
    with torch.no_grad():
        theirs = twin(*map(torch.tensor, inputs))
    assert_equal(dict(leaves(ours)), {name: tensor.numpy() for name, tensor in leaves(theirs)})
    with jax.enable_x64(True):
        again = fdl.interop.load_safetensors(tmp_path / "w.safetensors", like=model)
    jax.tree.map(np.testing.assert_array_equal, again, (params, buffers))


def inputs_of(case: Case, precision: str) -> list[jax.Array]:
    return [jnp.asarray(x) for x in cast(case.batch[:-1], precision)]


@every_factory
@pytest.mark.usefixtures("x64")
def test_protocol(case):
    model = case.model()
    assert list(inspect.signature(model.init).parameters) == ["key"]
    for function in (model.apply, model.trace):
        names = list(inspect.signature(function).parameters)
        assert names == ["params", "buffers", "inputs", "train", "key", "named"]

    params, buffers = jax.jit(model.init)(jax.random.key(0))
    arguments = (params, buffers, inputs_of(case, "float64"))
    before = jax.tree.map(np.array, arguments)
    key = jax.random.key(1)
    for train in (False, True):
        traces = []

        @jax.jit
        def jitted(params, buffers, inputs, train=train, traces=traces):
            traces.append(1)
            return model.apply(params, buffers, *inputs, train=train, key=key)

        eager = model.apply(params, buffers, *arguments[2], train=train, key=key)
        first, second = jitted(*arguments), jitted(*arguments)
        assert len(traces) == 1
        jax.tree.map(np.testing.assert_array_equal, first, second)
        assert_equal(dict(leaves(first)), {k: np.asarray(x) for k, x in leaves(eager)})
    jax.tree.map(np.testing.assert_array_equal, arguments, before)


@every_factory
def test_training_step_lowers_for_any_platform_and_batch(case):
    model = case.model()
    loss = case.loss[1] if isinstance(case.loss, tuple) else getattr(fdl.functional, case.loss)
    optimizer = fdl.optim.adamw()
    step = fdl.train.make_step(fdl.train.supervised(model, loss), optimizer)
    key = jax.random.key(0)
    state = jax.eval_shape(
        lambda key: fdl.train.init_state(*model.init(key), optimizer, key=key), key
    )
    (rows,) = export.symbolic_shape("rows")
    target = jnp.asarray(*cast(case.batch[-1:], "float32"))
    batch = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype),
        (*inputs_of(case, "float32"), target),
    )
    exported = export.export(step, platforms=["cpu", "cuda", "tpu"])(state, batch)
    assert exported.platforms == ("cpu", "cuda", "tpu")
