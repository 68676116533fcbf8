"""The candidate: an fdl model, run and recorded."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
import torch

from fdl._types import Model
from fdl.interop import from_torch
from fdl.parity._masks import Draw, draws, injected_into_jax
from fdl.parity._record import Record, leaves, recorded

Loss = Callable[[Any, jax.Array], jax.Array]


class JaxSide:
    """An fdl model in one precision, jitted once for all the runs it makes."""

    def __init__(
        self,
        model: Model,
        loss: Loss,
        optimizer: optax.GradientTransformation | None,
        dtype: str,
    ) -> None:
        self.dtype = dtype
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.differentiate = jax.jit(self._differentiate, static_argnames="train")
        self.update = jax.jit(partial(_updated, optimizer)) if optimizer else None

    def start(self, module: torch.nn.Module) -> None:
        """Takes over a torch module's tensors, and a fresh optimizer state."""
        with _settings(self.dtype):
            self.params, self.buffers = from_torch(module, like=self.model)
            self.opt_state = self.optimizer.init(self.params) if self.optimizer else None

    def wanted_masks(self, batch: Sequence[np.ndarray]) -> list[Draw]:
        """The dropout masks that one training pass draws."""
        with _settings(self.dtype):
            apply = partial(self.model.apply, train=True, key=jax.random.key(0))
            return draws(
                lambda: apply(self.params, self.buffers, *map(jax.numpy.array, batch[:-1]))
            )

    def evaluate(self, batch: Sequence[np.ndarray], step: int) -> Record:
        """Records output, loss and gradients in evaluation mode."""
        with _settings(self.dtype):
            kinds, _, _ = self._forward_and_backward(batch, [], train=False)
        return recorded("eval", step, kinds)

    def train(self, batch: Sequence[np.ndarray], masks: Sequence[np.ndarray], step: int) -> Record:
        """Takes one training step and records it."""
        with _settings(self.dtype):
            kinds, grads, self.buffers = self._forward_and_backward(batch, masks, train=True)
            kinds["buffer"] = self.buffers
            if self.update is not None:
                self.params, self.opt_state = self.update(grads, self.opt_state, self.params)
                kinds["parameter"] = self.params
            kinds["mask"] = leaves(list(masks))
        return recorded("train", step, kinds)

    def _forward_and_backward(
        self, batch: Sequence[np.ndarray], masks: Sequence[np.ndarray], *, train: bool
    ) -> tuple[dict[str, Any], Any, Any]:
        *inputs, target = map(jax.numpy.array, batch)
        (loss, (output, buffers)), (grads, input_grads) = self.differentiate(
            self.params, inputs, self.buffers, target, masks, train=train
        )
        kinds = {
            "output": leaves(output),
            "loss": {"": loss},
            "gradient": grads,
            "input gradient": {
                str(i): g for i, g in enumerate(input_grads) if g.dtype != jax.dtypes.float0
            },
        }
        return kinds, grads, buffers

    def _differentiate(self, params, inputs, buffers, target, masks, *, train):
        def objective(params, inputs):
            key = jax.random.key(0) if train else None
            with injected_into_jax(masks):
                output, updated = self.model.apply(params, buffers, *inputs, train=train, key=key)
            return self.loss(output, target), (output, updated)

        gradient = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True, allow_int=True)
        return gradient(params, inputs)


def _updated(optimizer, grads, opt_state, params):
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


@contextmanager
def _settings(dtype: str) -> Generator[None]:
    """x64 exactly where float64 is compared, and products in full precision (no TF32)."""
    with jax.enable_x64(dtype == "float64"), jax.default_matmul_precision("highest"):
        yield
