"""The reference: a torch module, run and recorded."""

import copy
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from fdl.parity._calls import Calls, Rewrite, Site
from fdl.parity._capture import Capture
from fdl.parity._failure import NO_LBFGS, CannotCompare
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
        every: gradients of so many steps are added up before the rest of this is done.
    """

    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    clip: Callable[[list[torch.nn.Parameter]], Any] | None = None
    every: int = 1


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
        self.clip, self.scheduler, self.optimizer, self.every = None, None, None, 1
        self.groups: list[list[dict[str, Any]]] = []
        self.clips: list[float] = []
        self._sums: dict[str, torch.Tensor] = {}
        self.unused: set[str] = set()
        if factory is not None:
            with self._settings():
                made = factory(self.module.parameters())
            update = made if isinstance(made, TorchUpdate) else TorchUpdate(made)
            self.optimizer, self.scheduler, self.clip, self.every = update
            _check(update)

    def nudge(self, generator: np.random.Generator, units: int = 1) -> None:
        """Moves each parameter by at most some units in its last place."""
        for parameter in self.module.parameters():
            parameter.data = torch.from_numpy(nudged(parameter.detach().numpy(), generator, units))

    def tensors(self) -> dict[str, np.ndarray]:
        """Copies of parameters and buffers by ``state_dict`` key; a tied one under its first."""
        return _arrays({**dict(self.module.named_parameters()), **dict(self._buffers())}.items())

    def load(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Puts back what :meth:`tensors` returned, in this side's precision."""
        own = {**dict(self.module.named_parameters()), **dict(self._buffers())}
        for key, tensor in tensors.items():
            own[key].data = torch.tensor(tensor).to(own[key].dtype)

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
            try:
                with capture.listening(given):
                    output = self.module(*inputs)
            except Exception:
                if not calls.rewritten:
                    raise
                yield from (("activation", name, array) for name, array in capture.outputs.items())
                return  # a rewritten call gave a shape that the next one does not take
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
        """Classes and options of optimizer and scheduler; empty without an optimizer.

        `frozen` are the parameters that the optimizer cannot move.
        """
        if self.optimizer is None:
            return {}
        names = {id(parameter): name for name, parameter in self.module.named_parameters()}
        groups = [
            given | {"names": [names[id(p)] for p in group["params"]]}
            for group, given in zip(self.optimizer.param_groups, told(self.optimizer), strict=True)
        ]
        held = {name for group in groups for name in group["names"]}
        return {
            "name": type(self.optimizer).__name__,
            "groups": groups,
            "scheduler": {} if self.scheduler is None else attributes(self.scheduler),
            "frozen": [
                name
                for name, p in self.module.named_parameters()
                if not p.requires_grad or name not in held
            ],
        }

    def _update(self, optimizer: torch.optim.Optimizer) -> None:
        self.unused |= {name for name, p in self.module.named_parameters() if p.grad is None}
        self.groups.append(told(optimizer))
        self._add_up()
        if len(self.groups) % self.every:
            return
        for name, parameter in self.module.named_parameters():
            parameter.grad = self._sums.pop(name, None)
        if self.clip is not None:
            with_gradient = [p for p in self.module.parameters() if p.grad is not None]
            before = _norm(with_gradient)
            self.clip(with_gradient)
            self.clips.append(_norm(with_gradient) / before if before > 0 else 1.0)
        optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()

    def _add_up(self) -> None:
        for name, parameter in self.module.named_parameters():
            if parameter.grad is not None:
                before = self._sums.get(name)
                self._sums[name] = parameter.grad if before is None else before + parameter.grad

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


def told(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The optimizer's options as they are now, by group."""
    return [
        _plain({key: value for key, value in group.items() if key != "params"})
        for group in optimizer.param_groups
    ]


def _check(update: TorchUpdate) -> None:
    if isinstance(update.optimizer, torch.optim.LBFGS):
        raise CannotCompare(f"optimizer: {NO_LBFGS}")
    if update.every < 1:
        raise CannotCompare(f"TorchUpdate: every: expected 1 or more, got {update.every}.")


def attributes(scheduler: Any) -> dict[str, Any]:
    """Class and plain attributes of a scheduler."""
    return {"name": type(scheduler).__name__} | _plain(vars(scheduler))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What can be written as JSON."""
    numbers = {name: _number(value) for name, value in values.items()}
    return {name: value for name, value in numbers.items() if _is_plain(value)}


def _number(value: Any) -> Any:
    """A scalar as a number: torch keeps some of its options in tensors."""
    if isinstance(value, list | tuple):
        return [_number(item) for item in value]
    return float(value) if torch.is_tensor(value) and value.numel() == 1 else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, bool | int | float | str)


def _norm(parameters: list[torch.nn.Parameter]) -> float:
    squares = [p.grad.double().square().sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _arrays(tensors: Any) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors}


def _gradients(tensors: Any) -> list[tuple[str, np.ndarray]]:
    """Gradients by name; a tensor that the loss does not depend on has a zero gradient.

    A tensor that requires none has none.
    """
    gradients = ((name, t, t.grad) for name, t in tensors if t.requires_grad)
    return [
        (name, (torch.zeros_like(t) if grad is None else grad).detach().to_dense().numpy().copy())
        for name, t, grad in gradients
    ]
