"""Networks that change while they train, beside torch networks changed by hand."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal
from torch import nn

import fdl
import fdl.functional as F
from fdl.models import surgery
from fdl.parity import twins

KEY = jax.random.key(3)
OLD, DEEPER = fdl.models.mlp([5, 8, 3]), fdl.models.mlp([5, 8, 8, 3])
INPUTS = np.random.default_rng(0).normal(size=(16, 5))
LABELS = np.random.default_rng(1).integers(0, 3, 16)
LR = 1e-2
OPTIMIZERS = {
    "each counts": fdl.optim.skip_absent(fdl.optim.adamw, lr=LR),
    "one count": fdl.optim.adamw(LR),
    "groups": fdl.optim.param_groups(fdl.optim.adamw, {"*.bias": {"weight_decay": 0.0}}, lr=LR),
    "a chain": optax.chain(fdl.optim.clip_grad_norm(1.0), fdl.optim.sgd(LR, momentum=0.9)),
}


def train(model: fdl.Model, params, state, optimizer, steps: int, inputs=INPUTS, buffers=None):
    """Some steps on one batch; returns parameters, buffers and the optimizer's state."""
    buffers = buffers or {}

    @jax.jit
    def step(params, buffers, state):
        def loss(params):
            output, updated = model.apply(params, buffers, jnp.asarray(inputs), train=True, key=KEY)
            return F.cross_entropy(output, jnp.asarray(LABELS)), updated

        grads, buffers_now = jax.grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), buffers_now, state

    for _ in range(steps):
        params, buffers, state = step(params, buffers, state)
    return params, buffers, state


def train_torch(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, inputs=INPUTS):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.tensor(inputs)), torch.tensor(LABELS)).backward()
        optimizer.step()


def started(*layers: nn.Module) -> tuple[nn.Sequential, torch.optim.Optimizer, Any, Any]:
    """A torch network after five AdamW steps, and fdl's parameters and state after the same."""
    torch.manual_seed(0)
    net = nn.Sequential(*layers).double()
    model = OLD if len(layers) == 3 else DEEPER
    params, _ = fdl.interop.from_torch(net, like=model)
    theirs = torch.optim.AdamW(net.parameters(), lr=LR)
    optimizer = OPTIMIZERS["each counts"]
    params, _, state = train(model, params, optimizer.init(params), optimizer, 5)
    train_torch(net, theirs, 5)
    assert_tensors(params, net)
    return net, theirs, params, state


def taken_over(net: nn.Module, theirs: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """A torch optimizer for a changed network, with the state of the parameters that it keeps."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
    for parameter in net.parameters():
        if parameter in theirs.state:
            optimizer.state[parameter] = theirs.state[parameter]
    return optimizer


def assert_tensors(tensors: fdl.Params, net: nn.Module) -> None:
    assert_equal(tensors, {name: t.detach().numpy() for name, t in net.state_dict().items()})


def small() -> tuple[nn.Module, ...]:
    return nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)


def test_training_goes_on_after_an_insertion_as_in_torch(x64):
    net, theirs, params, state = started(*small())
    carried = surgery.insert_layer(params, {}, like=DEEPER, at="2", key=KEY)
    assert carried.fresh == ("2.bias", "2.weight")
    assert carried.dropped == ()

    new = nn.Linear(8, 8).double()
    nn.init.eye_(new.weight)
    nn.init.zeros_(new.bias)
    deeper = nn.Sequential(net[0], net[1], new, nn.ReLU(), net[2])
    before, after = OLD.apply(params, {}, INPUTS)[0], DEEPER.apply(carried.params, {}, INPUTS)[0]
    assert_equal({"output": after}, {"output": np.asarray(before)})
    assert_tensors(carried.params, deeper)

    optimizer = OPTIMIZERS["each counts"]
    moved = surgery.carry_opt_state(state, carried, optimizer)
    counts = {name: int(optax.tree.get(moved.inner[name], "step")) for name in carried.params}
    assert counts == {n: 0 if n.startswith("2.") else 5 for n in carried.params}
    trained, _, _ = train(DEEPER, carried.params, moved, optimizer, 10)
    train_torch(deeper, taken_over(deeper, theirs), 10)
    assert_tensors(trained, deeper)


def test_training_goes_on_after_a_removal_as_in_torch(x64):
    net, theirs, params, state = started(
        nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    )
    carried = surgery.remove_layer(params, {}, like=OLD, at="2")
    assert (carried.fresh, carried.dropped) == ((), ("2.bias", "2.weight"))
    shorter = nn.Sequential(net[0], net[1], net[4])
    optimizer = OPTIMIZERS["each counts"]
    state = surgery.carry_opt_state(state, carried, optimizer)
    trained, _, _ = train(OLD, carried.params, state, optimizer, 10)
    train_torch(shorter, taken_over(shorter, theirs), 10)
    assert_tensors(trained, shorter)


def test_training_goes_on_after_a_new_head_as_in_torch(x64):
    net, theirs, params, state = started(*small())
    wide = fdl.models.mlp([5, 8, 6])
    carried = surgery.replace_head(params, {}, like=wide, head="2", key=KEY)
    assert carried.fresh == ("2.bias", "2.weight")
    np.testing.assert_array_equal(carried.params["2.weight"], wide.init(KEY)[0]["2.weight"])
    net[2] = nn.Linear(8, 6).double()
    net.load_state_dict(fdl.interop.to_torch(carried.params, {}))
    optimizer = OPTIMIZERS["each counts"]
    state = surgery.carry_opt_state(state, carried, optimizer)
    trained, _, _ = train(wide, carried.params, state, optimizer, 10)
    train_torch(net, taken_over(net, theirs), 10)
    assert_tensors(trained, net)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_insertion_and_its_removal_give_tensors_and_state_back(optimizer, x64):
    params, _ = OLD.init(KEY)
    params, _, state = train(OLD, params, optimizer.init(params), optimizer, 3)
    deeper = surgery.insert_layer(params, {}, like=DEEPER, at="2", key=KEY)
    deeper_state = surgery.carry_opt_state(state, deeper, optimizer)
    assert jax.tree.structure(deeper_state) == jax.tree.structure(optimizer.init(deeper.params))
    back = surgery.remove_layer(deeper.params, {}, like=OLD, at="2")
    back_state = surgery.carry_opt_state(deeper_state, back, optimizer)
    jax.tree.map(np.testing.assert_array_equal, (back.params, back_state), (params, state))
    train(DEEPER, deeper.params, deeper_state, optimizer, 1)


def test_one_count_for_all_makes_the_first_step_of_a_new_parameter_larger(x64):
    params, _ = OLD.init(KEY)
    optimizer = fdl.optim.adam(LR)
    params, _, state = train(OLD, params, optimizer.init(params), optimizer, 500)
    carried = surgery.insert_layer(params, {}, like=DEEPER, at="2", key=KEY)
    state = surgery.carry_opt_state(state, carried, optimizer)
    grads = {name: jnp.ones_like(param) for name, param in carried.params.items()}
    updates, _ = optimizer.update(grads, state, carried.params)
    first = float(jnp.abs(updates["2.weight"]).max()) / LR
    corrected = np.sqrt((1 - 0.999) / (1 - 0.999**501))  # of the mean square, by the common count
    expected = (1 - 0.9) / (corrected + 1e-8)
    assert_equal({"ratio": jnp.asarray(first)}, {"ratio": np.asarray(expected)})


@pytest.mark.parametrize("layer", ["Conv1d", "Conv2d", "Conv3d"])
def test_an_inserted_convolution_is_the_identity(layer, x64):
    def stack(*channels):
        def build(rngs):
            made = getattr(fdl.nn, layer)
            layers = [made(i, o, 3, padding=1, rngs=rngs) for i, o in channels]
            return fdl.nn.Sequential({"body": fdl.nn.Sequential(*layers)})

        return fdl.as_model(build)

    old, new = stack((2, 4), (4, 3)), stack((2, 4), (4, 4), (4, 3))
    params, _ = old.init(KEY)
    carried = surgery.insert_layer(params, {}, like=new, at="body.1", key=KEY)
    shape = (2, 2, *[6] * int(layer[4]))
    images = np.random.default_rng(0).normal(size=shape)
    before, after = old.apply(params, {}, images)[0], new.apply(carried.params, {}, images)[0]
    assert_equal({"output": after}, {"output": np.asarray(before)})


def test_dropout_moves_up_with_its_layer():
    old = fdl.models.mlp([5, 8, 3], dropout=0.3)
    new = fdl.models.mlp([5, 8, 8, 3], dropout=0.3)
    carried = surgery.insert_layer(*old.init(KEY), like=new, at="3", key=KEY)
    assert carried.source["6.weight"] == "3.weight"
    assert carried.fresh == ("3.bias", "3.weight")


def test_what_fits_is_carried_and_the_rest_is_listed():
    old = fdl.models.cnn(num_classes=10, channels=(4, 6), hidden=16)
    new = fdl.models.cnn(num_classes=3, channels=(4, 8), hidden=16)
    params, buffers = old.init(KEY)
    buffers["features.1.running_mean"] += 1
    carried = surgery.carry_over(params, buffers, like=new, key=jax.random.key(9))
    drawn = new.init(jax.random.key(9))
    expected = {
        *("features.4.weight", "features.5.weight", "features.5.bias"),
        *("features.5.running_mean", "features.5.running_var"),
        *("classifier.1.weight", "classifier.4.weight", "classifier.4.bias"),
    }
    assert set(carried.fresh) == set(carried.dropped) == expected
    for tensors, fresh in zip((carried.params, carried.buffers), drawn, strict=True):
        for name, tensor in tensors.items():
            source = fresh if name in expected else {**params, **buffers}
            np.testing.assert_array_equal(tensor, source[name])


class Twin(nn.Sequential):
    """A torch CNN whose features are frozen as people freeze them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(copy.deepcopy(net.features), copy.deepcopy(net.classifier))
        self[0].requires_grad_(False)

    def train(self, mode: bool = True) -> "Twin":
        super().train(mode)
        self[0].eval()
        return self


def test_frozen_parts_stay_and_the_rest_trains_as_in_torch(x64):
    options = {"image_size": (8, 8), "channels": (3, 4), "hidden": 8, "dropout": 0.0}
    torch.manual_seed(0)
    net = twins.cnn(num_classes=3, **options).double()
    images = np.random.default_rng(0).normal(size=(16, 1, 8, 8))
    net(torch.tensor(images))  # so that running statistics are not the batch's
    model = fdl.models.cnn(num_classes=3, **options)
    params, buffers = fdl.interop.from_torch(net, like=model)
    patterns = ["features.*"]
    frozen = surgery.freeze(model, patterns)
    optimizer = fdl.optim.param_groups(
        fdl.optim.adamw, {pattern: {"frozen": True} for pattern in patterns}, lr=LR
    )
    assert_batch_matters(model, params, buffers, images)
    trained, after, _ = train(
        frozen, params, optimizer.init(params), optimizer, 10, images, buffers
    )
    twin = Twin(net).train()
    train_torch(twin, torch.optim.AdamW(twin[1].parameters(), lr=LR), 10, images)
    names = {f"{i}.": part for i, part in enumerate(("features.", "classifier."))}
    state = {names[n[:2]] + n[2:]: t.detach().numpy() for n, t in twin.state_dict().items()}
    assert_equal({**trained, **after}, state)
    jax.tree.map(np.testing.assert_array_equal, after, buffers)
    for name in params:
        same = bool((trained[name] == params[name]).all())
        assert same == name.startswith("features.")


def assert_batch_matters(model, params, buffers, images) -> None:
    """Whether freezing changes anything here."""
    frozen = surgery.freeze(model, ["features.*"])
    got, kept = frozen.apply(params, buffers, images, train=True, key=KEY)
    usual, moved = model.apply(params, buffers, images, train=True, key=KEY)
    assert float(jnp.abs(got - usual).max()) > 0
    assert bool((moved["features.1.running_mean"] != kept["features.1.running_mean"]).all())


def test_frozen_dropout_is_off_and_gradients_are_zero_for_what_is_frozen():
    model = fdl.models.mlp([5, 8, 8, 3], dropout=0.5)
    params, buffers = model.init(KEY)
    inputs = jnp.asarray(INPUTS, jnp.float32)
    frozen = surgery.freeze(surgery.freeze(model, ["[012]*"]), ["[345]*"])
    evaluated, _ = model.apply(params, buffers, inputs)
    trained, _ = frozen.apply(params, buffers, inputs, train=True, key=KEY)
    np.testing.assert_array_equal(trained, evaluated)
    outputs = frozen.trace(params, buffers, inputs, train=True, key=KEY)
    np.testing.assert_array_equal(outputs["2"], outputs["1"])
    grads = jax.grad(lambda p: frozen.apply(p, buffers, inputs, train=True, key=KEY)[0].sum())(
        params
    )
    zero = {name for name, grad in grads.items() if not grad.any()}
    assert zero == {"0.weight", "0.bias", "3.weight", "3.bias"}
    again, _ = model.apply(params, buffers, inputs, train=True, key=KEY)
    assert float(jnp.abs(again - evaluated).max()) > 0


REFUSED = {
    "no such head": (
        lambda p: surgery.replace_head(p, {}, like=OLD, head="fc", key=KEY),
        r"head: expected a module of the new model, got 'fc'",
    ),
    "more than the head": (
        lambda p: surgery.replace_head(p, {}, like=fdl.models.mlp([5, 7, 2]), head="2", key=KEY),
        r"differs in head 2 alone, but 0\.bias is new or of another shape; 0\.weight",
    ),
    "no layer more": (
        lambda p: surgery.insert_layer(p, {}, like=OLD, at="2", key=KEY),
        "expected a model with more layers where '2' is",
    ),
    "no layer fewer": (
        lambda p: surgery.remove_layer(p, {}, like=DEEPER, at="2"),
        "expected a model with fewer layers where '2' is",
    ),
    "no number": (
        lambda p: surgery.insert_layer(p, {}, like=DEEPER, at="head", key=KEY),
        "at: expected the name of a layer in a Sequential.* got 'head'",
    ),
    "wrong place": (
        lambda p: surgery.insert_layer(p, {}, like=DEEPER, at="0", key=KEY),
        "differs in the 2 positions from 0 alone",
    ),
    "no identity": (
        lambda p: surgery.insert_layer(
            p, {}, like=fdl.models.mlp([5, 8, 6, 8, 3]), at="2", key=KEY
        ),
        r"as many outputs as inputs, got '2' with weight \(6, 8\)",
    ),
    "other sizes": (
        lambda p: surgery.remove_layer(p, {}, like=fdl.models.mlp([5, 3]), at="0"),
        r"expected a model that the rest fits|differs in the 2 positions",
    ),
    "unknown name": (
        lambda p: surgery.carry_over(p, {}, like=OLD, key=KEY, renamed={"fc": "2"}),
        r"renamed: expected names of tensors, got \['fc'\]",
    ),
    "one name twice": (
        lambda p: surgery.carry_over(p, {}, like=OLD, key=KEY, renamed={"0.bias": "2.bias"}),
        r"one tensor for each new name, got several for \['2\.bias'\]",
    ),
    "nothing to freeze": (
        lambda p: surgery.freeze(OLD, ["layer1.*"]),
        r"freeze: patterns: .*\['layer1\.\*'\], which match none",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(OLD.init(KEY)[0])


def test_a_norm_cannot_be_inserted_as_the_identity():
    def build(*layers):
        return fdl.as_model(lambda rngs: fdl.nn.Sequential(*(layer(rngs) for layer in layers)))

    def linear(rngs):
        return fdl.nn.Linear(4, 4, rngs=rngs)

    def norm(_rngs):
        return fdl.nn.LayerNorm(4)

    old, new = build(linear, linear), build(linear, norm, linear)
    params, _ = old.init(KEY)
    with pytest.raises(ValueError, match=r"got '1\.bias', which cannot be the identity"):
        surgery.insert_layer(params, {}, like=new, at="1", key=KEY)
    carried = surgery.insert_layer(params, {}, like=new, at="1", key=KEY, identity=False)
    assert carried.fresh == ("1.bias", "1.weight")


def test_state_that_does_not_fit_is_refused():
    params, _ = OLD.init(KEY)
    carried = surgery.insert_layer(params, {}, like=DEEPER, at="2", key=KEY)
    other = fdl.optim.sgd(LR, momentum=0.9)
    with pytest.raises(ValueError, match="expected the state of the same optimizer"):
        surgery.carry_opt_state(OPTIMIZERS["one count"].init(params), carried, other)
    joined = fdl.optim.lbfgs(1.0)
    with pytest.raises(ValueError, match="expected the state of the same optimizer"):
        surgery.carry_opt_state(joined.init(params), carried, joined)
    frozen = fdl.optim.param_groups(fdl.optim.adamw, {"0.*": {"frozen": True}}, lr=LR)
    with pytest.raises(ValueError, match=r"exp_avg.*0\.weight"):
        surgery.carry_opt_state(frozen.init(params), carried, OPTIMIZERS["one count"])
