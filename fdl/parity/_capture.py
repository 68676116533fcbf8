"""What torch's modules return, in their order of execution, and the gradients that come back."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch

from fdl._taps import numbered
from fdl.parity._calls import Calls
from fdl.parity._record import ROOT, activation_name, input_name, leaves


class Frame(NamedTuple):
    """A call that runs: its name, the tensors that it was given with their versions, its start."""

    call: str
    given: dict[int, int]
    begin: int


class Capture:
    """Records one pass through a torch module.

    In-place modules do no harm: outputs are copied when they are returned, and a gradient is taken
    with respect to the value as it was then.

    Attributes:
        outputs: copies of the tensors that modules returned, by activation name.
        gradients: the loss's gradients with respect to them; filled by ``backward``. A module that
            returns what it was given, or what a module inside it was given, has none of its own.
        calls: module calls in the order in which they ended, with the type of the module.
        consumers: by activation name, or ``"input i"``, the modules that were given it.
        inputs: if asked for, copies of the positional tensors that modules were given, by
            :func:`fdl.parity._record.input_name`.
        callers: by module call, the module in whose ``forward`` it stands.
        spans: by module call, how many watched calls of functions stood before and after it.
    """

    def __init__(
        self, module: torch.nn.Module, watch: Calls, *, outputs: bool = True, inputs: bool = False
    ) -> None:
        self.outputs: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}
        self.calls: dict[str, str] = {}
        self.consumers: dict[str, list[str]] = {}
        self.spans: dict[str, tuple[int, int]] = {}
        self.inputs: dict[str, np.ndarray] = {}
        self.callers: dict[str, str] = {}
        self._keeps_outputs = outputs
        self._keeps_inputs = inputs
        self._module = module
        self._watch = watch
        self._frames: list[Frame] = []
        self._producers: dict[int, str] = {}
        self._alive: list[torch.Tensor] = []  # so that no id is given twice

    @contextmanager
    def listening(self, inputs: Mapping[str, torch.Tensor]) -> Generator[None]:
        """Records while the network runs inside."""
        for name, tensor in inputs.items():
            self._produced(f"input {name}", tensor)
        handles = []
        for name, module in self._module.named_modules():
            handles += [
                module.register_forward_pre_hook(self._before(name), with_kwargs=True),
                module.register_forward_hook(self._after(type(module).__name__), with_kwargs=True),
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            # hooks of tensors hold this object: a circle through C++, which nothing else would end
            self._producers.clear()
            self._alive.clear()

    def _before(self, name: str):
        def hook(_module, args, kwargs):
            given = [tensor for _, tensor in leaves([args, kwargs]) if torch.is_tensor(tensor)]
            for tensor in given:
                if (producer := self._producers.get(id(tensor))) is not None and name != ROOT:
                    self.consumers.setdefault(producer, []).append(name)
            running = [frame.call for frame in self._frames]
            call = numbered(name, [*self.calls, *running])
            versions = {id(tensor): tensor._version for tensor in given}
            self._frames.append(Frame(call, versions, len(self._watch.sites)))
            self.callers[call] = self._watch.modules[-1]
            self._watch.modules.append(name)
            if self._keeps_inputs and name != ROOT:
                for path, tensor in leaves(args):
                    if torch.is_tensor(tensor):
                        self.inputs[input_name(call, path)] = tensor.detach().clone().numpy()

        return hook

    def _after(self, kind: str):
        def hook(_module, _args, _kwargs, output):
            call, given, begin = self._frames.pop()
            self._watch.modules.pop()
            self.calls[call] = kind
            self.spans[call] = (begin, len(self._watch.sites))
            if call == ROOT or not self._keeps_outputs:
                return
            for path, tensor in leaves(output):
                if not torch.is_tensor(tensor):
                    continue
                name = activation_name(call, path)
                self.outputs[name] = tensor.detach().clone().numpy()
                own = not self._is_used(tensor, given)
                self._produced(name, tensor)
                if tensor.requires_grad and own:
                    tensor.register_hook(self._keeper(name))

        return hook

    def _is_used(self, tensor: torch.Tensor, given: Mapping[int, int]) -> bool:
        """Whether more than what follows a call uses the tensor that it returns."""
        if id(tensor) in given:
            return given[id(tensor)] == tensor._version
        return bool(self.consumers.get(self._producers.get(id(tensor), "")))

    def _produced(self, name: str, tensor: torch.Tensor) -> None:
        self._producers[id(tensor)] = name
        self._alive.append(tensor)

    def _keeper(self, name: str):
        def keep(gradient):
            self.gradients[name] = gradient.detach().clone().numpy()

        return keep
