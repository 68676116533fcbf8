"""Runs one sample in torch and in fdl, forward and backward, and judges every tensor."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fdl
from fdl.parity import TOLERANCE
from fdl.parity._calls import Calls
from fdl.parity._listen import listen
from fdl.parity._masks import Injected, Mask, Masks, marked_masks
from fdl.parity._record import Quantity, Record, leaves
from fdl.parity.judge import Judge
from fdl.parity.report import Row
from samples.sample import Sample, in_jax

SEED = 0
Tensors = dict[str, np.ndarray]


class Ran(NamedTuple):
    """A sample run in torch.

    Attributes:
        before: the layer's tensors before the call, by ``state_dict`` key.
        masks: the dropout masks that were drawn.
        record: outputs, gradients of inputs and parameters, and what the call changed.
    """

    before: Tensors
    masks: list[Mask]
    record: Record


def compared(sample: Sample, *, train: bool, precision: str = "float64") -> list[Row]:
    """Judges outputs, gradients of inputs and parameters, and what the call changed.

    Args:
        sample: made in float64.
        train: the layer's mode.
        precision: ``"float64"`` for meaning, ``"float32"`` for precision.
    """
    oracle = in_torch(sample, train=train)
    if precision == "float64":
        return Judge(TOLERANCE).float64(oracle.record, in_fdl(sample, oracle, train=train))
    lower = sample.cast(precision)
    reference = in_torch(lower, train=train, like=oracle)
    got = in_fdl(lower, reference, train=train)
    return Judge(TOLERANCE).float32(oracle.record, reference.record, got)


def in_torch(sample: Sample, *, train: bool, like: Ran | None = None) -> Ran:
    """Runs a sample in torch: in float64, or in float32 on the tensors and masks of `like`."""
    torch.manual_seed(SEED)
    with _default_dtype(torch.float64 if like is None else torch.float32):
        module = sample.in_torch().to(torch.get_default_dtype()).train(train)
        if like is not None:
            module.load_state_dict({k: torch.tensor(v) for k, v in like.before.items()})
        before = _arrays(module.state_dict())
        masks = Masks([] if like is None else like.masks, np.random.default_rng(SEED))
        flat, tree = _flat(sample)
        fresh = [
            x.detach().clone().requires_grad_(x.requires_grad) if torch.is_tensor(x) else x
            for x in flat
        ]
        inputs, named = jax.tree.unflatten(tree, fresh)
        with Calls(masks).watching():
            output = dict(leaves(module(*inputs, **named)))
        learnt = dict(module.named_parameters())
        differentiated = {str(i): fresh[i] for i in _differentiated(flat)}
        gradients = _gradients(output, {**differentiated, **learnt})
        after = _arrays(module.state_dict())
    changed = {k: after[k] for k in learnt if not np.array_equal(after[k], before[k])}
    kinds = {
        "output": _arrays(output),
        "input gradient": {k: gradients[k] for k in differentiated},
        "gradient": {k: gradients[k] for k in learnt},
        "buffer": {k: after[k] for k in after if k not in learnt} | changed,
    }
    return Ran(before, masks.used, _record(kinds, train=train))


def in_fdl(sample: Sample, reference: Ran, *, train: bool) -> Record:
    """Runs a sample in fdl, jitted, on the tensors and masks of a run in torch."""
    flat, tree = _flat(sample)
    double = any(torch.is_tensor(x) and x.dtype == torch.float64 for x in flat)
    with jax.enable_x64(double), jax.default_matmul_precision("highest"):
        model = fdl.as_model(sample.in_fdl)
        tensors = {k: torch.from_numpy(v) for k, v in reference.before.items()}
        params, buffers = fdl.interop.from_torch(tensors, like=model)
        converted = [in_jax(x) for x in flat]
        chosen = _differentiated(flat)
        arrays = {i: x for i, x in enumerate(converted) if isinstance(x, jax.Array)}
        floats = {i: arrays.pop(i) for i in chosen}

        def apply(params, floats, buffers, arrays):
            inputs, named = jax.tree.unflatten(
                tree, [floats.get(i, arrays.get(i, x)) for i, x in enumerate(converted)]
            )
            with marked_masks():
                key = jax.random.key(SEED)
                return model.apply(params, buffers, *inputs, train=train, key=key, **named)

        def objective(params, floats, buffers, arrays, masks):
            injected = Injected(masks, channels_last=False)
            heard = listen(apply, lambda _, own: injected.next(own), modules=False)
            output, updated = heard(params, floats, buffers, arrays)
            output = dict(leaves(output))
            return _weighted(output, jnp.asarray), (output, updated)

        step = jax.jit(jax.value_and_grad(objective, argnums=(0, 1), has_aux=True))
        masks = [mask.kept for mask in reference.masks]
        (_, (output, updated)), (grads, input_grads) = step(params, floats, buffers, arrays, masks)
    kinds = {
        "output": output,
        "input gradient": {str(i): gradient for i, gradient in input_grads.items()},
        "gradient": grads,
        "buffer": updated,
    }
    return _record(kinds, train=train)


def _flat(sample: Sample) -> tuple[list[Any], Any]:
    """The leaves of what a sample is given; in both frameworks they have the same order."""
    return jax.tree.flatten((tuple(sample.inputs), dict(sample.named)))


def _differentiated(flat: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(flat) if torch.is_tensor(x) and x.requires_grad]


def _gradients(output: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> Tensors:
    """Gradients of the weighted sum of outputs; zero for what they do not depend on."""
    total = _weighted({k: x for k, x in output.items() if x.requires_grad}, torch.tensor)
    if not torch.is_tensor(total) or not wanted:
        return {name: np.zeros(x.shape, str(x.dtype)[6:]) for name, x in wanted.items()}
    gradients = torch.autograd.grad(
        total, [*wanted.values()], allow_unused=True, materialize_grads=True
    )
    return _arrays(dict(zip(wanted, gradients, strict=True)))


def _weighted(output: Mapping[str, Any], as_array: Any) -> Any:
    """One number that every float of an output moves, each by another weight."""
    total: Any = 0.0
    for name, tensor in output.items():
        if "float" not in str(tensor.dtype):
            continue
        generator = np.random.default_rng([SEED, *name.encode()])
        weight = generator.normal(size=tuple(tensor.shape))
        total = total + (tensor * as_array(weight, dtype=tensor.dtype)).sum()
    return total


def _record(kinds: Mapping[str, Mapping[str, Any]], *, train: bool) -> Record:
    mode = "train" if train else "eval"
    return {
        Quantity(mode, kind, 1, name): np.asarray(tensor)
        for kind, tensors in kinds.items()
        for name, tensor in tensors.items()
    }


def _arrays(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(default)
