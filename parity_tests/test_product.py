"""Products of rows with weights by each formulation, and where types say more than shapes."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from nearness import assert_all_equal, assert_near, check

import fdl.functional as F
from fdl._compilation import uncached
from fdl.functional import _onednn, _product
from fdl.functional._formulations import FAMILIES, forced

SHAPES = [((5, 3), (4, 3)), ((2, 5, 3), (4, 3)), ((3,), (4, 3)), ((0, 3), (4, 3)), ((2, 1), (1, 1))]
SHARED = [((2, 3, 5, 4), (2, 3, 6, 4)), ((2, 5, 4), (2, 6, 4)), ((2, 2, 3, 4), (2, 6, 4))]
CALLS = "__onednn$"
here = pytest.mark.skipif(not _onednn._is_there(), reason="needs a jaxlib whose oneDNN is known")


def normal(*shapes):
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape) for shape in shapes]


def single(*arrays):
    return [jnp.asarray(array, jnp.float32) for array in arrays]


def loss(x, w):
    return jnp.sin(F.linear(x, w)).sum()


def image_loss(x, w):
    return jnp.sin(F.conv2d(x, w, padding=1)).sum()


@pytest.mark.parametrize("name", FAMILIES["product"])
@pytest.mark.parametrize(("input", "weight"), SHAPES)
def test_products(name, input, weight):
    with forced({"product": name}):
        check(torch.nn.functional.linear, F.linear, *normal(input, weight))


@pytest.mark.parametrize("name", FAMILIES["product"])
@pytest.mark.parametrize(("input", "weight"), SHAPES)
def test_float32_is_near(name, input, weight):
    x, w = single(*normal(input, weight))

    def values(x, w):
        output, pull = jax.vjp(F.linear, x, w)
        return output, *pull(jnp.cos(output))

    with jax.enable_x64(True):
        expected = values(*(jnp.asarray(array, np.float64) for array in (x, w)))
    with forced({"product": name}):
        jax.tree.map(assert_near, jax.jit(values)(x, w), expected)


def products(x, w):
    """A product and what is pulled back, and back again, through it."""

    def pulled(x, w):
        output, pull = jax.vjp(_product.project, x, w)
        return output, *pull(jnp.cos(output))

    found, pull = jax.vjp(pulled, x, w)
    return *found, *pull(jax.tree.map(jnp.sin, found))


def one_by_one(function, x, w):
    """For each of what is shared alone."""
    if w.ndim == 2:
        return function(x, w)
    found = [one_by_one(function, *pair) for pair in zip(x, w, strict=True)]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *found)


@pytest.mark.parametrize("name", FAMILIES["product"])
@pytest.mark.parametrize(("input", "weight"), SHARED)
def test_weights_of_each_head(name, input, weight):
    x, w = normal(input, weight)
    with jax.enable_x64(True), forced({"product": "library"}):
        expected = one_by_one(products, x, w)
    with forced({"product": name}):
        jax.tree.map(assert_near, jax.jit(products)(*single(x, w)), expected)
        with jax.enable_x64(True):
            assert_all_equal(jax.jit(products)(x, w), expected)


@pytest.mark.parametrize("name", FAMILIES["product"])
@pytest.mark.parametrize("axes", [(0, 0), (1, 2), (2, None), (None, 0)])
def test_heads_of_many_at_once(name, axes):
    def each(function, arrays):
        pairs = zip(arrays, axes, strict=True)
        return [a if axis is None else function(a, axis) for a, axis in pairs]

    x, w = normal((3, 2, 5, 4), (3, 2, 6, 4))
    many = [a[0] if axis is None else a for a, axis in zip((x, w), axes, strict=True)]
    with jax.enable_x64(True), forced({"product": name}):
        together = jax.vmap(products, axes)(*each(lambda a, axis: np.moveaxis(a, 0, axis), many))
        for k in range(3):
            alone = products(*each(lambda a, _, k=k: a[k], many))
            assert_all_equal([all_of_them[k] for all_of_them in together], alone)


@here
@pytest.mark.parametrize(
    ("heads", "length", "keys", "calls"),
    [
        ((2, 3), 16, 512, 6),  # scores, output, and the gradients of both products' operands
        ((2, 3), 15, 64, 2),  # the gradients of keys and values alone
        ((2, 3), 16, 513, 2),
        ((1, 1), 64, 64, 0),
    ],
)
def test_lengths_decide_about_heads(heads, length, keys, calls):
    def attended(*arrays):
        return jnp.sin(F.scaled_dot_product_attention(*arrays)).sum()

    sizes = ((*heads, n, 8) for n in (length, keys, keys))
    arguments = [jax.ShapeDtypeStruct(size, np.float32) for size in sizes]
    with forced({"product": None}):
        text = jax.jit(jax.grad(attended, (0, 1, 2))).lower(*arguments).as_text()
    assert text.count(CALLS) == calls


@pytest.mark.usefixtures("x64")
def test_second_derivatives():
    def torch_function(x, w):
        y = torch.nn.functional.linear(x, w)
        return torch.autograd.grad(y.sin().sum(), (x, w), create_graph=True)

    check(torch_function, lambda x, w: jax.grad(loss, (0, 1))(x, w), *normal((5, 3), (4, 3)))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, None)])
@pytest.mark.usefixtures("x64")
def test_many_at_once(axes):
    gradients = jax.grad(loss, (0, 1))
    x, w = normal((3, 5, 2), (3, 4, 2))
    x, w = (x[0] if axes[0] is None else x), (w[0] if axes[1] is None else w)
    moved = np.moveaxis(x, 0, axes[0]) if axes[0] else x
    together = jax.vmap(gradients, axes)(moved, w)
    for k in range(3):
        alone = gradients(x if axes[0] is None else x[k], w if axes[1] is None else w[k])
        assert_all_equal([all_of_them[k] for all_of_them in together], alone)


@here
@pytest.mark.parametrize(
    ("intel", "rows", "weight", "calls"),
    [
        (False, 7, (4, 3), 0),
        (False, 8, (4, 3), 1),  # the weight's gradient, over twice as many rows
        (True, 3, (4, 3), 0),
        (True, 4, (4, 3), 1),
        (False, 8, (2**9, 2**12), 0),
        (True, 8, (2**9, 2**12), 2),  # output and input's gradient: a large weight for few rows
        (True, 1, (2**9, 2**12), 0),
        (True, 33, (2**9, 2**12), 0),
        (True, 8, (2**9, 2**12 - 1), 0),
    ],
)
def test_rows_and_the_processor_decide(intel, rows, weight, calls, monkeypatch):
    monkeypatch.setattr(_product, "is_intel", lambda: intel)
    step = jax.jit(lambda x, w: jax.grad(loss, (0, 1))(x, w))
    arguments = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((rows, weight[1]), weight)]
    with forced({"product": None}):
        assert step.lower(*arguments).as_text().count(CALLS) == calls


@pytest.mark.parametrize(
    ("rows", "weight", "dtype", "turned"),
    [
        (2, (512, 512), np.float32, True),
        (32, (1024, 512), np.float32, True),
        (16, (512, 512), np.float64, True),
        (16, (511, 512), np.float32, False),
        (1, (1024, 512), np.float32, False),
        (33, (2048, 512), np.float32, False),
        (8, (1024, 511), np.float32, False),
    ],
)
def test_few_rows_are_multiplied_from_the_other_side(rows, weight, dtype, turned):
    with jax.enable_x64(True), forced({"product": None}):
        x, w = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((rows, weight[1]), weight))
        program = jax.jit(F.linear).trace(x, w).lower(lowering_platforms=("cpu",)).as_text()
    assert (f"tensor<{weight[0]}x{rows}x" in program) is turned


@here
def test_programs_call_onednn_unless_others_may_read_them():
    step = jax.jit(jax.grad(loss, (0, 1)))
    arguments = single(*normal((5, 3), (4, 3)))
    with forced({"product": "onednn"}):
        assert step.lower(*arguments).as_text().count(CALLS) == 3
        exported = jax.export.export(step)(*arguments).mlir_module()
    assert CALLS not in exported
    assert exported.count("stablehlo.dot_general") == 3


@here
@pytest.mark.usefixtures("kept_on_disk")
def test_programs_that_are_kept_on_disk_do_not():
    def program():
        return jax.jit(lambda x, w: F.linear(x, w)).lower(*single(*normal((5, 3), (4, 3))))

    with forced({"product": "onednn"}):
        assert CALLS not in program().as_text()
        with uncached():
            assert CALLS in program().as_text()


@here
def test_float64_does_not():
    with jax.enable_x64(True):
        assert CALLS not in jax.jit(loss).lower(*normal((5, 3), (4, 3))).as_text()


TWO_DEVICES = """
import jax, jax.numpy as jnp
import fdl.functional as F
from jax.sharding import NamedSharding, PartitionSpec as P

jax.config.update("jax_num_cpu_devices", 2)
mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
x = jax.device_put(jnp.ones((8, 3)), NamedSharding(mesh, P("data")))
w = jax.device_put(jnp.ones((4, 3)), NamedSharding(mesh, P()))
program = jax.jit(F.linear).lower(x, w)
print(program.as_text().count("__onednn"), float(program.compile()(x, w).sum()))
"""


@here
def test_programs_for_two_devices_do_not():
    command = [sys.executable, "-c", TWO_DEVICES]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0", "96.0"]


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(
    ("function", "input", "weight"),
    [(loss, (4, 3), (5, 3)), (image_loss, (4, 3, 6, 6), (5, 3, 3, 3))],
)
def test_under_shard_map_and_explicit_axes(function, input, weight, kind):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(kind,))
    x, w = single(*normal(input, weight))
    expected = jax.grad(function, (0, 1))(x, w)

    def summed(x, w):
        return jax.lax.psum(function(x, w), "data")

    with jax.set_mesh(mesh):
        x, w = (jax.device_put(a, NamedSharding(mesh, s)) for a, s in ((x, P("data")), (w, P())))
        split = partial(jax.shard_map, in_specs=(P("data"), P()), out_specs=(P("data"), P()))
        jax.tree.map(assert_near, jax.jit(split(jax.grad(summed, (0, 1))))(x, w), expected)
        jax.tree.map(assert_near, jax.jit(jax.grad(function, (0, 1)))(x, w), expected)
