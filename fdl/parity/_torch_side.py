"""The reference: a torch module, run and recorded."""

import copy
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from fdl.parity._calls import Calls, Rewrite, Site
from fdl.parity._capture import Capture
from fdl.parity._masks import Masks
from fdl.parity._record import ROOT, Quantity, Record, leaves, nudged, owner_of

Loss = Callable[[Any, torch.Tensor], torch.Tensor]


class TorchUpdate(NamedTuple):
    """What torch does after ``backward``: the parts of a training step that change parameters.

    Attributes:
        optimizer: the optimizer.
        scheduler: stepped after the optimizer, if there is one.
        clip: called with the list of parameters before the optimizer, as
            ``lambda p: torch.nn.utils.clip_grad_norm_(p, 1.0)``.
    """

    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    clip: Callable[[list[torch.nn.Parameter]], Any] | None = None


Factory = Callable[[Any], torch.optim.Optimizer | TorchUpdate]
Rewrites = Callable[[Site], Rewrite | None]


class Pass(NamedTuple):
    """One pass: what was recorded, and how the network went about it."""

    record: Record
    capture: Capture
    calls: Calls


class TorchSide:
    """A copy of a torch module in one precision, on the CPU."""

    def __init__(
        self, module: torch.nn.Module, loss: Loss, factory: Factory | None, dtype: str
    ) -> None:
        self.dtype = dtype
        self.module = copy.deepcopy(module).to("cpu", getattr(torch, dtype))
        self.loss = loss
        self.clip, self.scheduler, self.optimizer = None, None, None
        self.rates: list[list[float]] = []
        self.clips: list[float] = []
        self.unused: set[str] = set()
        if factory is not None:
            with self._settings():
                made = factory(self.module.parameters())
            update = made if isinstance(made, TorchUpdate) else TorchUpdate(made)
            self.optimizer, self.scheduler, self.clip = update

    def nudge(self, generator: np.random.Generator) -> None:
        """Moves each parameter by at most one unit in its last place."""
        for parameter in self.module.parameters():
            parameter.data = torch.from_numpy(nudged(parameter.detach().numpy(), generator))

    def tensors(self) -> dict[str, np.ndarray]:
        """Copies of parameters and buffers by ``state_dict`` key; a tied one under its first."""
        return _arrays({**dict(self.module.named_parameters()), **dict(self._buffers())}.items())

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Puts back what :meth:`tensors` returned."""
        own = {**dict(self.module.named_parameters()), **dict(self._buffers())}
        for key, tensor in tensors.items():
            own[key].data = torch.tensor(tensor)

    def stage(
        self,
        batch: Sequence[np.ndarray],
        masks: Masks,
        step: int,
        *,
        train: bool,
        backward: bool = True,
        listen: bool = True,
        inputs: bool = False,
        rewrites: Rewrites | None = None,
    ) -> Pass:
        """Runs forward and backward, in training the update too, and records all of it."""
        self.module.train(train)
        with self._settings():
            calls = Calls(masks, rewrites)
            capture = Capture(self.module, calls, outputs=listen, inputs=inputs)
            kinds = list(self._forward(batch, calls, capture, masks, backward=backward))
            if train:
                kinds += [("buffer", k, v) for k, v in _arrays(self._buffers()).items()]
            if train and self.optimizer is not None:
                self._update(self.optimizer)
                parameters = _arrays(self.module.named_parameters())
                kinds += [("parameter", key, array) for key, array in parameters.items()]
        mode = "train" if train else "eval"
        record = {Quantity(mode, kind, step, name): array for kind, name, array in kinds}
        return Pass(record, capture, calls)

    def _forward(
        self,
        batch: Sequence[np.ndarray],
        calls: Calls,
        capture: Capture,
        masks: Masks,
        *,
        backward: bool,
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        *inputs, target = map(torch.tensor, batch)
        given = {str(i): x for i, x in enumerate(inputs)}
        floats = {i: x.requires_grad_() for i, x in given.items() if x.is_floating_point()}
        self.module.zero_grad(set_to_none=True)
        with calls.watching():
            with capture.listening(given):
                output = self.module(*inputs)
            calls.phase = "loss"
            loss = self.loss(output, target)
        yield from (("activation", name, array) for name, array in capture.outputs.items())
        yield from (("output", name, array) for name, array in _arrays(leaves(output)).items())
        yield from (("mask", str(i), mask.row()) for i, mask in enumerate(masks.used))
        yield "loss", "", loss.detach().numpy().copy()
        if not (backward and loss.requires_grad):
            return
        loss.backward()
        yield from self._backward_order(capture)
        yield from (("input gradient", i, array) for i, array in _gradients(floats.items()))

    def _backward_order(self, capture: Capture) -> Iterator[tuple[str, str, np.ndarray]]:
        """Gradients as the backward pass meets them: a module's output, then its parameters."""
        parameters = _gradients(self.module.named_parameters())
        waiting = dict(parameters)
        for call in reversed([*capture.calls]):
            for name in reversed([*capture.outputs]):
                if name.partition(":")[0] == call and name in capture.gradients:
                    yield "activation gradient", name, capture.gradients[name]
            if call.partition("#")[0] != ROOT:
                owned = [key for key in waiting if owner_of(key) == call.partition("#")[0]]
                yield from (("gradient", key, waiting.pop(key)) for key in owned)
        yield from (("gradient", key, array) for key, array in waiting.items())

    def options(self) -> dict[str, Any]:
        """Class, options and parameters by group of the optimizer; empty without one."""
        if self.optimizer is None:
            return {}
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        groups = [
            {k: v for k, v in group.items() if k != "params" and not torch.is_tensor(v)}
            | {"names": [names[id(p)] for p in group["params"]]}
            for group in self.optimizer.param_groups
        ]
        return {"name": type(self.optimizer).__name__, "groups": groups}

    def _update(self, optimizer: torch.optim.Optimizer) -> None:
        self.unused |= {name for name, p in self.module.named_parameters() if p.grad is None}
        self.rates.append([float(group["lr"]) for group in optimizer.param_groups])
        if self.clip is not None:
            with_gradient = [p for p in self.module.parameters() if p.grad is not None]
            before = _norm(with_gradient)
            self.clip(with_gradient)
            self.clips.append(_norm(with_gradient) / before if before > 0 else 1.0)
        optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()

    def _buffers(self) -> list[tuple[str, torch.Tensor]]:
        persistent = self.module.state_dict().keys()
        return [(key, b) for key, b in self.module.named_buffers() if key in persistent]

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


def _norm(parameters: list[torch.nn.Parameter]) -> float:
    squares = [p.grad.double().square().sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _arrays(tensors: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors}


def _gradients(tensors: Any) -> list[tuple[str, np.ndarray]]:
    """Gradients by name; a tensor that the loss does not depend on has a zero gradient."""
    gradients = ((name, t, t.grad) for name, t in tensors)
    return [
        (name, (torch.zeros_like(t) if grad is None else grad).detach().numpy().copy())
        for name, t, grad in gradients
    ]
