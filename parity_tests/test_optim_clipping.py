"""Gradient clipping against torch.nn.utils."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal

import fdl
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

ORDERS = [2.0, 1, 3.5, 0.5, math.inf, "inf", -math.inf, 0, -1.0]
each_order = pytest.mark.parametrize("order", ORDERS, ids=str)


def drawn(dtype: str = "float64", size: float = 1.0) -> dict[str, np.ndarray]:
    """Gradients of several ranks; float32 holds them, for the oracle too starts from it."""
    generator = np.random.default_rng(0)
    shapes = {"weight": (3, 4), "bias": (4,), "scale": (), "zero": (2, 0), "still": (3,)}
    arrays = {k: generator.normal(size=s).astype(np.float32) * size for k, s in shapes.items()}
    arrays["still"] *= 0
    return {k: np.asarray(v, dtype) for k, v in arrays.items()}


def fitting(order, grads):
    """Neither framework knows the largest element of nothing, nor an inverse of zero."""
    if float(order) <= 0 or math.isinf(float(order)):
        grads = {k: v for k, v in grads.items() if v.size}
    return {k: v for k, v in grads.items() if float(order) >= 0 or v.any()}


def torch_clipped(grads, clip):
    """What torch makes of gradients in place, and what its function returns."""
    parameters = {k: torch.zeros(np.shape(v)).requires_grad_() for k, v in grads.items()}
    for name, parameter in parameters.items():
        tensor = torch.as_tensor(np.asarray(grads[name]))
        parameter.data = torch.zeros_like(tensor)
        parameter.grad = tensor.clone()
    returned = clip(list(parameters.values()))
    return {k: p.grad.numpy() for k, p in parameters.items()}, returned


def jax_clipped(grads, transform):
    clipped, _ = jax.jit(transform.update)(jax.tree.map(jnp.asarray, grads), transform.init({}))
    return clipped


@each_order
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3], ids=str)
def test_norm_equals_torch_in_float64(order, size):
    grads = fitting(order, drawn(size=size))
    most = 1.5
    clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=most, norm_type=order)
    expected, norm = torch_clipped(grads, clip)
    with jax.enable_x64(True):
        ours = jax.jit(partial(fdl.optim.get_total_norm, norm_type=order))(grads)
        clipped = jax_clipped(grads, fdl.optim.clip_grad_norm(most, order))
        assert_equal({"norm": ours, **clipped}, {"norm": norm.numpy(), **expected})


def test_sizes_are_on_both_sides_of_the_limit():
    norms = [
        torch.nn.utils.get_total_norm(map(torch.tensor, drawn(size=s).values())) for s in (1e-3, 1)
    ]
    assert norms[0] < 1.5 < norms[1]


@pytest.mark.parametrize("order", [2.0, 1.0, 3.5, math.inf], ids=str)
def test_norm_is_as_precise_as_torchs_in_float32(order):
    clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=0.7, norm_type=order)
    grads = fitting(order, drawn("float32"))
    exact, _ = torch_clipped({k: v.astype(float) for k, v in grads.items()}, clip)
    reference, _ = torch_clipped(grads, clip)
    clipped = jax_clipped(grads, fdl.optim.clip_grad_norm(0.7, order))
    for name, wanted in exact.items():
        own, error = (
            distance(np.asarray(got[name]), wanted, maximum(wanted), maximum)
            for got in (reference, clipped)
        )
        assert error <= TOLERANCE.float32(own)


def test_the_norm_is_that_of_the_norms():
    """Only at order 0 does it matter: arrays with an element that is not zero are counted."""
    assert int(fdl.optim.get_total_norm(drawn("float32"), 0)) == 3
    assert int(sum((v != 0).sum() for v in drawn("float32").values())) == 17


@pytest.mark.parametrize("size", [0.1, 10.0], ids=str)
def test_value_equals_torch(size):
    expected, _ = torch_clipped(
        drawn(size=size), partial(torch.nn.utils.clip_grad_value_, clip_value=0.75)
    )
    with jax.enable_x64(True):
        assert_equal(jax_clipped(drawn(size=size), fdl.optim.clip_grad_value(0.75)), expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            fdl.optim.clip_grad_norm(1.0, order),
            partial(torch.nn.utils.clip_grad_norm_, max_norm=1.0, norm_type=order),
        )
        for order in (2.0, 1.0, math.inf)
    ]
    + [
        (
            fdl.optim.clip_grad_value(1.0),
            partial(torch.nn.utils.clip_grad_value_, clip_value=1.0),
        )
    ],
    ids=["2-norm", "1-norm", "inf-norm", "value"],
)
def test_what_is_not_finite_comes_out_as_from_torch(ours, theirs, bad):
    grads = {"weight": np.array([1.0, bad, -3.0]), "bias": np.array([2.0, 0.0])}
    expected, _ = torch_clipped(grads, theirs)
    with jax.enable_x64(True):
        clipped = jax_clipped(grads, ours)
    for name, wanted in expected.items():
        np.testing.assert_array_equal(clipped[name], wanted)


def test_a_norm_that_is_not_finite_can_be_skipped_in_compiled_code():
    optimizer = optax.apply_if_finite(
        optax.chain(fdl.optim.clip_grad_norm(1.0), fdl.optim.adam()), max_consecutive_errors=5
    )
    params = {"w": jnp.ones(2)}
    update = jax.jit(optimizer.update)
    updates, state = update({"w": jnp.array([jnp.nan, 1.0])}, optimizer.init(params), params)
    assert not updates["w"].any()
    assert not optax.tree.get(state, "exp_avg")["w"].any()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("clip", [fdl.optim.clip_grad_norm(0.3), fdl.optim.clip_grad_value(0.3)])
def test_narrow_dtypes_are_kept_and_rounded_once(dtype, clip):
    grads = {k: jnp.asarray(v, dtype) for k, v in drawn("float32").items()}
    wide = {k: np.asarray(v, np.float32) for k, v in grads.items()}
    clipped, exact = jax_clipped(grads, clip), jax_clipped(wide, clip)
    for name, array in clipped.items():
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, exact[name].astype(dtype))


def test_dtypes_may_be_mixed_as_in_torch():
    grads = {"half": np.float16([3.0, -2.0]), "single": np.float32([1.5])}
    clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=1.0)
    expected, _ = torch_clipped(grads, clip)
    clipped = jax_clipped(grads, fdl.optim.clip_grad_norm(1.0))
    assert {k: v.dtype for k, v in clipped.items()} == {k: v.dtype for k, v in expected.items()}
    for name, wanted in expected.items():
        epsilon = np.finfo(np.float16).eps  # torch rounds a norm of float16 to it
        error = distance(np.asarray(clipped[name]), wanted, maximum(wanted), maximum)
        assert error <= TOLERANCE.multiple * epsilon


def test_what_is_none_does_not_count():
    grads = {"w": jnp.array([3.0, 4.0]), "absent": None}
    clipped = jax_clipped(grads, fdl.optim.clip_grad_norm(1.0))
    alone = jax_clipped({"w": grads["w"]}, fdl.optim.clip_grad_norm(1.0))
    assert clipped["absent"] is None
    np.testing.assert_array_equal(clipped["w"], alone["w"])
    assert jax_clipped({"absent": None}, fdl.optim.clip_grad_norm(1.0)) == {"absent": None}
    assert jax_clipped(grads, fdl.optim.clip_grad_value(1.0))["absent"] is None
    assert float(torch.nn.utils.get_total_norm([])) == float(fdl.optim.get_total_norm({})) == 0


def test_frozen_parameters_can_be_left_out_of_the_norm():
    """As the docstring says; torch has no gradient of them."""
    grads = drawn()
    clip = partial(torch.nn.utils.clip_grad_norm_, max_norm=1.0)
    expected, _ = torch_clipped({k: v for k, v in grads.items() if k != "weight"}, clip)
    leave_out = optax.masked(
        optax.set_to_zero(), lambda grads: {name: name.startswith("weight") for name in grads}
    )
    with jax.enable_x64(True):
        chain = optax.chain(leave_out, fdl.optim.clip_grad_norm(1.0))
        clipped = dict(jax_clipped(grads, chain))
        assert not clipped.pop("weight").any()
        assert_equal(clipped, expected)


def test_the_limit_may_be_traced_and_injected():
    grads = {"w": jnp.array([3.0, 4.0])}
    expected = fdl.optim.clip_grad_norm(0.5).update(grads, optax.EmptyState())[0]
    traced = jax.jit(
        lambda most: fdl.optim.clip_grad_norm(most).update(grads, optax.EmptyState())[0]
    )(0.5)
    injected = optax.inject_hyperparams(fdl.optim.clip_grad_norm, static_args="norm_type")(0.5)
    updates, _ = injected.update(grads, injected.init(grads))
    np.testing.assert_array_equal(traced["w"], expected["w"])
    np.testing.assert_array_equal(updates["w"], expected["w"])


@pytest.mark.parametrize("bound", [-1.0, math.nan])
@pytest.mark.parametrize("name", ["max_norm", "clip_value"])
def test_a_bound_below_zero_is_refused(name, bound):
    clip = {"max_norm": fdl.optim.clip_grad_norm, "clip_value": fdl.optim.clip_grad_value}[name]
    with pytest.raises(ValueError, match=f"{clip.__name__}: {name}: expected 0 or more, got"):
        clip(bound)
