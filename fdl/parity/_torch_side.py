"""The reference: a torch module, run and recorded."""

import copy
from collections.abc import Callable, Generator, Sequence
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
        self.dtype = dtype
        self.module = copy.deepcopy(module).to("cpu", getattr(torch, dtype))
        self.loss = loss
        with self._settings():
            self.optimizer = optimizer(self.module.parameters()) if optimizer else None

    def nudge(self, generator: np.random.Generator) -> None:
        """Moves each parameter by at most one unit in its last place."""
        for parameter in self.module.parameters():
            parameter.data = torch.from_numpy(nudged(parameter.detach().numpy(), generator))

    def evaluate(self, batch: Sequence[np.ndarray], step: int) -> Record:
        """Records output, loss and gradients in evaluation mode."""
        self.module.eval()
        with self._settings():
            return recorded("eval", step, self._forward_and_backward(batch))

    def train(self, batch: Sequence[np.ndarray], masks: Sequence[np.ndarray], step: int) -> Record:
        """Takes one training step and records it."""
        self.module.train()
        with self._settings(), injected_into_torch(masks, self.module) as used:
            kinds = self._forward_and_backward(batch)
            kinds["buffer"] = _arrays(self.module.named_buffers())
            if self.optimizer is not None:
                self.optimizer.step()
                kinds["parameter"] = _arrays(self.module.named_parameters())
            kinds["mask"] = leaves(used)
        return recorded("train", step, kinds)

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

    @contextmanager
    def _settings(self) -> Generator[None]:
        """Default dtype as the module's (some optimizers keep scalars in it), and no TF32."""
        default, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
        torch.set_default_dtype(getattr(torch, self.dtype))
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_default_dtype(default)
            torch.set_float32_matmul_precision(precision)


def _arrays(tensors: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors}


def _gradients(tensors: Any) -> dict[str, np.ndarray]:
    """Gradients by name; a tensor that the loss does not depend on has a zero gradient."""
    return {
        name: (torch.zeros_like(tensor) if tensor.grad is None else tensor.grad).detach().numpy()
        for name, tensor in tensors
    }
