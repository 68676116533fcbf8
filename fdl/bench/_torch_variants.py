"""The torch side of the variants; this file needs torch."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager

import jax
import torch

from fdl.bench.environment import usable_cores
from fdl.bench.timing import Candidate
from fdl.bench.workloads import LEARNING_RATE, Workload


def training(workload: Workload, module: torch.nn.Module, *, compiled: bool) -> Candidate:
    """Makes a candidate that takes one AdamW step and returns the loss before it."""
    module, batch = _placed(workload, module)
    loss_of = getattr(torch.nn.functional, workload.loss)
    optimizer = _adamw(module)

    def objective(*batch: torch.Tensor) -> torch.Tensor:
        *inputs, target = batch
        return loss_of(module(*inputs), target)

    forward = _compiled(objective) if compiled else objective
    module.train()

    def call() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(*batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return call


def inference(workload: Workload, module: torch.nn.Module, *, compiled: bool) -> Candidate:
    """Makes a candidate that returns the output in evaluation mode, without gradients."""
    module, (*inputs, _) = _placed(workload, module)
    module.eval()
    forward = _compiled(module) if compiled else module

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return forward(*inputs)

    return call


@contextmanager
def settings() -> Generator[None]:
    """As many threads as XLA uses, and nothing compiled taken from disk."""
    threads, caches_off = torch.get_num_threads(), torch.compiler.config.force_disable_caches
    torch.set_num_threads(usable_cores())
    torch.compiler.config.force_disable_caches = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
            yield
    finally:
        torch.set_num_threads(threads)
        torch.compiler.config.force_disable_caches = caches_off


def _placed(
    workload: Workload, module: torch.nn.Module
) -> tuple[torch.nn.Module, list[torch.Tensor]]:
    """Module and batch where JAX computes, floats of the batch in the module's dtype."""
    on_gpu = jax.default_backend() == "gpu" and torch.cuda.is_available()
    module = module.to("cuda" if on_gpu else "cpu")
    like = next(module.parameters())
    tensors = [torch.tensor(array, device=like.device) for array in workload.batch]
    return module, [t.to(like.dtype) if t.is_floating_point() else t for t in tensors]


def _adamw(module: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW in its fastest form that this device has."""
    try:
        return torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE, fused=True)
    except RuntimeError:
        return torch.optim.AdamW(module.parameters(), lr=LEARNING_RATE)


def _compiled(forward):
    """Compiled for the shapes that come, and for them alone.

    What was compiled before is forgotten: workloads share code, and after another shape torch
    would compile for changing shapes, and give up compiling after some.
    """
    torch.compiler.reset()
    return torch.compile(forward, dynamic=False)
