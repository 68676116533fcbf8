"""The reference: a torch module, run and recorded."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from fdl.parity._masks import injected_into_torch
from fdl.parity._record import Record, leaves, nudged, recorded

Loss = Callable[[Any, torch.Tensor], torch.Tensor]
Factory = Callable[[Any], torch.optim.Optimizer]


class TorchSide:
    """A copy of a torch module in one precision, on the CPU."""

    def __init__(
        self, module: torch.nn.Module, loss: Loss, optimizer: Factory | None, dtype: str
    ) -> None:
        self.dtype = getattr(torch, dtype)
        self.module = copy.deepcopy(module).to("cpu", self.dtype)
        self.loss = loss
        with _settings(self.dtype):
            self.optimizer = optimizer(self.module.parameters()) if optimizer else None

    def nudge(self, generator: np.random.Generator) -> None:
        """Moves each parameter by at most one unit in its last place."""
        for parameter in self.module.parameters():
            parameter.data = torch.from_numpy(nudged(parameter.detach().numpy(), generator))

    def evaluate(self, batch: Sequence[np.ndarray], step: int) -> Record:
        """Records output, loss and gradients in evaluation mode."""
        self.module.eval()
        with _settings(self.dtype):
            return recorded("eval", step, self._forward_and_backward(batch))

    def train(
        self, batch: Sequence[np.ndarray], masks: Sequence[np.ndarray], step: int
    ) -> tuple[Record, list[tuple[int, ...]]]:
        """Takes one training step; returns its record and the shapes of its dropouts."""
        self.module.train()
        with _settings(self.dtype), injected_into_torch(masks, self.module) as dropouts:
            kinds = self._forward_and_backward(batch)
            kinds["buffer"] = _arrays(self.module.named_buffers())
            if self.optimizer is not None:
                self.optimizer.step()
                kinds["parameter"] = _arrays(self.module.named_parameters())
        return recorded("train", step, kinds), dropouts

    def _forward_and_backward(self, batch: Sequence[np.ndarray]) -> dict[str, dict[str, Any]]:
        *inputs, target = map(torch.tensor, batch)
        floats = {str(i): x for i, x in enumerate(inputs) if x.is_floating_point()}
        for tensor in floats.values():
            tensor.requires_grad_()
        self.module.zero_grad(set_to_none=True)
        output = self.module(*inputs)
        loss = self.loss(output, target)
        loss.backward()
        return {
            "output": _arrays(leaves(output).items()),
            "loss": {"": loss.detach().numpy()},
            "gradient": _gradients(self.module.named_parameters()),
            "input gradient": _gradients(floats.items()),
        }


def _arrays(tensors: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors}


def _gradients(tensors: Any) -> dict[str, np.ndarray]:
    """Gradients by name; a tensor that the loss does not depend on has a zero gradient."""
    return {
        name: (torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).detach().numpy()
        for name, tensor in tensors
    }


@contextmanager
def _settings(dtype: torch.dtype) -> Iterator[None]:
    """Default dtype as the module's (some optimizers keep scalars in it), and no TF32."""
    default, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.set_default_dtype(dtype)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_default_dtype(default)
        torch.set_float32_matmul_precision(precision)
