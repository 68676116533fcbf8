"""The ways in which one workload is run: each a candidate for :func:`fdl.bench.interleaved`."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from inspect import unwrap
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fdl.functional
from fdl.bench._workload import (
    LEARNING_RATE,
    PHASES,
    SEED,
    WATCHED,
    WEIGHT_DECAY,
    Workload,
    check_names,
    gradients,
)
from fdl.bench.gate import read
from fdl.bench.timing import Candidate
from fdl.optim import adamw, apply_gradients
from fdl.train import init_state, make_step, supervised

STEPS = 16
MANY = f"jax jit x{STEPS}"
VARIANTS = ("jax eager", "jax jit", MANY, "torch eager", "torch.compile", "flax nnx", "flax linen")


class Built(NamedTuple):
    """A candidate and how to read it.

    Attributes:
        call: the candidate.
        steps: how many steps or batches a call makes.
        read: what it returns as an array, as torch lays it out; with several steps a call, one
            result a step along the first axis.
    """

    call: Candidate
    steps: int = 1
    read: Callable[[Any], np.ndarray] = read


class LeftOutError(Exception):
    """There is no such variant of this workload; the message says why."""


def training(workload: Workload, names: Sequence[str] = VARIANTS[:2]) -> dict[str, Candidate]:
    """Makes candidates that take one AdamW step a call and return the loss before it.

    All start from the same weights, and each goes on from its own last step.

    Args:
        workload: from :func:`fdl.bench.workload`.
        names: ``"jax eager"`` (op by op), ``"jax jit"`` (:func:`fdl.train.make_step`),
            ``"jax jit x16"`` (16 steps in one program; returns their losses), ``"torch eager"``
            (fused AdamW), ``"torch.compile"``, ``"flax nnx"`` (``nnx.jit``), ``"flax linen"``.

    Returns:
        Name to candidate.

    Raises:
        ValueError: if a name is unknown.
        ImportError: if a torch variant is asked for without torch.
        LeftOutError: if this workload has no such variant.

    Example:
        >>> import fdl.bench
        >>> candidates = fdl.bench.training(fdl.bench.workload("mlp"), ["jax jit"])
        >>> losses = [float(candidates["jax jit"]()) for _ in range(3)]
        >>> losses[2] < losses[0]
        True
    """
    return {name: build(workload, "training", name).call for name in names}


def inference(workload: Workload, names: Sequence[str] = VARIANTS[:2]) -> dict[str, Candidate]:
    """Makes candidates that return the network's output in evaluation mode.

    Args:
        workload: from :func:`fdl.bench.workload`.
        names: as in :func:`training`.

    Returns:
        Name to candidate.

    Raises:
        ValueError: if a name is unknown.
        ImportError: if a torch variant is asked for without torch.
        LeftOutError: if this workload has no such variant.
    """
    return {name: build(workload, "inference", name).call for name in names}


def variants_of(phase: str, variants: Sequence[str]) -> list[str]:
    """The variants that a phase has: many steps in one call are for training."""
    return [name for name in variants if phase == "training" or name != MANY]


def build(workload: Workload, phase: str, variant: str) -> Built:
    """Makes one candidate; see :func:`training` and :func:`inference`."""
    check_names("build", "phase", [phase], PHASES)
    check_names("build", "variant", [variant], VARIANTS)
    framework, _, way = variant.replace(".", " ").partition(" ")
    if framework == "jax":
        return _jax(workload, phase, way)
    if framework == "flax":
        from fdl.bench import _flax_variants  # imports Flax Linen, which no other variant needs

        return _flax_variants.build(workload, phase, way, initial_module(workload))
    module = workload.module()  # says what to install where torch is missing
    from fdl.bench import _torch_variants  # needs torch

    make = {"training": _torch_variants.training, "inference": _torch_variants.inference}[phase]
    return Built(make(workload, module, compiled=way == "compile"))


def has_torch() -> bool:
    """Whether torch is installed."""
    return find_spec("torch") is not None


def initial_module(workload: Workload) -> Any:
    """The torch side with the initial weights, or None where its package is missing."""
    try:
        return workload.module() if has_torch() else None
    except ImportError:
        return None


def _jax(workload: Workload, phase: str, way: str) -> Built:
    if phase == "inference":
        return Built(_jax_inference(workload, jitted=way == "jit"))
    if workload.loss is None:
        return Built(_optimizer_alone(workload, way))
    if way.startswith("jit x"):
        return Built(_many_steps(workload), STEPS)
    return Built(_jax_training(workload, jitted=way == "jit"))


def _jax_training(workload: Workload, *, jitted: bool) -> Candidate:
    step, state = _step(workload)
    advance = step if jitted else _op_by_op(unwrap(step))
    batch = workload.arrays()

    def call() -> jax.Array:
        nonlocal state
        state, metrics = advance(state, batch)
        jax.block_until_ready(state)
        return metrics["loss"]

    return call


def _many_steps(workload: Workload) -> Candidate:
    """Steps in a loop of one program, each on a batch of its own, here the same."""
    step, state = _step(workload)
    kernels = [p for p in state.params.values() if p.ndim > 2]
    if kernels and jax.default_backend() == "cpu":
        raise LeftOutError("convolutions inside loops leave XLA's fast path on CPUs")
    batches = jax.tree.map(lambda x: jnp.repeat(x[None], STEPS, axis=0), workload.arrays())

    def steps(state, batches):
        state, metrics = jax.lax.scan(unwrap(step), state, batches)
        return state, metrics["loss"]

    advance = jax.jit(steps, donate_argnums=0)

    def call() -> jax.Array:
        nonlocal state
        state, losses = advance(state, batches)
        jax.block_until_ready(state)
        return losses

    return call


def _optimizer_alone(workload: Workload, way: str) -> Candidate:
    if way.startswith("jit x"):
        raise LeftOutError("an optimizer alone has no steps to put together")
    params, _ = _weights(workload)
    optimizer = adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    drawn = gradients({name: p.shape for name, p in params.items()})
    grads = {name: jnp.asarray(drawn[name], p.dtype) for name, p in params.items()}

    update = partial(apply_gradients, optimizer)
    advance = jax.jit(update, donate_argnums=(0, 1)) if way == "jit" else _op_by_op(update)
    state = jax.tree.map(jnp.copy, (params, optimizer.init(params)))

    def call() -> jax.Array:
        nonlocal state
        state = advance(*state, grads)
        jax.block_until_ready(state)
        return state[0][WATCHED]

    return call


def _step(workload: Workload):
    """The step and the state before the first."""
    params, buffers = _weights(workload)
    optimizer = adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    loss = getattr(fdl.functional, str(workload.loss))
    step = make_step(supervised(workload.model, loss), optimizer)
    return step, init_state(params, buffers, optimizer, key=jax.random.key(SEED))


def _jax_inference(workload: Workload, *, jitted: bool) -> Candidate:
    def output(params, buffers, *inputs):
        return workload.model.apply(params, buffers, *inputs)[0]

    inputs = workload.arrays()[:-1]
    return partial(jax.jit(output) if jitted else _op_by_op(output), *_weights(workload), *inputs)


def _op_by_op(function):
    def eager(*args):
        with jax.disable_jit():
            return function(*args)

    return eager


def _weights(workload: Workload):
    return workload.weights(initial_module(workload))
