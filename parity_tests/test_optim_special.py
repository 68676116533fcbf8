"""What one optimizer alone does: its numbers, its state, what it asks of its parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal, assert_near
from trajectories import check_precision, option, unrounded

import fdl
from fdl.optim._moments import bias_correction
from fdl.optim.muon import _orthogonalized
from fdl.optim.radam import length_of_average
from fdl.parity import TOLERANCE
from fdl.parity.judge import root_mean_square

# --- Adam and RAdam: numbers in float32


@pytest.mark.parametrize("beta", [0.9, 0.99, 0.999, 0.9999])
def test_bias_correction_is_precise_in_float32(beta):
    steps = np.arange(1, 10_001)
    exact = -np.expm1(steps * np.log(beta))
    errors = np.abs(np.asarray(bias_correction(beta, jnp.asarray(steps))) / exact - 1)
    assert errors.max() <= TOLERANCE.float32(0)


def test_naive_bias_correction_would_be_found():
    naive = 1 - np.float32(0.999) ** np.arange(1, 10_001, dtype=np.float32)
    exact = -np.expm1(np.arange(1, 10_001) * np.log(0.999))
    assert np.abs(naive / exact - 1).max() > TOLERANCE.float32(0)


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.99, 0.999, 0.9999])
def test_length_of_average_is_precise_in_float32(beta):
    steps = np.unique(np.geomspace(1, 1e7, 400).astype(int))
    with jax.enable_x64(True):
        exact = np.asarray(length_of_average(beta, jnp.asarray(steps)))
    plain = 2 / (1 - beta) - 1 - 2 * steps * beta**steps / -np.expm1(steps * np.log(beta))
    assert np.abs(exact / plain - 1).max() <= TOLERANCE.float64
    errors = np.abs(np.asarray(length_of_average(beta, jnp.asarray(steps))) / exact - 1)
    assert errors.max() <= TOLERANCE.float32(0)


# --- half precision


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_hyperparameters_are_not_rounded_to_half_precision(dtype):
    """Rounded, 0.9 and 1 - 0.9 would not sum to 1, nor momentum 0.9 come to 10 gradients."""
    params = {"w": jnp.ones(3, dtype)}
    adam, sgd = fdl.optim.adam(), fdl.optim.sgd(momentum=0.9)

    @jax.jit
    def run():
        def step(states, _):
            moved = [
                o.update(params, s, params)[1] for o, s in zip((adam, sgd), states, strict=True)
            ]
            return tuple(moved), None

        return jax.lax.scan(step, (adam.init(params), sgd.init(params)), length=300)[0]

    mean, buffer = (
        optax.tree.get(state, field)["w"]
        for state, field in zip(run(), ("exp_avg", "momentum_buffer"), strict=True)
    )
    expected_mean = expected_buffer = np.float32(0)
    for _ in range(300):
        mixed = np.float32(0.9) * expected_mean + np.float32(0.1)
        expected_mean = np.float32(jnp.asarray(mixed, dtype))
        expected_buffer = np.float32(jnp.asarray(np.float32(0.9) * expected_buffer + 1, dtype))
    assert mean.dtype == buffer.dtype == jnp.dtype(dtype)
    assert mean.tolist() == [expected_mean] * 3
    assert buffer.tolist() == [expected_buffer] * 3


# --- Adafactor


def test_a_nan_does_not_spoil_the_other_elements_of_a_vector():
    params, grads = np.ones(3), np.array([1.0, np.nan, 2.0])
    theirs = torch.tensor(params, requires_grad=True)
    theirs.grad = torch.tensor(grads)
    torch.optim.Adafactor([theirs]).step()
    with jax.enable_x64(True):
        ours, optimizer = {"w": jnp.asarray(params)}, fdl.optim.adafactor()
        updates, _ = optimizer.update({"w": jnp.asarray(grads)}, optimizer.init(ours), ours)
        moved = optax.apply_updates(ours, updates)
    assert_equal(moved, {"w": theirs.detach().numpy()})


# --- ASGD and RMSprop


def test_asgd_averages_after_t0_and_its_rate_changes_a_step_late():
    params, grads = {"w": jnp.zeros(())}, {"w": jnp.ones(())}
    optimizer = fdl.optim.asgd(lambda step: jnp.where(step < 2, 1.0, 10.0), lambd=0.0, t0=1)
    state, path, averages = optimizer.init(params), [], []
    for _ in range(4):
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        path.append(float(params["w"]))
        averages.append(float(optax.tree.get(state, "ax")["w"]))
    assert path == [-1, -2, -3, -13]  # the rate of step 2 is that of step 3
    assert averages == [-1, -2, -3, -8]  # mu is 1, 1, 1, 1/2


@pytest.mark.parametrize("name", ["asgd", "adafactor"])
def test_what_moves_by_the_parameters_asks_for_them(name):
    optimizer, params = getattr(fdl.optim, name)(), {"w": jnp.ones((2, 3))}
    with pytest.raises(ValueError, match=f"{name}: params: expected"):
        optimizer.update(params, optimizer.init(params))


def test_variance_that_rounding_makes_negative_is_not_nan():
    optimizer = fdl.optim.rmsprop(lr=0.0, alpha=0.5, centered=True)
    grads = {"w": jnp.linspace(0.1, 7.0, 50)}
    state, update = optimizer.init(grads), jax.jit(optimizer.update)
    for _ in range(40):
        updates, state = update(grads, state, grads)
        assert np.isfinite(updates["w"]).all()


# --- Rprop


def test_rprop_leaves_elements_whose_gradient_is_nan_as_torch_does():
    generator = np.random.default_rng(0)
    weight = torch.tensor(generator.normal(size=50).astype(np.float32), requires_grad=True)
    params, optimizer = {"w": jnp.asarray(weight.detach().numpy().copy())}, fdl.optim.rprop()
    reference = torch.optim.Rprop([weight])
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for _ in range(8):
        gradient = generator.normal(size=50).astype(np.float32)
        gradient[generator.random(50) < 0.2] = np.nan
        weight.grad = torch.tensor(gradient)
        reference.step()
        updates, state = update({"w": jnp.asarray(gradient)}, state, params)
        params = optax.apply_updates(params, updates)
        assert_near(params["w"], weight.detach().numpy())
    sizes = reference.state[weight]["step_size"].numpy()
    assert_near(optax.tree.get(state, "step_size")["w"], sizes)


# --- SparseAdam

TABLE = {"w": jnp.ones((4, 2))}
SOME_ROWS = {"w": jnp.zeros((4, 2)).at[1].set(1.0).at[2, 0].set(-1.0)}


def test_absent_rows_keep_their_state_and_their_parameters():
    optimizer = fdl.optim.sparse_adam(0.1)
    everywhere = jax.tree.map(jnp.ones_like, TABLE)
    _, before = optimizer.update(everywhere, optimizer.init(TABLE), TABLE)
    updates, after = optimizer.update(SOME_ROWS, before, TABLE)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        if old.ndim:
            np.testing.assert_array_equal(new[jnp.array([0, 3])], old[jnp.array([0, 3])])
            assert (new[jnp.array([1, 2])] != old[jnp.array([1, 2])]).any(1).all()
    np.testing.assert_array_equal((updates["w"] != 0).any(1), [False, True, True, False])


def test_rows_in_the_batch_may_have_no_gradient():
    """As torch's sparse gradients may: such a row decays its means."""
    weight = torch.ones(4, 2, requires_grad=True)
    reference = torch.optim.SparseAdam([weight], lr=0.1)
    optimizer, params = fdl.optim.sparse_adam(0.1), TABLE
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    values = np.asarray(SOME_ROWS["w"])
    for rows in ([1, 2], [0, 1, 2], [0, 3]):
        sparse = torch.sparse_coo_tensor(
            [rows], torch.tensor(values[rows]), (4, 2), check_invariants=True
        )
        weight.grad = sparse
        reference.step()
        present = jnp.zeros(4, bool).at[jnp.array(rows)].set(True)
        grads = {"w": jnp.where(present[:, None], SOME_ROWS["w"], 0)}
        updates, state = update(grads, state, params, rows={"w": present})
        params = optax.apply_updates(params, updates)
        assert_near(params["w"], weight.detach().numpy())
    assert_near(optax.tree.get(state, "exp_avg")["w"], reference.state[weight]["exp_avg"].numpy())


@pytest.mark.parametrize("mask", [jnp.ones(3, bool), jnp.ones((4, 2), bool), jnp.ones(4)])
def test_mask_of_rows_must_fit(mask):
    optimizer = fdl.optim.sparse_adam(0.1)
    with pytest.raises(ValueError, match=r"sparse_adam: rows: expected .*got"):
        optimizer.update(SOME_ROWS, optimizer.init(TABLE), TABLE, rows={"w": mask})


# --- Adafactor and Muon


def test_zero_gradients_move_nothing():
    params = {"w": jnp.ones((2, 3))}
    for optimizer in (fdl.optim.muon(weight_decay=0.0), fdl.optim.adafactor()):
        grads = jax.tree.map(jnp.zeros_like, params)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        assert not updates["w"].any()


def test_muon_names_what_is_no_matrix():
    params = {"head": {"weight": jnp.ones((2, 3)), "bias": jnp.ones(2)}, "conv": jnp.ones((1,) * 4)}
    with pytest.raises(ValueError, match=r"'conv' of .*'head.bias' of .*optax.partition") as raised:
        fdl.optim.muon().init(params)
    assert "weight" not in str(raised.value)
    labels = jax.tree.map(lambda p: "muon" if p.ndim == 2 else "adamw", params)
    optimizer = optax.partition({"muon": fdl.optim.muon(), "adamw": fdl.optim.adamw()}, labels)
    updates, _ = jax.jit(optimizer.update)(params, optimizer.init(params), params)
    assert all(leaf.any() for leaf in jax.tree.leaves(updates))


A, B, C = 3.4445, -4.7750, 2.0315
ONE_PERCENT_OFF = {
    "first": {"ns_coefficients": (0.99 * A, B, C)},
    "second": {"ns_coefficients": (A, 0.99 * B, C)},
    "third": {"ns_coefficients": (A, B, 0.99 * C)},
    "fewer": {"ns_steps": 4},
    "more": {"ns_steps": 6},
}


@pytest.mark.parametrize("wrong", ONE_PERCENT_OFF)
def test_a_wrong_iteration_is_found_in_bfloat16(wrong):
    """By the comparison of test_optim_table.py, whose bound is four times torch's own error."""
    chosen = option("Muon", "muon", {"lr": 0.02})
    with pytest.raises(AssertionError):
        check_precision(chosen, rounded=True, ns_dtype="bfloat16", **ONE_PERCENT_OFF[wrong])


@pytest.mark.parametrize("shape", [(3, 4), (7, 5), (20, 30), (64, 64)], ids=str)
def test_bfloat16_iteration_of_large_matrices(shape):
    """Twenty matrices, pooled: as near the float64 iteration as torch's own, and nearer to torch's.

    Torch rounds at the same places, and the order of a sum seldom decides which way. So the two
    are nearer to each other than torch's is to itself when its input changes by half a unit in the
    last place of bfloat16.
    """
    generator = np.random.default_rng(0)
    matrices = generator.normal(size=(20, *shape)).astype(np.float32)
    half = float(jnp.finfo(jnp.bfloat16).eps) / 2
    shifted = matrices * (1 + half * generator.uniform(-1, 1, matrices.shape)).astype(np.float32)
    torchs, spread = (iterated(its, "float32") for its in (matrices, shifted))
    with unrounded():
        exact = iterated(matrices, "float64")
    ours = partial(_orthogonalized, coefficients=(A, B, C), steps=5, eps=1e-7, dtype=jnp.bfloat16)
    found = np.asarray(jax.jit(jax.vmap(ours))(matrices))
    error, own = (root_mean_square(its - exact) for its in (found, torchs))
    assert error <= TOLERANCE.multiple * own
    assert root_mean_square(found - torchs) <= root_mean_square(spread - torchs)


def iterated(matrices: np.ndarray, dtype: str) -> np.ndarray:
    """Torch's iteration of each matrix."""
    iteration = torch.optim._muon._zeropower_via_newtonschulz
    tensors = torch.tensor(matrices.astype(dtype))
    return np.stack([iteration(its, (A, B, C), 5, 1e-7).double().numpy() for its in tensors])
