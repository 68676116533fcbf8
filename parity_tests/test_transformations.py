"""JAX's transformations of every layer and function: vmap, export, bfloat16, second derivatives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from samples.catalogue import shown
from samples.engine import (
    Call,
    Ran,
    Tensors,
    call_of,
    fresh,
    in_torch,
    record,
    weighted,
    with_masks,
)
from samples.sample import Sample, without_warnings
from torch.nn.attention import SDPBackend, sdpa_kernel

from fdl.parity import TOLERANCE
from fdl.parity._calls import Calls
from fdl.parity._masks import Masks
from fdl.parity._record import leaves
from fdl.parity.judge import Judge

NOT_TWICE = {
    "Hardsigmoid": "hardsigmoid_backward is not implemented",
    "hardsigmoid": "hardsigmoid_backward is not implemented",
    "pdist": "'_pdist_backward' is not implemented",
    **dict.fromkeys(("EmbeddingBag", "embedding_bag"), "'_embedding_bag_backward' is not implem"),
    **dict.fromkeys(("CTCLoss", "ctc_loss"), "_ctc_loss_backward is not implemented"),
    **dict.fromkeys(
        ("MultiLabelMarginLoss", "multilabel_margin_loss"),
        "multilabel_margin_loss_backward is not implemented",
    ),
    **dict.fromkeys(
        ("MultiMarginLoss", "multi_margin_loss"), "multi_margin_loss_backward is not implemented"
    ),
}
"""What torch has no second derivative of, with its own words."""


SMOOTH = [name for name, sample in shown().items() if sample.is_differentiable()]
CONTRADICTS = ["weight_norm", "BCELoss"]
"""Torch's second derivative is not that of its first: test_torch_inconsistencies.py."""
FLOAT = pytest.mark.parametrize("name", sorted(SMOOTH))
EACH = pytest.mark.parametrize("name", sorted(shown()))


def tensors_of(sample: Sample, dtype: torch.dtype) -> Tensors:
    torch.manual_seed(0)
    module = sample.in_torch().to(dtype)
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def values(call: Call, params: Any, floats: Any) -> dict[str, jax.Array]:
    """Outputs, gradients and buffers, by name."""

    def objective(params, floats):
        output, updated = call.apply(params, floats, call.buffers, call.arrays)
        output = dict(leaves(output))
        return weighted(output, jnp.asarray), (output, updated)

    gradient = jax.grad(objective, argnums=(0, 1), has_aux=True)
    grads, (output, updated) = gradient(params, floats)
    kinds = {"gradient": grads[0], "input gradient": grads[1], "output": output, "buffer": updated}
    return {f"{kind} {name}": x for kind, tree in kinds.items() for name, x in tree.items()}


@EACH
def test_vmap_is_a_loop(name):
    sample = shown()[name]
    with jax.enable_x64(True):
        call = call_of(sample, tensors_of(sample, torch.float64), train=True)
        program = jax.jit(lambda *trees: values(call._replace(arrays=trees[2]), *trees[:2]))
        trees = (call.params, call.floats, call.arrays)
        two = [trees, (*(jax.tree.map(lambda x: 0.9 * x, tree) for tree in trees[:2]), trees[2])]
        together = jax.vmap(program)(*jax.tree.map(lambda *x: jnp.stack(x), *two))
        for index, alone in enumerate(two):
            got = {key: x[index] for key, x in together.items()}
            assert_equal(got, program(*alone))


@EACH
def test_lowers_for_accelerators(name):
    sample = shown()[name].cast("float32")
    call = call_of(sample, tensors_of(sample, torch.float32), train=True)
    program = jax.jit(lambda params, floats: values(call, params, floats))
    for platform in ("cuda", "tpu"):
        exported = jax.export.export(program, platforms=[platform])(call.params, call.floats)
        assert exported.platforms == (platform,)


@FLOAT
def test_bfloat16_in_bfloat16_out(name):
    sample = shown()[name]
    tensors = tensors_of(sample.cast("float32"), torch.float32)
    call = call_of(sample.cast("bfloat16"), tensors, train=True)
    call = call._replace(params=halved(call.params), buffers=halved(call.buffers))
    got = jax.jit(lambda params, floats: values(call, params, floats))(call.params, call.floats)
    floats = {key: x for key, x in got.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    assert floats
    assert {str(x.dtype) for x in floats.values()} == {"bfloat16"}
    torchs = in_torch(sample, train=True).record.values()
    if all(np.isfinite(x).all() for x in torchs):
        assert all(bool(jnp.isfinite(x).all()) for x in floats.values())


def halved(tree: Any) -> Any:
    return {
        key: x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x
        for key, x in tree.items()
    }


@pytest.mark.parametrize("name", sorted({*SMOOTH} - {*CONTRADICTS}))
def test_second_derivative(name):
    sample = shown()[name]
    ran = in_torch(sample, train=True)
    if name in NOT_TWICE:
        with pytest.raises(RuntimeError, match=NOT_TWICE[name]):
            torchs_second(sample, ran)
        return
    expected = torchs_second(sample, ran)
    with jax.enable_x64(True):
        call = call_of(sample, ran.before, train=True)
        masks = [mask.kept for mask in ran.masks]
        call = call._replace(apply=lambda *args, apply=call.apply: with_masks(apply, masks)(*args))
        got = jax.jit(lambda *trees: second(call, *trees))(call.params, call.floats)
    assert_equal({str(k): x for tree in got for k, x in tree.items()}, expected)


@without_warnings
def torchs_second(sample: Sample, ran: Ran) -> Tensors:
    """The Hessian of the outputs' weighted squares, times a vector."""
    module = sample.in_torch().to(torch.float64)
    module.load_state_dict({k: torch.tensor(x) for k, x in ran.before.items()})
    inputs, named, wanted = fresh(sample)
    wanted |= dict(module.named_parameters())
    calls = Calls(Masks(ran.masks, np.random.default_rng(0)))
    with calls.watching(), sdpa_kernel(SDPBackend.MATH):  # the others have no second derivative
        output = dict(leaves(module(*inputs, **named)))
    squares = {k: x * x for k, x in output.items() if x.requires_grad}
    total = weighted(squares, torch.tensor)
    options = {"allow_unused": True, "materialize_grads": True}
    grads = torch.autograd.grad(total, [*wanted.values()], create_graph=True, **options)
    along = weighted(dict(zip(wanted, grads, strict=True)), torch.tensor)
    seconds = torch.autograd.grad(along, [*wanted.values()], **options)
    return {k: x.numpy() for k, x in zip(wanted, seconds, strict=True)}


def second(call: Call, params: Any, floats: Any) -> Any:
    def objective(params, floats):
        output, _ = call.apply(params, floats, call.buffers, call.arrays)
        squares = {k: x * x for k, x in leaves(output) if jnp.issubdtype(x.dtype, jnp.floating)}
        return weighted(squares, jnp.asarray)

    def along(params, floats):
        grads = jax.grad(objective, argnums=(0, 1))(params, floats)
        named = {str(k): x for tree in grads for k, x in tree.items()}
        return weighted(named, jnp.asarray)

    return jax.grad(along, argnums=(0, 1))(params, floats)


def assert_equal(got: Any, expected: Any) -> None:
    """Judges named tensors as those of torch are judged in float64."""
    expected = {name: np.asarray(x) for name, x in expected.items()}
    oracle, candidate = (record({"gradient": side}, train=True) for side in (expected, got))
    wrong = [str(row) for row in Judge(TOLERANCE).float64(oracle, candidate) if not row.equal]
    assert expected
    assert not wrong, "\n".join(wrong)
