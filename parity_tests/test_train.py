"""Training: one compiled step, a reproducible loop, the best weights kept."""

import math
from functools import partial

import jax
import numpy as np
import pytest
import torch
from nearness import assert_equal, assert_near

import fdl
import fdl.functional as F
from fdl.parity import TOLERANCE
from fdl.train import accuracy, evaluate, fit, init_state, make_step, predict, supervised

KEY = jax.random.key(0)
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
