"""Runs one sample in torch and in fdl, forward and backward, and judges every tensor."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import fdl
from fdl.parity import TOLERANCE
from fdl.parity._calls import Calls
from fdl.parity._listen import is_customised, listen
from fdl.parity._masks import Injected, Mask, Masks, marked_masks
from fdl.parity._record import Quantity, Record, leaves, nudged
from fdl.parity.judge import Judge
from fdl.parity.report import Row
from samples.sample import Sample, in_jax, without_warnings

SEED = 0
PROGRAMS = 256
"""Compiled programs that are kept: train and eval, and neighbours in torch's table, share them."""
_programs: dict[str, Any] = {}
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
    judge, lower = Judge(TOLERANCE), sample.cast(precision)
    generator = np.random.default_rng(SEED)
    best: dict[tuple[str, str], Row] = {}
    for draw in range(TOLERANCE.draws):
        drawn = lower if draw == 0 else lower.mapped(partial(_nudged, generator=generator))
        reference = in_torch(drawn, train=train, like=oracle)
        got = in_fdl(drawn, reference, train=train)
        for row in judge.float32(oracle.record, reference.record, got):
            known = best.get((row.kind, row.name), row)
            best[row.kind, row.name] = row._replace(error=min(row.error, known.error))
        if all(row.equal for row in best.values()):
            break
    return [*best.values()]


def worst(rows: Sequence[Row]) -> float:
    """The largest error, but for tensors that overflow in torch's own float32 too."""
    return max((row.error for row in rows if math.isfinite(row.budget)), default=0.0)


@without_warnings
def in_torch(sample: Sample, *, train: bool, like: Ran | None = None) -> Ran:
    """Runs a sample in torch: in float64, or in float32 on the tensors and masks of `like`."""
    torch.manual_seed(SEED)
    with _default_dtype(torch.float64 if like is None else torch.float32):
        module = sample.in_torch().to(torch.get_default_dtype()).train(train)
        if like is not None:
            module.load_state_dict({k: torch.tensor(v) for k, v in like.before.items()})
        before = _arrays(module.state_dict())
        masks = Masks([] if like is None else like.masks, np.random.default_rng(SEED))
        inputs, named, differentiated = fresh(sample)
        with Calls(masks).watching():
            output = dict(leaves(module(*inputs, **named)))
        learnt = dict(module.named_parameters())
        gradients = _gradients(output, {**differentiated, **learnt})
        after = _arrays(module.state_dict())
    changed = {k: after[k] for k in learnt if not np.array_equal(after[k], before[k])}
    kinds = {
        "output": (found := _arrays(output)) | _named_alone(found, train=train),
        "input gradient": {k: gradients[k] for k in differentiated},
        "gradient": {k: gradients[k] for k in learnt},
        "buffer": {k: after[k] for k in after if k not in learnt} | changed,
    }
    return Ran(before, masks.used, record(kinds, train=train))


def fresh(sample: Sample) -> tuple[list[Any], dict[str, Any], dict[str, torch.Tensor]]:
    """Copies of what a sample is given, and by number those that a gradient is wanted for."""
    flat, tree = _flat(sample)
    copies = [
        x.detach().clone().requires_grad_(x.requires_grad) if torch.is_tensor(x) else x
        for x in flat
    ]
    inputs, named = jax.tree.unflatten(tree, copies)
    return inputs, named, {str(i): copies[i] for i in _differentiated(flat)}


class Call(NamedTuple):
    """A sample in fdl, ready to be called in the current precision.

    Attributes:
        apply: ``(params, floats, buffers, arrays) -> (output, buffers)``.
        params: of the layer.
        floats: what it is given and a gradient is wanted for, by number.
        buffers: of the layer.
        arrays: what else it is given, by number.
    """

    apply: Callable[..., Any]
    params: Any
    floats: dict[int, jax.Array]
    buffers: Any
    arrays: dict[int, jax.Array]


def call_of(sample: Sample, tensors: Tensors, *, train: bool) -> Call:
    """Makes the layer in fdl, with the given tensors by ``state_dict`` key."""
    model, (flat, tree) = fdl.as_model(sample.in_fdl), _flat(sample)
    torchs = {k: torch.from_numpy(v) for k, v in tensors.items()}
    params, buffers = fdl.interop.from_torch(torchs, like=model)
    converted = [in_jax(x) for x in flat]
    arrays = {i: x for i, x in enumerate(converted) if isinstance(x, jax.Array)}
    floats = {i: arrays.pop(i) for i in _differentiated(flat)}

    def apply(params, floats, buffers, arrays):
        given = [floats.get(i, arrays.get(i, x)) for i, x in enumerate(converted)]
        inputs, named = jax.tree.unflatten(tree, given)
        key = jax.random.key(SEED)
        return model.apply(params, buffers, *inputs, train=train, key=key, **named)

    return Call(apply, params, floats, buffers, arrays)


def in_fdl(sample: Sample, reference: Ran, *, train: bool) -> Record:
    """Runs a sample in fdl, jitted, on the tensors and masks of a run in torch."""
    dtypes = {str(x.dtype) for x in [*reference.record.values(), *reference.before.values()]}
    double = "float64" in dtypes
    with jax.enable_x64(double), jax.default_matmul_precision("highest"):
        call = call_of(sample, reference.before, train=train)

        def objective(params, floats, buffers, arrays, masks):
            output, updated = with_masks(call.apply, masks)(params, floats, buffers, arrays)
            output = dict(leaves(output))
            return weighted(output, jnp.asarray), (output, updated)

        step = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)
        masks = [mask.kept for mask in reference.masks]
        (_, (output, updated)), (grads, input_grads) = _run(step, *call[1:], masks)
        alone = output if train else _alone(call, masks, output)
    kinds = {
        "output": output | _named_alone(alone, train=train),
        "input gradient": {str(i): gradient for i, gradient in input_grads.items()},
        "gradient": grads,
        "buffer": updated,
    }
    return record(kinds, train=train)


def _alone(call: Call, masks: Sequence[Any], derived: dict[str, Any]) -> dict[str, Any]:
    """The output without derivatives: where these are written out, it may be computed otherwise."""

    def outputs(params: Any, floats: Any, buffers: Any, arrays: Any, masks: Any) -> dict[str, Any]:
        return dict(leaves(with_masks(call.apply, masks)(params, floats, buffers, arrays)[0]))

    customised = is_customised(jax.make_jaxpr(outputs)(*call[1:], masks).jaxpr)
    return _run(outputs, *call[1:], masks) if customised else derived


def _named_alone(output: Mapping[str, Any], *, train: bool) -> dict[str, Any]:
    return {} if train else {f"{name} without gradients": x for name, x in output.items()}


def with_masks(function: Callable[..., Any], masks: Sequence[Any]) -> Callable[..., Any]:
    """The function with torch's dropout masks in place of its own, in order."""
    if not masks:
        return function

    def marked(*args: Any) -> Any:
        with marked_masks():
            return function(*args)

    injected = Injected(masks, channels_last=False)
    return listen(marked, lambda _, own: injected.next(own), modules=False)


def _run(function: Callable[..., Any], *args: Any) -> Any:
    """Calls a function jitted; equal programs are compiled once."""
    traced = jax.jit(function).trace(*args)
    closed = traced.jaxpr
    shapes = [(x.shape, str(x.dtype)) for x in closed.in_avals]
    constants = [np.asarray(x).tobytes() for x in closed.consts]
    trees = (jax.tree.structure(args), traced.out_tree)
    program = str((shapes, str(closed.jaxpr), constants, trees))
    if program not in _programs:
        if len(_programs) >= PROGRAMS:
            _programs.pop(next(iter(_programs)))
        _programs[program] = traced.lower().compile()
    return _programs[program](*args)


def _nudged(value: Any, generator: np.random.Generator) -> Any:
    """A float tensor with its elements moved by at most one unit in the last place."""
    if not (torch.is_tensor(value) and value.is_floating_point()):
        return value
    moved = torch.tensor(nudged(value.detach().numpy(), generator))
    return moved.requires_grad_(value.requires_grad)


def _flat(sample: Sample) -> tuple[list[Any], Any]:
    """The leaves of what a sample is given; in both frameworks they have the same order."""
    return jax.tree.flatten((tuple(sample.inputs), dict(sample.named)))


def _differentiated(flat: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(flat) if torch.is_tensor(x) and x.requires_grad]


def _gradients(output: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> Tensors:
    """Gradients of the weighted sum of outputs; zero for what they do not depend on."""
    total = weighted({k: x for k, x in output.items() if x.requires_grad}, torch.tensor)
    if not torch.is_tensor(total) or not wanted:
        return {name: np.zeros(x.shape, str(x.dtype)[6:]) for name, x in wanted.items()}
    gradients = torch.autograd.grad(
        total, [*wanted.values()], allow_unused=True, materialize_grads=True
    )
    return _arrays(dict(zip(wanted, gradients, strict=True)))


def weighted(output: Mapping[str, Any], as_array: Any) -> Any:
    """One number that every float of an output moves, each by another weight."""
    total: Any = 0.0
    for name, tensor in output.items():
        if "float" not in str(tensor.dtype):
            continue
        generator = np.random.default_rng([SEED, *name.encode()])
        weight = generator.normal(size=tuple(tensor.shape))
        total = total + (tensor * as_array(weight, dtype=tensor.dtype)).sum()
    return total


def record(kinds: Mapping[str, Mapping[str, Any]], *, train: bool) -> Record:
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
