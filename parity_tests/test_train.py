"""Training: one compiled step, a reproducible loop, the best weights kept."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal, assert_near

import fdl
import fdl.functional as F
from fdl.parity import TOLERANCE
from fdl.train import accuracy, evaluate, fit, init_state, make_step, predict, supervised

KEY = jax.random.key(0)
GENERATOR = np.random.default_rng(0)
DIGITS = fdl.data.digits()
IMAGES = DIGITS.images.reshape(len(DIGITS.labels), -1)
TRAIN = IMAGES[:500], DIGITS.labels[:500]
VALIDATION = IMAGES[500:700], DIGITS.labels[500:700]
MODEL = fdl.models.mlp([64, 32, 10], dropout=0.2)
LOSS = supervised(MODEL, F.cross_entropy, accuracy=accuracy)
OPTIMIZER = fdl.optim.adam(1e-2)
STEP = make_step(LOSS, OPTIMIZER)

quiet_fit = partial(fit, progress=False)


def start(optimizer=OPTIMIZER, seed: int = 1, model: fdl.Model = MODEL):
    return init_state(*model.init(KEY), optimizer, key=jax.random.key(seed))


def steps(state, count: int, step=STEP):
    losses = []
    for index in range(count):
        rows = slice(50 * (index % 10), 50 * (index % 10 + 1))
        state, metrics = step(state, (TRAIN[0][rows], TRAIN[1][rows]))
        losses.append(float(metrics["loss"]))
    return state, losses


def assert_same(tree, other, *, same: bool = True) -> None:
    equal = jax.tree.map(np.array_equal, jax.device_get(tree), jax.device_get(other))
    assert jax.tree.all(equal) is same


# --- one step


def test_many_steps_are_one_program():
    step = make_step(LOSS, OPTIMIZER)
    state, losses = steps(start(), 12, step)
    assert step._cache_size() == 1
    assert int(state.step) == 12
    assert np.isfinite(losses).all()


def test_the_state_is_donated():
    state = start()
    given = (*state.params.values(), *jax.tree.leaves(state.opt_state))
    steps(state, 1)
    assert all(array.is_deleted() for array in given)


def test_the_first_state_owns_its_arrays():
    params, buffers = MODEL.init(KEY)
    steps(init_state(params, buffers, OPTIMIZER, key=KEY), 1)
    assert not any(array.is_deleted() for array in (*params.values(), KEY))


def test_a_seeded_run_is_reproducible():
    first, again, other = steps(start(), 5), steps(start(), 5), steps(start(seed=2), 5)
    assert_same(first[0].params, again[0].params)
    assert first[1] == again[1]
    assert_same(first[0].params, other[0].params, same=False)  # other dropout masks


def test_each_step_draws_other_masks():
    batch = (TRAIN[0][:50], TRAIN[1][:50])
    _, (_, first) = LOSS(*start()[:2], batch, train=True, key=jax.random.fold_in(KEY, 0))
    _, (_, second) = LOSS(*start()[:2], batch, train=True, key=jax.random.fold_in(KEY, 1))
    state = init_state(*MODEL.init(KEY), fdl.optim.sgd(0.0), key=KEY)
    _, losses = steps(state, 1, make_step(LOSS, fdl.optim.sgd(0.0)))
    assert first["loss"] != second["loss"]
    assert math.isclose(losses[0], first["loss"], rel_tol=TOLERANCE.float32(0))


def test_twenty_steps_equal_a_torch_loop():
    model = fdl.models.mlp([64, 16, 10])
    twin = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    twin = twin.double()
    reference = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    optimizer = fdl.optim.sgd(0.1, momentum=0.9)
    data = TRAIN[0].astype(np.float64), TRAIN[1]
    with jax.enable_x64(True):
        params = fdl.interop.from_torch(twin, like=model)
        state = init_state(*params, optimizer, key=KEY)
        step = make_step(supervised(model, F.cross_entropy), optimizer)
        for seed in range(2):
            for images, labels in fdl.data.batches(data, 50, seed=seed):
                reference.zero_grad()
                logits = twin(torch.tensor(images))
                loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels).long())
                loss.backward()
                reference.step()
                state, metrics = step(state, (images, labels))
                expected = {k: v.detach().numpy() for k, v in twin.named_parameters()}
                assert_equal(
                    {**state.params, **metrics}, {**expected, "loss": loss.detach().numpy()}
                )
    assert int(state.step) == 20


# --- micro-batches


def normalized_pair():
    """The same small network with batch norms on both sides."""
    torch.manual_seed(0)
    twin = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, bias=False),  # its gradient would be rounding alone
        torch.nn.BatchNorm2d(3),
        torch.nn.Flatten(),
        torch.nn.Linear(108, 4),
    )

    def build(rngs):
        return fdl.nn.Sequential(
            fdl.nn.Conv2d(1, 3, 3, bias=False, rngs=rngs),
            fdl.nn.BatchNorm2d(3),
            fdl.nn.Flatten(),
            fdl.nn.Linear(108, 4, rngs=rngs),
        )

    return twin.double(), fdl.as_model(build)


@pytest.mark.parametrize("parts", [1, 4])
def test_micro_batches_equal_a_torch_loop_with_batch_norm(parts):
    twin, model = normalized_pair()
    reference = torch.optim.Adam(twin.parameters(), lr=0.02)
    optimizer = fdl.optim.adam(0.02)
    images, targets = GENERATOR.normal(size=(5, 12, 1, 8, 8)), GENERATOR.normal(size=(5, 12, 4))
    with jax.enable_x64(True):
        tensors = fdl.interop.from_torch(twin, like=model)
        state = init_state(*tensors, optimizer, key=KEY)
        step = make_step(supervised(model, F.mse_loss), optimizer, micro_batches=parts)
        for batch in zip(images, targets, strict=True):
            reference.zero_grad()
            chunks = zip(*(torch.tensor(part).chunk(parts) for part in batch), strict=True)
            losses = [torch.nn.functional.mse_loss(twin(x), y) / parts for x, y in chunks]
            for loss in losses:
                loss.backward()
            reference.step()
            state, metrics = step(state, batch)
            expected = {k: v.numpy() for k, v in twin.state_dict().items()}
            expected["loss"] = sum(losses).detach().numpy()
            assert_equal({**state.params, **state.buffers, **metrics}, expected)
    assert int(state.buffers["1.num_batches_tracked"]) == 5 * parts
    assert step._cache_size() == 1


def test_each_micro_batch_draws_its_own_key():
    seen = []

    def spy(params, buffers, batch, *, train, key):
        jax.debug.callback(lambda rows, data: seen.append((rows.tolist(), data)), *batch, key)
        return params["w"] * batch[0].mean(), (buffers, {"rows": batch[0].mean()})

    optimizer = fdl.optim.sgd(1.0)
    state = init_state({"w": jnp.zeros(())}, {}, optimizer, key=KEY)
    step = make_step(spy, optimizer, micro_batches=3)
    for _ in range(2):
        state, metrics = step(state, (jnp.arange(6.0),))
    jax.effects_barrier()
    assert [rows for rows, _ in seen] == [[0, 1], [2, 3], [4, 5]] * 2
    assert len({jax.random.key_data(key).tobytes() for _, key in seen}) == 6
    assert metrics == {"rows": 2.5}
    assert float(state.params["w"]) == -5


def test_a_parameter_that_the_forward_pass_rewrites_goes_from_part_to_part():
    def rewriting(params, buffers, batch, *, train, key):
        buffers = {**buffers, "seen": params["w"]}
        return 0 * params["w"], (buffers | {"w": 2 * params["w"] + batch[0].sum()}, {})

    optimizer = fdl.optim.sgd(1.0)
    start = {"w": jnp.ones(())}, {"seen": jnp.zeros(())}
    state = init_state(*start, optimizer, key=KEY)
    state, _ = make_step(rewriting, optimizer, micro_batches=2)(state, (jnp.array([1.0, 5.0]),))
    assert (float(state.params["w"]), float(state.buffers["seen"])) == (11, 3)
    assert state.buffers.keys() == {"seen"}


@pytest.mark.parametrize(
    ("rows", "parts", "message"),
    [
        (50, 0, "expected 1 or more, got 0"),
        (50, 3, "expected a divisor of the number of rows, got 3 for 50. Choose .* multiple of 3"),
    ],
)
def test_micro_batches_must_divide_the_rows(rows, parts, message):
    state = init_state({"w": jnp.ones(())}, {}, OPTIMIZER, key=KEY)
    with pytest.raises(ValueError, match=f"make_step: micro_batches: {message}"):
        make_step(LOSS, OPTIMIZER, micro_batches=parts)(
            state, (jnp.ones((rows, 2)), jnp.ones(rows))
        )


# --- optimizers that evaluate the loss themselves


def closure(twin, x, y):
    twin.zero_grad()
    loss = torch.nn.functional.mse_loss(twin(x), y)
    loss.backward()
    return loss


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_a_step_of_lbfgs_equals_torchs_step_of_a_closure(search, parts):
    options = {"lr": 0.5, "max_iter": 6, "line_search_fn": search}
    twin = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    twin = twin.double()
    reference, optimizer = (
        torch.optim.LBFGS(twin.parameters(), **options),
        fdl.optim.lbfgs(**options),
    )
    inputs, targets = GENERATOR.normal(size=(3, 8, 5)), GENERATOR.normal(size=(3, 8, 2))
    model = fdl.as_model(
        lambda rngs: fdl.nn.Sequential(
            fdl.nn.Linear(5, 4, rngs=rngs), fdl.nn.Tanh(), fdl.nn.Linear(4, 2, rngs=rngs)
        )
    )
    with jax.enable_x64(True):
        state = init_state(*fdl.interop.from_torch(twin, like=model), optimizer, key=KEY)
        step = make_step(supervised(model, F.mse_loss), optimizer, micro_batches=parts)
        for batch in zip(inputs, targets, strict=True):
            first = reference.step(partial(closure, twin, *map(torch.tensor, batch)))
            state, metrics = step(state, batch)
            expected = {k: v.detach().numpy() for k, v in twin.named_parameters()}
            assert_equal({**state.params, **metrics}, {**expected, "loss": first.detach().numpy()})
    evaluations = reference.state[next(twin.parameters())]["func_evals"]
    assert int(state.opt_state.func_evals) == evaluations > 3


def test_the_line_search_of_optax_gets_what_it_asks_for(quick_compilation):
    def bowl(params, buffers, batch, *, train, key):
        loss = ((params["w"] - batch[0].mean()) ** 2).sum()
        return loss, (buffers, {"loss": loss})

    optimizer = optax.lbfgs()
    state = init_state({"w": jnp.zeros(3)}, {}, optimizer, key=KEY)
    step = make_step(bowl, optimizer)
    for _ in range(3):
        state, metrics = step(state, (jnp.array([1.0, 3.0]),))
    assert float(metrics["loss"]) <= TOLERANCE.float32(0)


def test_buffers_are_those_of_the_first_evaluation():
    def counting(params, buffers, batch, *, train, key):
        loss = ((params["w"] - batch[0]) ** 4).sum()
        return loss, ({"calls": buffers["calls"] + 1}, {"loss": loss})

    optimizer = fdl.optim.lbfgs()
    state = init_state({"w": jnp.zeros(3)}, {"calls": jnp.zeros(())}, optimizer, key=KEY)
    state, _ = make_step(counting, optimizer)(state, (jnp.ones(3),))
    assert int(state.opt_state.func_evals) > 1
    assert float(state.buffers["calls"]) == 1


def test_the_loss_is_scaled_for_the_optimizer_and_nobody_else():
    optimizer = fdl.optim.grad_scaler(OPTIMIZER, init_scale=2.0**10)
    plain, losses = steps(start(), 3)
    scaled, scaled_losses = steps(start(optimizer), 3, make_step(LOSS, optimizer))
    np.testing.assert_allclose(scaled_losses, losses, rtol=TOLERANCE.float32(0))
    for name, value in plain.params.items():
        assert_near(scaled.params[name], value)
    assert int(scaled.opt_state.growth_tracker) == 3


# --- fit


@pytest.fixture(scope="module")
def trained():
    return quiet_fit(start(), LOSS, OPTIMIZER, TRAIN, VALIDATION, epochs=6)


def test_loss_goes_down_on_digits(trained):
    rows = trained.history
    assert rows[-1]["train_loss"] < rows[0]["train_loss"] / 2
    assert rows[-1]["validation_accuracy"] > 0.5


def test_history_has_one_row_an_epoch(trained):
    parts = [f"{part}_{name}" for part in ("train", "validation") for name in ("loss", "accuracy")]
    assert all(list(row) == ["epoch", *parts, "seconds"] for row in trained.history)
    assert [row["epoch"] for row in trained.history] == [1, 2, 3, 4, 5, 6]
    assert all(type(value) is float for value in list(trained.history[0].values())[1:])


def test_the_best_weights_are_returned(trained):
    losses = [row["validation_loss"] for row in trained.history]
    assert trained.best_epoch == 1 + int(np.argmin(losses))
    assert evaluate(LOSS, trained.params, trained.buffers, VALIDATION)["loss"] == min(losses)


def test_the_best_epoch_need_not_be_the_last():
    mislabelled = VALIDATION[0], np.roll(VALIDATION[1], 1)  # worse, the surer the network
    result = quiet_fit(start(), LOSS, OPTIMIZER, TRAIN, mislabelled, epochs=4)
    losses = [row["validation_loss"] for row in result.history]
    assert result.best_epoch == 1 + int(np.argmin(losses)) < 4
    assert evaluate(LOSS, result.params, result.buffers, mislabelled)["loss"] == min(losses)
    assert_same(result.params, result.state.params, same=False)
    assert int(result.state.step) == 4 * (500 // 64)


@pytest.mark.parametrize("patience", [1, 2])
def test_stops_when_patience_ends(patience):
    frozen = fdl.optim.sgd(0.0)  # the validation loss never falls after the first epoch
    result = quiet_fit(start(frozen), LOSS, frozen, TRAIN, VALIDATION, epochs=9, patience=patience)
    assert len(result.history) == 1 + patience
    assert result.best_epoch == 1


def test_without_validation_the_last_weights_are_returned():
    result = quiet_fit(start(), LOSS, OPTIMIZER, TRAIN, epochs=2)
    assert result.best_epoch == 2
    assert_same(result.params, result.state.params)
    assert list(result.history[0]) == ["epoch", "train_loss", "train_accuracy", "seconds"]


def test_going_on_from_a_fit_counts_on():
    first = quiet_fit(start(), LOSS, OPTIMIZER, TRAIN, epochs=2, batch_size=100)
    second = quiet_fit(first.state, LOSS, OPTIMIZER, TRAIN, epochs=1, batch_size=100)
    whole = quiet_fit(start(), LOSS, OPTIMIZER, TRAIN, epochs=3, batch_size=100)
    assert int(second.state.step) == 15
    assert_same(second.state._replace(key=0), whole.state._replace(key=0))


def test_the_callers_arrays_survive():
    state = start()
    before = jax.tree.map(np.array, (state.params, state.opt_state))
    result = quiet_fit(state, LOSS, OPTIMIZER, TRAIN, VALIDATION, epochs=2)
    assert_same((state.params, state.opt_state), before)
    quiet_fit(result.state, LOSS, OPTIMIZER, TRAIN, epochs=1)
    assert not any(
        array.is_deleted() for array in (*result.params.values(), *result.state.params.values())
    )


def test_epochs_see_the_rows_in_new_orders():
    seen = []

    def spy(params, buffers, batch, *, train, key):
        jax.debug.callback(lambda labels: seen.append(np.array(labels)), batch[-1])
        return LOSS(params, buffers, batch, train=train, key=key)

    rows = IMAGES[:6], np.arange(6)
    quiet_fit(start(), spy, OPTIMIZER, rows, epochs=3, batch_size=99)
    jax.effects_barrier()
    assert [sorted(order) for order in seen] == [list(range(6))] * 3
    assert len({tuple(order) for order in seen}) == 3


@pytest.mark.parametrize("label", [-1, 10])
def test_labels_out_of_range_are_named(label):
    wrong = TRAIN[0], np.where(np.arange(500) == 250, label, TRAIN[1])
    found = f"from {wrong[1].min()} to {wrong[1].max()}"
    with pytest.raises(FloatingPointError, match=f"finite loss, got nan.*{found}"):
        quiet_fit(start(), LOSS, OPTIMIZER, wrong, epochs=1, batch_size=100)


def test_labels_out_of_range_in_validation_are_named():
    wrong = VALIDATION[0], VALIDATION[1] + 5
    with pytest.raises(FloatingPointError, match=r"finite loss, got nan.*from 5 to 14"):
        quiet_fit(start(), LOSS, OPTIMIZER, TRAIN, wrong, epochs=2)


def test_divergence_is_an_error():
    hot = fdl.optim.sgd(1e30)
    with pytest.raises(FloatingPointError, match="learning rate"):
        quiet_fit(start(hot), LOSS, hot, TRAIN, epochs=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected 1 or more, got 0"),
        ({"epochs": 1, "patience": 1}, "patience: .*got 1 and no validation_data"),
        ({"epochs": 1, "patience": 0, "validation_data": VALIDATION}, "patience: .*got 0 and some"),
        ({"epochs": 1, "batch_size": 0}, "batch_size: expected 1 or more, got 0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        quiet_fit(start(), LOSS, OPTIMIZER, TRAIN, **options)


def test_progress_says_what_was_measured(capsys):
    fit(start(), LOSS, OPTIMIZER, TRAIN, VALIDATION, epochs=1)
    shown = capsys.readouterr().out
    assert "epoch 1/1" in shown
    assert shown.count("accuracy") == 2


# --- evaluate and predict


@pytest.mark.parametrize("batch_size", [1, 7, 64, 200, 999])
def test_evaluate_weights_a_short_last_batch(batch_size):
    params, buffers = MODEL.init(KEY)
    whole = evaluate(LOSS, params, buffers, VALIDATION, batch_size=200)
    parts = evaluate(LOSS, params, buffers, VALIDATION, batch_size=batch_size)
    logits, _ = MODEL.apply(params, buffers, VALIDATION[0])
    assert whole["accuracy"] == np.mean(np.argmax(logits, -1) == VALIDATION[1])
    for name, value in whole.items():
        assert math.isclose(parts[name], value, rel_tol=TOLERANCE.float32(0))


@pytest.mark.parametrize("batch_size", [1, 7, 999])
def test_predict_keeps_the_order(batch_size):
    params, buffers = MODEL.init(KEY)
    expected, _ = MODEL.apply(params, buffers, IMAGES[:20])
    outputs = predict(MODEL, params, buffers, IMAGES[:20], batch_size=batch_size)
    assert outputs.shape == (20, 10)
    np.testing.assert_array_equal(outputs.argsort(), np.argsort(expected))
