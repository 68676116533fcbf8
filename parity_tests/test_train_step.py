"""What a step does beside one gradient and one update: micro-batches, optimizers that evaluate."""

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
from fdl.parity import TOLERANCE
from fdl.train import init_state, make_step, supervised

KEY = jax.random.key(0)


def drawn(*shapes):
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape) for shape in shapes]


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
    images, targets = drawn((5, 12, 1, 8, 8), (5, 12, 4))
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
    loss_fn, optimizer = supervised(fdl.models.mlp([2, 2]), F.mse_loss), fdl.optim.adam()
    state = init_state({"w": jnp.ones(())}, {}, optimizer, key=KEY)
    with pytest.raises(ValueError, match=f"make_step: micro_batches: {message}"):
        make_step(loss_fn, optimizer, micro_batches=parts)(
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
    torch.manual_seed(0)
    options = {"lr": 0.5, "max_iter": 6, "line_search_fn": search}
    twin = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    twin = twin.double()
    reference, optimizer = (
        torch.optim.LBFGS(twin.parameters(), **options),
        fdl.optim.lbfgs(**options),
    )
    inputs, targets = drawn((3, 8, 5), (3, 8, 2))
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


def test_the_line_search_of_optax_gets_what_it_asks_for():
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
