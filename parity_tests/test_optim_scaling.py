"""Loss scaling against torch.amp.GradScaler, and wide optimizers of narrow parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal

import fdl
import fdl.functional as F

STEPS = 60
GENERATOR = np.random.default_rng(0)
PARAMS = {"w": GENERATOR.normal(size=(3, 4)), "b": GENERATOR.normal(size=4)}
DRAWN = {k: GENERATOR.normal(size=(STEPS, *v.shape)) for k, v in PARAMS.items()}
OVERFLOWS = {4: np.inf, 5: np.nan, 19: -np.inf, 33: np.nan, 34: np.inf, 35: np.inf}
SCALES = {
    "defaults": {},
    "growing": {"init_scale": 4.0, "growth_interval": 6},
    "other factors": {"growth_factor": 4.0, "backoff_factor": 0.25, "growth_interval": 1},
}
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, fdl.optim.sgd, {"momentum": 0.9}),
    "adam": (torch.optim.Adam, fdl.optim.adam, {}),
}


def rate(count):
    return 0.1 / (1 + count)


def weights(step):
    """What the loss weighs each parameter by; its first gradient is not finite now and then."""
    drawn = {k: v[step].copy() for k, v in DRAWN.items()}
    drawn["b"][1] = OVERFLOWS.get(step, drawn["b"][1])
    return drawn


def objective(params, drawn):
    return sum((params[k] * drawn[k]).sum() + (params[k] ** 2).sum() for k in params)


def scaled_torch_run(optimizer, options, scaling):
    params = {k: torch.tensor(v).requires_grad_() for k, v in PARAMS.items()}
    reference = optimizer(params.values(), lr=0.1, **options)
    scaler = torch.amp.GradScaler("cpu", **scaling)
    taken = 0
    for step in range(STEPS):
        reference.param_groups[0]["lr"] = rate(taken)
        reference.zero_grad()
        drawn = {k: torch.tensor(v) for k, v in weights(step).items()}
        scaler.scale(objective(params, drawn)).backward()
        scaler.step(reference)
        scaler.update()
        taken += step not in OVERFLOWS
        yield (
            {k: v.detach().numpy().copy() for k, v in params.items()},
            scaler.get_scale(),
            scaler.state_dict()["_growth_tracker"],
        )


@pytest.mark.parametrize("scaling", SCALES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_step_equals_torchs_scaler(name, scaling):
    reference, factory, options = OPTIMIZERS[name]
    expected = scaled_torch_run(reference, options, SCALES[scaling])
    with jax.enable_x64(True):
        inner = factory(rate, **options)
        optimizer = optax.chain(fdl.optim.grad_scaler(inner, **SCALES[scaling]))

        def step(carry, drawn):
            params, state = carry
            scale = fdl.optim.loss_scale(state)
            grads = jax.grad(lambda p: objective(p, drawn) * scale)(params)
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, state[0].scale, state[0].growth_tracker)

        drawn = jax.tree.map(lambda *rows: np.stack(rows), *map(weights, range(STEPS)))
        params = jax.tree.map(jnp.asarray, PARAMS)
        run = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), drawn))
        _, (path, scales, trackers) = run(params)
        for index, (now, scale, tracker) in enumerate(expected):
            assert_equal({k: v[index] for k, v in path.items()}, now)
            assert (scales[index], trackers[index]) == (scale, tracker), index


def test_a_skipped_step_leaves_the_optimizers_state():
    optimizer = fdl.optim.grad_scaler(fdl.optim.adam())
    params = {"w": jnp.ones(2)}
    _, before = optimizer.update(params, optimizer.init(params), params)
    updates, after = optimizer.update({"w": jnp.array([1.0, jnp.nan])}, before, params)
    assert not updates["w"].any()
    assert jax.tree.all(jax.tree.map(jnp.array_equal, before.inner, after.inner))
    assert (before.scale, before.growth_tracker) == (65536, 1)
    assert (after.scale, after.growth_tracker) == (32768, 0)


def test_the_scale_does_not_grow_beyond_what_there_is():
    options = {"init_scale": 2.0**126, "growth_interval": 1}
    optimizer, scaler = fdl.optim.grad_scaler(fdl.optim.sgd(0.0), **options), None
    parameter = torch.zeros((), requires_grad=True)
    reference, scaler = torch.optim.SGD([parameter]), torch.amp.GradScaler("cpu", **options)
    params = {"w": jnp.zeros(())}
    state = optimizer.init(params)
    for _ in range(4):
        scaler.scale(parameter * 0).backward()
        scaler.step(reference)
        scaler.update()
        _, state = optimizer.update(params, state, params)
        assert float(state.scale) == scaler.get_scale()
    assert np.isfinite(state.scale)


def test_what_overflows_as_it_is_divided_is_skipped_and_not_by_torch():
    parameter = torch.zeros((), requires_grad=True)
    reference = torch.optim.SGD([parameter], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-10)
    scaler.scale(parameter)
    parameter.grad = torch.tensor(1e37)
    scaler.step(reference)
    scaler.update()
    assert parameter.item() == -np.inf
    optimizer = fdl.optim.grad_scaler(fdl.optim.sgd(0.1), 2.0**-10)
    params = {"w": jnp.zeros(())}
    updates, state = optimizer.update({"w": jnp.float32(1e37)}, optimizer.init(params), params)
    assert (float(updates["w"]), float(state.scale)) == (0, 2.0**-11)


def test_scale_of_the_loss():
    params = {"w": jnp.ones(2)}
    plain, scaler = fdl.optim.adam(), fdl.optim.grad_scaler(fdl.optim.adam(), 8.0)
    assert fdl.optim.loss_scale(plain.init(params)) == 1.0
    assert type(fdl.optim.loss_scale(plain.init(params))) is float
    off = fdl.optim.grad_scaler(plain, enabled=False)
    assert type(fdl.optim.loss_scale(off.init(params))) is float
    deep = fdl.optim.mixed_precision(fdl.optim.accumulate(optax.chain(scaler), every=2))
    assert fdl.optim.loss_scale(deep.init(params)) == 8
    with pytest.raises(ValueError, match=r"loss_scale: state: expected at most one .*got 2"):
        fdl.optim.loss_scale(optax.chain(scaler, scaler).init(params))


def test_gradients_accumulate_before_they_are_unscaled():
    """One overflow in a window skips it whole, as in torch's loop, and the scale waits for it."""
    scaler = fdl.optim.grad_scaler(fdl.optim.sgd(1.0), 8.0)
    optimizer = fdl.optim.accumulate(scaler, every=2)
    params, path = {"w": jnp.zeros(())}, []
    state = optimizer.init(params)
    for gradient in (16.0, 32.0, jnp.inf, 16.0):
        updates, state = optimizer.update({"w": jnp.float32(gradient)}, state, params)
        path.append((float(updates["w"]), float(fdl.optim.loss_scale(state))))
    assert path == [(0, 8), (-3, 8), (0, 8), (0, 4)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"init_scale": 0.0}, "init_scale: expected .*got 0.0"),
        ({"growth_factor": 1.0}, "growth_factor: expected above 1, got 1.0"),
        ({"backoff_factor": 1.0}, "backoff_factor: expected below 1, got 1.0"),
        ({"backoff_factor": 0.0}, "backoff_factor: expected .*got 0.0"),
        ({"growth_interval": 0}, "growth_interval: expected 1 or more, got 0"),
    ],
)
def test_bad_arguments_of_the_scaler(wrong, message):
    with pytest.raises(ValueError, match=f"grad_scaler: {message}"):
        fdl.optim.grad_scaler(fdl.optim.sgd(), **wrong)


# --- float16 in a step

X = GENERATOR.normal(size=(16, 5))
Y = X @ GENERATOR.normal(size=(5, 3))


def faint(params, buffers, batch, *, train, key):
    """A loss whose gradients are below the smallest float16."""
    del train, key
    x, y = (part.astype(params["weight"].dtype) for part in batch)
    errors = (F.linear(x, params["weight"]) - y).astype(jnp.float32)
    loss = 1e-8 * jnp.mean(errors**2)
    return loss, (buffers, {"loss": loss})


@pytest.mark.parametrize("scaled", [False, True])
def test_float16_trains_where_the_gradient_alone_underflows(scaled):
    inner = fdl.optim.sgd(1e7)
    inner = fdl.optim.grad_scaler(inner, growth_interval=5) if scaled else inner
    optimizer = fdl.optim.mixed_precision(inner)
    params = {"weight": jnp.zeros((3, 5), jnp.float16)}
    state = fdl.train.init_state(params, {}, optimizer, key=jax.random.key(0))
    step, losses = fdl.train.make_step(faint, optimizer), []
    for _ in range(60):
        state, metrics = step(state, (X, Y))
        losses.append(float(metrics["loss"]))
    expected = 1e-8 * np.mean(Y**2)  # the metrics are those of the loss as it is
    np.testing.assert_allclose(losses[0], expected, rtol=float(jnp.finfo(jnp.float16).eps))
    assert state.params["weight"].dtype == jnp.float16
    if scaled:
        assert losses[-1] < losses[0] / 10
    else:
        assert not state.params["weight"].any()


# --- wide optimizers of narrow parameters


def narrow_run(optimizer, narrow, *, master):
    """Torch: the model's parameters and the optimizer's copies after every step."""
    params = {k: torch.tensor(v).to(narrow) for k, v in PARAMS.items()}
    copies = {k: v.double().requires_grad_() for k, v in params.items()}
    reference = optimizer(copies.values())
    for step in range(STEPS):
        for name, copy in copies.items():
            if not master:
                copy.data.copy_(params[name])
            copy.grad = (params[name] * torch.tensor(DRAWN[name][step]).to(narrow)).double()
        reference.step()
        for name, copy in copies.items():
            params[name].copy_(copy.detach())
        yield (
            {k: v.double().numpy() for k, v in params.items()},
            {k: v.detach().numpy().copy() for k, v in copies.items()},
        )


@pytest.mark.parametrize("master", [True, False], ids=["master", "no master"])
@pytest.mark.parametrize("narrow", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_step_equals_torchs_on_wide_copies(name, narrow, master):
    reference, factory, options = OPTIMIZERS[name]
    expected = narrow_run(
        partial(reference, lr=0.1, **options), getattr(torch, narrow), master=master
    )
    with jax.enable_x64(True):
        inner = factory(0.1, **options)
        optimizer = fdl.optim.mixed_precision(inner, master_weights=master)
        params, drawn = ({k: jnp.asarray(v, narrow) for k, v in t.items()} for t in (PARAMS, DRAWN))
        state, multiply = optimizer.init(params), jax.jit(partial(jax.tree.map, jnp.multiply))

        @jax.jit
        def move(params, state, grads):
            updates, state = optimizer.update(grads, state, params)
            with jax.numpy_dtype_promotion("standard"):
                return optax.apply_updates(params, updates), state

        for step, (rounded, copies) in enumerate(expected):
            grads = multiply(params, {k: v[step] for k, v in drawn.items()})
            params, state = move(params, state, grads)
            for key, value in params.items():
                assert value.dtype == narrow
                np.testing.assert_array_equal(value.astype(float), rounded[key])
            if master:
                assert_equal(state.master, copies)
    assert (state.master is None) is not master


@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
def test_large_steps_end_at_the_rounded_copies(narrow):
    """Rounding the sum of parameter and unrounded difference would miss some in a million."""
    generator = np.random.default_rng(0)
    copies, grads = ({"w": jnp.float32(generator.normal(size=1 << 20))} for _ in range(2))
    optimizer = fdl.optim.mixed_precision(fdl.optim.sgd(1.0))

    @jax.jit
    def move(copies, grads):
        params = {"w": copies["w"].astype(narrow)}
        state = optimizer.init(params)._replace(master=copies)
        updates, state = optimizer.update(grads, state, params)
        with jax.numpy_dtype_promotion("standard"):
            return optax.apply_updates(params, updates)["w"], state.master["w"]

    got, copies = move(copies, grads)
    assert int((got != copies.astype(narrow)).sum()) == 0


def test_small_steps_add_up_in_the_wide_copy():
    params = {"w": jnp.ones((), jnp.bfloat16)}
    for master, end in ((True, 0.96875), (False, 1.0)):
        optimizer = fdl.optim.mixed_precision(fdl.optim.sgd(1e-3), master_weights=master)
        state, now = optimizer.init(params), params
        for _ in range(32):
            updates, state = optimizer.update(params, state, now)
            with jax.numpy_dtype_promotion("standard"):
                now = optax.apply_updates(now, updates)
        assert float(now["w"]) == end


@pytest.mark.parametrize(
    ("wide", "asked", "dtype"),
    [
        (False, None, "float32"),
        (True, None, "float64"),
        (True, jnp.float32, "float32"),
        (False, jnp.float16, "float16"),
    ],
)
def test_dtypes_of_the_state(wide, asked, dtype):
    with jax.enable_x64(wide):
        params = {"w": jnp.ones(2, jnp.float16), "b": jnp.ones(3, jnp.float32)}
        optimizer = fdl.optim.mixed_precision(fdl.optim.adam(), dtype=asked)
        state = optimizer.init(params)
        updates, after = jax.jit(optimizer.update)(params, state, params)
        expected = {"w": dtype, "b": max(dtype, "float32") if dtype != "float16" else "float32"}
        for tree in (state.master, after.master, updates, *after.inner[2][1:3]):
            assert {k: v.dtype.name for k, v in tree.items()} == expected


def test_parameters_and_a_fresh_state_may_both_be_donated():
    params = {"w": jnp.ones(2), "b": jnp.ones(2, jnp.bfloat16)}
    optimizer = fdl.optim.mixed_precision(fdl.optim.sgd(1.0))
    update = jax.jit(optimizer.update, donate_argnums=(1, 2))
    grads = jax.tree.map(jnp.zeros_like, params)
    _, state = update(grads, optimizer.init(params), params)
    assert jax.tree.all(jax.tree.map(lambda copy: (copy == 1).all(), state.master))


def test_updates_of_wide_parameters_are_the_optimizers_own():
    params = {"w": jnp.float32(1e8), "b": jnp.float32(3.0)}
    grads = {"w": jnp.float32(0.1), "b": jnp.float32(0.1)}
    inner = fdl.optim.sgd(0.3)
    optimizer = fdl.optim.mixed_precision(inner)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    expected, _ = inner.update(grads, inner.init(params), params)
    assert updates == expected


def test_a_step_on_bfloat16_keeps_the_parameters_the_rounded_copies():
    model = fdl.as_model(lambda rngs: fdl.nn.Linear(4, 3, rngs=rngs))
    loss_fn = fdl.train.supervised(model, F.cross_entropy)
    params, buffers = model.init(jax.random.key(0))
    params = {k: v.astype(jnp.bfloat16) for k, v in params.items()}
    optimizer = fdl.optim.mixed_precision(fdl.optim.sgd(0.5))
    state = fdl.train.init_state(params, buffers, optimizer, key=jax.random.key(1))
    step = fdl.train.make_step(loss_fn, optimizer, micro_batches=2)
    batch = jnp.asarray(X[:6, :4], jnp.bfloat16), jnp.arange(6) % 3
    for _ in range(10):
        state, _ = step(state, batch)
        for name, copy in state.opt_state.master.items():
            assert copy.dtype == jnp.float32
            np.testing.assert_array_equal(
                state.params[name].astype(float), copy.astype(jnp.bfloat16).astype(float)
            )


def test_functions_to_evaluate_get_narrow_parameters():
    def value_fn(params):
        assert params["w"].dtype == jnp.bfloat16
        return jnp.sum((params["w"].astype(jnp.float32) - 3) ** 2)

    optimizer = fdl.optim.mixed_precision(fdl.optim.lbfgs())
    params = {"w": jnp.zeros(2, jnp.bfloat16)}
    value, grads = jax.value_and_grad(value_fn)(params)
    state = optimizer.init(params)
    updates, _ = optimizer.update(grads, state, params, value=value, value_fn=value_fn)
    with jax.numpy_dtype_promotion("standard"):
        assert optax.apply_updates(params, updates)["w"].tolist() == [3, 3]


def test_wide_updates_of_narrow_parameters_are_loud_under_strict_promotion():
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    optimizer = fdl.optim.mixed_precision(fdl.optim.sgd())
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    with pytest.raises(ValueError, match="jax_numpy_dtype_promotion=strict"):
        optax.apply_updates(params, updates)


def test_bad_arguments_of_mixed_precision():
    with pytest.raises(TypeError, match="mixed_precision: dtype: expected a floating dtype"):
        fdl.optim.mixed_precision(fdl.optim.sgd(), dtype=jnp.int32)
    optimizer = fdl.optim.mixed_precision(fdl.optim.sgd())
    with pytest.raises(ValueError, match="mixed_precision: params: expected"):
        optimizer.update(PARAMS, optimizer.init({"w": jnp.ones(2)}))
