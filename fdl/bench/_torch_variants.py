"""The torch side of the variants; this file needs torch."""

import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import jax
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from fdl.bench._workload import LEARNING_RATE, WATCHED, WEIGHT_DECAY, Workload, gradients
from fdl.bench.environment import usable_cores
from fdl.bench.timing import Candidate


def training(
    workload: Workload,
    module: torch.nn.Module,
    *,
    compiled: bool,
    lr_factors: Sequence[float] = (),
) -> Candidate:
    """Makes a candidate that takes one AdamW step and returns the loss before it.

    Args:
        workload: what is trained.
        module: its torch side.
        compiled: whether by torch.compile.
        lr_factors: what to multiply the learning rates of the first steps by.
    """
    factors = iter(lr_factors)
    if workload.loss is None:
        return _optimizer_alone(module, factors, compiled=compiled)
    module, batch = _placed(workload, module)
    objective = _objective(workload, module)
    optimizer = _adamw(module)
    forward = _compiled(objective) if compiled else objective
    module.train()

    def call() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = forward(*batch)
        loss.backward()
        _scale(optimizer, factors)
        optimizer.step()
        return loss.detach()

    return call


def inference(workload: Workload, module: torch.nn.Module, *, compiled: bool) -> Candidate:
    """Makes a candidate that returns the output in evaluation mode, without gradients."""
    module, (*inputs, _) = _placed(workload, module)
    module.eval()
    output = _output(workload, module)
    forward = _compiled(output) if compiled else output

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return forward(*inputs)

    return call


def work(workload: Workload, phase: str) -> tuple[int, int]:
    """Operations of the products and convolutions of one call, and bytes that all of it moves.

    They are those of the plain algorithm: a formulation that needs fewer counts as faster, not as
    less work.
    """
    if workload.loss is None:
        return 0, 0
    module, batch = _placed(workload, workload.module())
    objective, output = _objective(workload, module), _output(workload, module)
    plain = torch.backends.mkldnn.flags(enabled=False)  # recurrent layers as their products
    corrected = {torch.ops.aten.convolution_backward: _convolution_gradients}
    counter = FlopCounterMode(display=False, custom_mapping=corrected)
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN")
        for setting in (sdpa_kernel(SDPBackend.MATH), plain, counter):
            stack.enter_context(setting)
        traffic = stack.enter_context(_Traffic())
        if phase == "training":
            objective(*batch).backward()
        else:
            with torch.no_grad():
                output(*batch[:-1])
    return counter.get_total_flops(), traffic.bytes


def _convolution_gradients(output, input, weight, *options, out_shape):
    """Operations of a convolution's gradients: as many for each array as the convolution has.

    torch's own formula counts a weight's gradient as if groups saw each other's channels.
    """
    *_, transposed, _, _, wanted = options
    return sum(wanted[:2]) * conv_flop_count(input, weight, output, transposed)


class _Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            moved = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
            self.bytes += sum(x.numel() * x.element_size() for x in moved)
        return result


def product(size: int, dtype: str) -> Candidate:
    """A product of square matrices."""
    matrix = torch.ones(size, size, dtype=getattr(torch, dtype), device=device())
    return lambda: matrix @ matrix


@contextmanager
def settings() -> Generator[None]:
    """As many threads as XLA uses, its precision, and nothing compiled taken from disk."""
    threads, caches_off = torch.get_num_threads(), torch.compiler.config.force_disable_caches
    torch.set_num_threads(usable_cores())
    torch.compiler.config.force_disable_caches = True
    try:
        with warnings.catch_warnings(), _full_precision():
            warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
            yield
    finally:
        torch.set_num_threads(threads)
        torch.compiler.config.force_disable_caches = caches_off


def _full_precision() -> AbstractContextManager[None]:
    """Convolutions on CUDA without TF32, as XLA's at its highest precision."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        benchmark_limit=cudnn.benchmark_limit,
        deterministic=cudnn.deterministic,
        allow_tf32=False,
    )


def device() -> str:
    """Where JAX computes, if torch can be there too."""
    return "cuda" if jax.default_backend() == "gpu" and torch.cuda.is_available() else "cpu"


def _output(workload: Workload, module: torch.nn.Module) -> Callable[..., torch.Tensor]:
    """The tensor that the network is compared by."""
    if not workload.output:
        return module

    def output(*inputs: torch.Tensor) -> torch.Tensor:
        return getattr(module(*inputs), workload.output)

    return output


def _objective(workload: Workload, module: torch.nn.Module) -> Callable[..., torch.Tensor]:
    loss_of, output = getattr(torch.nn.functional, str(workload.loss)), _output(workload, module)

    def objective(*batch: torch.Tensor) -> torch.Tensor:
        *inputs, target = batch
        return loss_of(output(*inputs), target)

    return objective


def _optimizer_alone(
    module: torch.nn.Module, factors: Iterator[float], *, compiled: bool
) -> Candidate:
    """Makes a candidate that moves the parameters along drawn gradients, and returns one."""
    module = module.to(device())
    parameters = dict(module.named_parameters())
    drawn = gradients({name: tuple(p.shape) for name, p in parameters.items()})
    for name, parameter in parameters.items():
        parameter.grad = torch.as_tensor(drawn[name]).to(parameter)
    optimizer = torch.optim.AdamW(module.parameters(), LEARNING_RATE) if compiled else None
    optimizer = optimizer or _adamw(module)
    step = _compiled(lambda: optimizer.step()) if compiled else optimizer.step

    def call() -> torch.Tensor:
        _scale(optimizer, factors)
        step()
        return parameters[WATCHED].detach()

    return call


def _scale(optimizer: torch.optim.Optimizer, factors: Iterator[float]) -> None:
    for factor in factors:
        optimizer.param_groups[0]["lr"] = factor * LEARNING_RATE
        break


def _placed(workload: Workload, module: torch.nn.Module) -> tuple[torch.nn.Module, list[Any]]:
    """Module and batch where JAX computes, floats of the batch in the module's dtype."""
    module = module.to(device())
    like = next(module.parameters())
    tensors = [torch.tensor(array, device=like.device) for array in workload.batch]
    return module, [t.to(like.dtype) if t.is_floating_point() else t for t in tensors]


def _adamw(module: torch.nn.Module) -> torch.optim.Optimizer:
    """AdamW in its fastest form that this device has."""
    options = {"lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}
    try:
        return torch.optim.AdamW(module.parameters(), fused=True, **options)
    except RuntimeError:
        return torch.optim.AdamW(module.parameters(), **options)


def _compiled(forward):
    """Compiled for the shapes that come, and for them alone.

    What was compiled before is forgotten: workloads share code, and after another shape torch
    would compile for changing shapes, and give up compiling after some.
    """
    torch.compiler.reset()
    return torch.compile(forward, dynamic=False)
