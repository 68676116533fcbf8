"""The recurrent core's own derivative: in both modes, twice, in one product, and as exact."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from jax import lax
from jax.extend.core import jaxprs_in_params
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from nearness import assert_equal, assert_near, jax_values, torch_values

import fdl.functional as F
from fdl import nn
from fdl.functional import _recurrent_core as core
from fdl.functional._formulations import FAMILIES, forced
from fdl.functional._recurrent_core import Kind, Recall, advance, over_time
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

STEPS, BATCH, HIDDEN, PROJECTED = 6, 3, 5, 2
LENGTHS = np.array([6, 1, 4])
KINDS = {
    "rnn tanh": core.RNN_TANH,
    "rnn relu": core.RNN_RELU,
    "gru": core.GRU,
    "lstm": core.LSTM,
    "lstm projected": core.LSTM,
}
EACH = pytest.mark.parametrize("name", KINDS)
EVERY_FORMULATION = pytest.mark.parametrize("formulation", FAMILIES["recurrence"])
TORCHS = {
    "rnn tanh": (torch.nn.RNN, lambda *args: F.rnn(*args)[0], 1),
    "rnn relu": (torch.nn.RNN, lambda *args: F.rnn(*args, "relu")[0], 1),
    "gru": (torch.nn.GRU, lambda *args: F.gru(*args)[0], 3),
    "lstm": (torch.nn.LSTM, lambda *args: F.lstm(*args)[0], 4),
}


def drawn(name: str, *, steps: int = STEPS, batch: int = BATCH, bias: bool = True) -> Any:
    """Recall, projected input and initial state of one direction of one layer."""
    kind, generator = KINDS[name], np.random.default_rng(0)
    shown = PROJECTED if name.endswith("projected") else HIDDEN
    rows = kind.gates * HIDDEN

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(generator.normal(size=shape))

    recall = Recall(
        normal(shown, rows),
        normal(rows) if bias else None,
        normal(HIDDEN, shown) if shown != HIDDEN else None,
    )
    state = (normal(batch, shown), normal(batch, HIDDEN))[: len(kind.states)]
    return recall, normal(steps, batch, rows), state


def plain(kind: Kind, reverse: bool, recall: Recall, projected: Any, state: Any, valid: Any) -> Any:
    """The scan with JAX's own derivative."""

    def body(state, now):
        projected, valid = now
        new, _, _ = advance(kind, recall, projected, state)
        new = tuple(jnp.where(valid, x, y) for x, y in zip(new, state, strict=True))
        return new, new[0]

    final, outputs = lax.scan(body, state, (projected, valid), reverse=reverse)
    return outputs, final


def objective(run: Any, name: str, reverse: bool, valid: Any) -> Any:
    """A number that depends on every output, and is no linear function of any."""

    def total(inputs):
        leaves = jax.tree.leaves(run(KINDS[name], reverse, *inputs, valid))
        return sum(
            (jnp.sin(x) * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)).sum()
            for x in leaves
        )

    return total


def named(tree: Any) -> dict[str, np.ndarray]:
    return {str(place): np.asarray(x) for place, x in enumerate(jax.tree.leaves(tree))}


def within() -> jax.Array:
    return jnp.asarray(np.arange(STEPS)[:, None, None] < LENGTHS[:, None])


@EACH
@EVERY_FORMULATION
@pytest.mark.parametrize(("reverse", "bias"), [(False, True), (True, False)])
@pytest.mark.usefixtures("x64")
def test_derivatives_are_those_of_the_plain_scan(name, formulation, reverse, bias):
    inputs = drawn(name, bias=bias)
    direction = jax.tree.map(lambda x: jnp.sin(jnp.arange(x.size)).reshape(x.shape), inputs)
    own, reference = (objective(run, name, reverse, within()) for run in (over_time, plain))

    def every(function):
        def along(inputs):
            return jax.jvp(function, (inputs,), (direction,))[1]

        def across(inputs):
            slopes = jax.tree.leaves(jax.grad(function)(inputs))
            return sum(map(jnp.vdot, slopes, jax.tree.leaves(direction)))

        @jax.jit
        def results(inputs):
            first = {"gradient": jax.value_and_grad(function)(inputs), "forward": along(inputs)}
            return first | {
                "reverse over forward": jax.grad(along)(inputs),
                "reverse over reverse": jax.grad(across)(inputs),
                "forward over reverse": jax.jvp(across, (inputs,), (direction,))[1],
            }

        return named(results(inputs))

    expected = every(reference)
    with forced({"recurrence": formulation}):
        assert_equal(every(own), expected)
    assert any(np.abs(x).max() > 1e-3 for x in expected.values())


@pytest.mark.parametrize("name", TORCHS)
@pytest.mark.usefixtures("x64")
def test_second_derivative_is_torchs(name):
    make, function, gates = TORCHS[name]
    torch.manual_seed(0)
    options = {"nonlinearity": "relu"} if name == "rnn relu" else {}
    module = make(4, HIDDEN, **options).double()
    arrays = [p.detach().numpy() for p in module.parameters()]
    x = np.random.default_rng(0).normal(size=(STEPS, BATCH, 4))

    def torchs(*tensors):
        names = [n for n, _ in module.named_parameters()]
        call = torch.func.functional_call
        output = call(module, dict(zip(names, tensors[1:], strict=True)), (tensors[0],))[0]
        grads = torch.autograd.grad((output**2).sum(), tensors, create_graph=True)
        return [g * g for g in grads]

    bundle = F.LSTMWeights if gates == 4 else F.RNNWeights

    def total(x, *weights):
        return (function(x, None, [[bundle(*weights)]]) ** 2).sum()

    def fdls(*inputs):
        return [g * g for g in jax.grad(total, tuple(range(5)))(*inputs)]

    assert_equal(jax_values(fdls, (x, *arrays)), torch_values(torchs, (x, *arrays)))


def scans(jaxpr: Any) -> Iterator[Any]:
    """All loops in a program, those in its parts included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation
        for part in jaxprs_in_params(equation.params):
            yield from scans(part)


def products_of_shape(jaxpr: Any, shape: tuple[int, ...]) -> int:
    """Products outside of loops whose result has this shape, or its transpose."""
    found = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "fdl_pull_matrix"):
            found += equation.outvars[0].aval.shape in (shape, shape[::-1])
        elif equation.primitive.name != "scan":
            parts = jaxprs_in_params(equation.params)
            found += sum(products_of_shape(part, shape) for part in parts)
    return found


def accumulated(run: Any, name: str) -> tuple[int, int]:
    """Matrices that loops of the gradient hand on from step to step, and products after loops."""
    inputs, valid = drawn(name), jnp.ones((STEPS, BATCH, 1), bool)
    shape = inputs[0].matrix.shape
    gradient = jax.make_jaxpr(jax.grad(objective(run, name, False, valid)))(inputs).jaxpr
    loops = list(scans(gradient))
    assert len(loops) >= 2
    handed = [v.aval.shape for loop in loops for v in loop.outvars[: loop.params["num_carry"]]]
    return sum(s in (shape, shape[::-1]) for s in handed), products_of_shape(gradient, shape)


@EACH
def test_gradient_of_weights_is_one_product_after_the_loop(name):
    assert accumulated(over_time, name) == (0, 1)
    carried, after = accumulated(plain, name)
    assert carried >= 1, "this test would not see an accumulation"
    assert after == 0


@EACH
@EVERY_FORMULATION
def test_nothing_is_kept_without_differentiation(name, formulation):
    inputs = drawn(name)
    with forced({"recurrence": formulation}):
        run = jax.make_jaxpr(lambda inputs: over_time(KINDS[name], False, *inputs, None))(inputs)
    (loop,) = scans(run.jaxpr)
    stacked = loop.outvars[loop.params["num_carry"] :]
    assert [v.aval.shape for v in stacked] == [(STEPS, *inputs[2][0].shape)]


@EACH
def test_chains_are_parts_of_the_batch(name):
    with forced({"recurrence": "chains"}):
        run = jax.make_jaxpr(lambda *args: over_time(KINDS[name], False, *args, None))(*drawn(name))
    (loop,) = scans(run.jaxpr)
    carried = [v.aval.shape[0] for v in loop.outvars[: loop.params["num_carry"]]]
    assert sorted(carried) == sorted([BATCH // 2, BATCH - BATCH // 2] * len(KINDS[name].states))


@EACH
@EVERY_FORMULATION
def test_what_is_kept_is_not_taken_apart_in_a_loop_of_its_own(name, formulation):
    inputs = drawn(name)
    with forced({"recurrence": formulation}):
        gradient = jax.make_jaxpr(jax.grad(objective(over_time, name, False, None)))(inputs)
    assert len(list(scans(gradient.jaxpr))) == 2  # there and back


@EACH
def test_frozen_weights_cost_no_product(name):
    recall, projected, state = drawn(name)
    total = objective(over_time, name, False, None)
    gradient = jax.make_jaxpr(jax.grad(lambda p: total((recall, p, state))))(projected).jaxpr
    for shape in (projected.shape, (STEPS, *state[0].shape), recall.matrix.shape):
        assert products_of_shape(gradient, shape) == 0


@EACH
@pytest.mark.parametrize("steps", [1, 3, 4, 9])
@pytest.mark.usefixtures("x64")
def test_any_number_of_steps(name, steps):
    inputs, valid = drawn(name, steps=steps), jnp.ones((steps, BATCH, 1), bool)
    own, reference = (
        jax.jit(jax.value_and_grad(objective(run, name, True, valid)))(inputs)
        for run in (over_time, plain)
    )
    assert_equal(named(own), named(reference))


@EACH
def test_no_sequence_at_all(name):
    gradient = jax.grad(objective(over_time, name, False, None))(drawn(name, batch=0))
    assert all(not np.asarray(x).any() for x in jax.tree.leaves(gradient))


@EACH
@pytest.mark.usefixtures("x64")
def test_vmap_over_weights_and_inputs_is_a_loop(name):
    both = jax.tree.map(lambda x: jnp.stack([x, 0.5 * x]), drawn(name))
    gradient = jax.jit(jax.grad(objective(over_time, name, False, within())))
    got = jax.vmap(gradient)(both)
    for k in range(2):
        one = gradient(jax.tree.map(lambda x, k=k: x[k], both))
        assert_equal(named(jax.tree.map(lambda x, k=k: x[k], got)), named(one))


@EACH
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays(name, dtype):
    inputs = jax.tree.map(lambda x: x.astype(dtype), drawn(name))
    outputs = over_time(KINDS[name], False, *inputs, None)
    gradient = jax.grad(objective(over_time, name, False, None))(inputs)
    assert {str(x.dtype) for x in jax.tree.leaves((outputs, gradient))} == {dtype}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_initial_states_are_spread_as_the_batch_is(layer, kind):
    module = layer(2, HIDDEN, rngs=nnx.Rngs(0))
    shape = (BATCH, 2) if layer.__name__.endswith("Cell") else (STEPS, BATCH, 2)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def gradient(x):
        return jax.grad(lambda x: sum(a.sum() for a in jax.tree.leaves(module(x))))(x)

    expected = gradient(jnp.asarray(x))
    mesh = jax.make_mesh((1,), ("data",), axis_types=(kind,))
    over = P("data") if x.ndim == 2 else P(None, "data")
    with jax.set_mesh(mesh):
        spread = jax.device_put(x, NamedSharding(mesh, over))
        split = jax.shard_map(gradient, in_specs=over, out_specs=over)
        for function in (gradient, split):
            assert_near(jax.jit(function)(spread), expected)


@pytest.mark.parametrize("name", TORCHS)
@EVERY_FORMULATION
def test_float32_is_as_exact_as_torchs(name, formulation):
    make, function, gates = TORCHS[name]
    torch.manual_seed(0)
    options = {"nonlinearity": "relu"} if name == "rnn relu" else {}
    module = make(8, 32, **options)
    weights = [p.detach().numpy() for p in module.parameters()]
    x = np.random.default_rng(0).normal(size=(40, 4, 8)).astype(np.float32)
    bundle = F.LSTMWeights if gates == 4 else F.RNNWeights

    def torchs(*tensors):
        names = [n for n, _ in module.named_parameters()]
        call = torch.func.functional_call
        return call(module, dict(zip(names, tensors[1:], strict=True)), (tensors[0],))[0]

    exact = torch_values(torchs, [a.astype(np.float64) for a in (x, *weights)])
    reference = torch_values(torchs, (x, *weights))
    with forced({"recurrence": formulation}):
        got = jax_values(lambda x, *w: function(x, None, [[bundle(*w)]]), (x, *weights))
    for key, expected in exact.items():
        scale = maximum(expected)
        own, torch_error = (
            distance(np.asarray(side[key]), expected, scale, maximum) for side in (got, reference)
        )
        assert own <= TOLERANCE.float32(torch_error), (key, own, torch_error)
