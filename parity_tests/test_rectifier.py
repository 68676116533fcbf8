"""The rectifier behind a dense layer: halves in place on one CPU, one loop everywhere else."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from nearness import assert_equal, assert_near, check

import fdl.functional as F
from fdl.functional._formulations import FAMILIES, forced

LOOP = "stablehlo.while"


@pytest.fixture(autouse=True)
def products_as_chosen():
    """Where few rows are multiplied from the other side, the bias is not behind the product."""
    with forced({"product": None}):
        yield


def rectified(x, w, b):
    return F.relu(F.linear(x, w, b))


def torch_rectified(x, w, b):
    return torch.relu(torch.nn.functional.linear(x, w, b))


def operands(rows, *, outside=4, dtype=np.float64):
    generator = np.random.default_rng(0)
    shapes = (*rows, 3), (outside, 3), (outside,)
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def jitted(function):
    """Compiled anew, by what is forced now."""
    return jax.jit(lambda *arrays: function(*arrays))


def program(function, *arguments):
    return jitted(function).lower(*arguments).as_text()


@pytest.mark.parametrize("name", FAMILIES["rectifier"])
@pytest.mark.parametrize("rows", [(6,), (2, 3), (5,), (3, 2), (0,), ()])
def test_rectified_products(name, rows):
    with forced({"rectifier": name}):
        check(torch_rectified, rectified, *operands(rows))


@pytest.mark.parametrize("name", FAMILIES["rectifier"])
def test_values_without_derivatives(name):
    arrays = operands((6,))
    expected = torch_rectified(*map(torch.tensor, arrays))
    with jax.enable_x64(True), forced({"rectifier": name}):
        assert (LOOP in program(rectified, *arrays)) is (name == "halves")
        got = jitted(rectified)(*arrays)
    assert_equal({"output": np.asarray(got)}, {"output": expected.numpy()})


@pytest.mark.parametrize("name", FAMILIES["rectifier"])
def test_float32_is_near(name):
    arrays = operands((64,), outside=32, dtype=np.float32)
    expected = rectified(*(jnp.asarray(x) for x in arrays))
    with forced({"rectifier": name}):
        assert_near(jitted(rectified)(*arrays), expected)


@pytest.mark.parametrize("name", FAMILIES["rectifier"])
def test_nan_and_infinity_pass(name):
    x = np.array([[np.nan], [np.inf], [-np.inf], [-0.0]], np.float32)
    w, b = np.ones((3, 1), np.float32), np.zeros(3, np.float32)
    with forced({"rectifier": name}):
        got = np.asarray(jitted(rectified)(x, w, b))
    np.testing.assert_array_equal(got[:, 0], [np.nan, np.inf, 0, 0])
    np.testing.assert_array_equal(got, torch_rectified(*map(torch.tensor, (x, w, b))))


@pytest.mark.parametrize(
    ("rows", "outside", "halved"),
    [
        ((128,), 512, True),
        ((2, 64), 512, True),
        ((127,), 512, False),  # short of 256 KiB
        ((129,), 512, False),  # no two halves
        ((1022,), 1024, True),
        ((1024,), 1024, False),  # 4 MiB
    ],
)
def test_what_is_written_decides(rows, outside, halved):
    with forced({"rectifier": None}):
        text = program(rectified, *operands(rows, outside=outside, dtype=np.float32))
    assert (LOOP in text) is halved


def column(x, w, b):
    return F.relu(F.linear(x, w) + b[:, None])


def scaled(x, w, b):
    return F.relu(F.linear(x, w) * 2 + b)


def returned_too(x, w, b):
    product = F.linear(x, w)
    return product, F.relu(product + b)


@pytest.mark.parametrize(
    ("function", "halved"), [(column, False), (scaled, False), (returned_too, True)]
)
def test_only_a_bias_in_every_row_is_taken_along(function, halved):
    arrays = operands((4,), dtype=np.float32)
    expected = function(*(jnp.asarray(x) for x in arrays))
    with forced({"rectifier": "halves"}):
        assert (LOOP in program(function, *arrays)) is halved
        jax.tree.map(assert_near, jitted(function)(*arrays), expected)


def test_what_is_differentiated_is_one_loop():
    def loss(x, w, b):
        return jnp.sin(rectified(x, w, b)).sum()

    with forced({"rectifier": "halves"}):
        assert LOOP in program(loss, *operands((4,), dtype=np.float32))
        assert LOOP not in program(jax.grad(loss), *operands((4,), dtype=np.float32))


@pytest.mark.parametrize(
    ("platforms", "halved"), [(["cpu"], True), (["cuda"], False), (["cpu", "cuda", "tpu"], False)]
)
def test_programs_for_other_platforms_are_left_to_xla(platforms, halved):
    arrays = operands((4,), dtype=np.float32)
    with forced({"rectifier": "halves"}):
        exported = jax.export.export(jitted(rectified), platforms=platforms)(*arrays)
    assert (LOOP in exported.mlir_module()) is halved
    if "cpu" in platforms:
        assert_near(exported.call(*arrays), rectified(*arrays))


def test_many_at_once():
    x, w, b = operands((4, 3), dtype=np.float32)
    each = jax.vmap(rectified, (0, None, None))
    with forced({"rectifier": "halves"}):
        assert LOOP in program(each, x, w, b)
        together = jitted(each)(x, w, b)
        for one, alone in zip(x, together, strict=True):
            assert_near(alone, rectified(one, w, b))


TWO_DEVICES = """
import jax, jax.numpy as jnp
import fdl.functional as F
from fdl.functional._formulations import forced
from jax.sharding import NamedSharding, PartitionSpec as P

jax.config.update("jax_num_cpu_devices", 2)
mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
x = jax.device_put(jnp.ones((8, 3)), NamedSharding(mesh, P("data")))
w, b = (jax.device_put(jnp.ones(shape), NamedSharding(mesh, P())) for shape in ((4, 3), (4,)))
with forced({"rectifier": "halves"}):
    program = jax.jit(lambda x, w, b: F.relu(F.linear(x, w, b))).lower(x, w, b)
print(program.as_text().count("stablehlo.while"), float(program.compile()(x, w, b).sum()))
"""


def test_rows_on_two_devices_stay_where_they_are():
    command = [sys.executable, "-c", TWO_DEVICES]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0", "128.0"]


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_on_a_mesh(kind):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(kind,))
    arrays = operands((4,), dtype=np.float32)
    expected = rectified(*(jnp.asarray(x) for x in arrays))
    specs = P("data"), P(), P()
    with jax.set_mesh(mesh), forced({"rectifier": "halves"}):
        split = jax.shard_map(rectified, in_specs=specs, out_specs=P("data"))
        put = [
            jax.device_put(a, NamedSharding(mesh, s)) for a, s in zip(arrays, specs, strict=True)
        ]
        assert_near(jitted(split)(*put), expected)
        assert_near(jitted(rectified)(*put), expected)
