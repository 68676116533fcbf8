"""The ways in which one workload is run: each a candidate for :func:`fdl.bench.interleaved`."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from inspect import unwrap

import jax
import jax.numpy as jnp

import fdl.functional
from fdl.bench.timing import Candidate
from fdl.bench.workloads import LEARNING_RATE, SEED, Workload, check_names
from fdl.optim import adamw
from fdl.train import init_state, make_step, supervised

VARIANTS = ("jax eager", "jax jit", "torch eager", "torch.compile")
PHASES = ("training", "inference")


def training(workload: Workload, names: Sequence[str] = VARIANTS) -> dict[str, Candidate]:
    """Makes candidates that take one AdamW step a call and return the loss before it.

    All start from the same weights, and each goes on from its own last step.

    Args:
        workload: from :func:`fdl.bench.workload`.
        names: ``"jax eager"`` (op by op), ``"jax jit"`` (:func:`fdl.train.make_step`),
            ``"torch eager"`` (fused AdamW), ``"torch.compile"``.

    Returns:
        Name to candidate.

    Raises:
        ValueError: if a name is unknown.
        ImportError: if a torch variant is asked for without torch.

    Example:
        >>> import fdl.bench
        >>> candidates = fdl.bench.training(fdl.bench.workload("mlp"), ["jax jit"])
        >>> losses = [float(candidates["jax jit"]()) for _ in range(3)]
        >>> losses[2] < losses[0]
        True
    """
    return {name: build(workload, "training", name) for name in names}


def inference(workload: Workload, names: Sequence[str] = VARIANTS) -> dict[str, Candidate]:
    """Makes candidates that return the network's output in evaluation mode.

    Args:
        workload: from :func:`fdl.bench.workload`.
        names: as in :func:`training`.

    Returns:
        Name to candidate.

    Raises:
        ValueError: if a name is unknown.
        ImportError: if a torch variant is asked for without torch.
    """
    return {name: build(workload, "inference", name) for name in names}


def build(workload: Workload, phase: str, variant: str) -> Candidate:
    """Makes one candidate; see :func:`training` and :func:`inference`."""
    check_names("build", "phase", [phase], PHASES)
    check_names("build", "variant", [variant], VARIANTS)
    framework, _, way = variant.replace(".", " ").partition(" ")
    if framework == "jax":
        make = {"training": _jax_training, "inference": _jax_inference}[phase]
        return make(workload, jitted=way == "jit")
    module = workload.module()  # says what to install where torch is missing
    from fdl.bench import _torch_variants  # needs torch

    make = {"training": _torch_variants.training, "inference": _torch_variants.inference}[phase]
    return make(workload, module, compiled=way == "compile")


def has_torch() -> bool:
    """Whether torch is installed."""
    return find_spec("torch") is not None


def _jax_training(workload: Workload, *, jitted: bool) -> Candidate:
    params, buffers = _weights(workload)
    optimizer = adamw(LEARNING_RATE)
    step = make_step(supervised(workload.model, getattr(fdl.functional, workload.loss)), optimizer)
    advance = step if jitted else _op_by_op(unwrap(step))
    batch = tuple(map(jnp.asarray, workload.batch))
    state = init_state(params, buffers, optimizer, key=jax.random.key(SEED))

    def call() -> jax.Array:
        nonlocal state
        state, metrics = advance(state, batch)
        jax.block_until_ready(state)
        return metrics["loss"]

    return call


def _jax_inference(workload: Workload, *, jitted: bool) -> Candidate:
    def output(params, buffers, *inputs):
        return workload.model.apply(params, buffers, *inputs)[0]

    inputs = map(jnp.asarray, workload.batch[:-1])
    return partial(jax.jit(output) if jitted else _op_by_op(output), *_weights(workload), *inputs)


def _op_by_op(function):
    def eager(*args):
        with jax.disable_jit():
            return function(*args)

    return eager


def _weights(workload: Workload):
    return workload.weights(workload.module() if has_torch() else None)
