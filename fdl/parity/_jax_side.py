"""The candidate: a network in JAX, run and recorded."""

import math
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from fdl._model import put_back
from fdl._taps import GIVEN
from fdl.optim.applying import apply_gradients
from fdl.parity._failure import blamed
from fdl.parity._listen import Heard, Mark, hear, listen
from fdl.parity._masks import Injected, Mask, fitting, marked_masks
from fdl.parity._record import Quantity, Record, activation_name, leaves, module_of
from fdl.parity.candidates import Candidate

Loss = Callable[[Any, jax.Array], jax.Array]


class State(NamedTuple):
    """Everything that a training step changes."""

    params: Any
    buffers: Any
    opt_state: Any


class Told(NamedTuple):
    """What a pass may be told: masks to use, and what to put in place of modules' outputs.

    Attributes:
        masks: of torch, in order.
        probes: zeros by activation name; the loss's gradient in them is that in the activation.
        forced: torch's activations and their gradients, to go on with instead of the own ones.
    """

    masks: Any
    probes: Any
    forced: Any


class JaxSide:
    """A candidate in one precision, jitted once for all the runs it makes.

    Args:
        candidate: the network.
        loss: ``(output, target) -> scalar``.
        optimizer: an Optax transform, or None.
        dtype: of parameters and inputs.
        activations: names of torch's activations: those are listened for.
    """

    def __init__(
        self,
        candidate: Candidate,
        loss: Loss,
        optimizer: optax.GradientTransformation | None,
        dtype: str,
        activations: Collection[str],
    ) -> None:
        self.candidate = candidate
        self.dtype = dtype
        self.loss = loss
        self.optimizer = optimizer
        self.activations = activations
        self.differentiate = jax.jit(self._differentiate, static_argnames="train")
        self.infer = jax.jit(partial(self._forward, train=False))
        self.update = jax.jit(partial(apply_gradients, optimizer)) if optimizer else None
        self.state = State({}, {}, None)
        self._heard: dict[Any, Heard] = {}

    def start(self, tensors: Mapping[str, np.ndarray] | None) -> Record:
        """Takes over torch's tensors, or its own, and a fresh optimizer state."""
        with self._settings():
            if tensors is None:
                params, buffers = self.candidate.own(self.dtype)
            else:
                params, buffers = self.candidate.load(tensors)
            self.state = State(params, buffers, None)
            if self.optimizer is not None:
                self.state = State(params, buffers, self.optimizer.init(params))
        return _recorded("eval", 0, {"parameter": self._params(), "buffer": self._buffers()})

    def heard(self, batch: Sequence[np.ndarray], *, train: bool) -> Heard:
        """The taps and masks of one pass, without computing it."""
        question = (train, *(array.shape for array in batch))
        if question not in self._heard:
            with self._settings():
                inputs = [jax.numpy.asarray(array) for array in batch[:-1]]
                trees = (self.state.params, self.state.buffers)
                self._heard[question] = hear(self._apply(train), *trees, *inputs)
        return self._heard[question]

    def layouts(self, heard: Heard) -> dict[str, tuple[int, ...]]:
        """The candidate's shapes of the activations that torch has too."""
        named = ((self._name(mark), like.shape) for mark, like in heard.marks if mark.keep is None)
        return {name: shape for name, shape in named if name is not None}

    def shapes(self, batch: Sequence[np.ndarray], *, train: bool) -> dict[str, Any]:
        """Shapes and dtypes of the output's leaves, without computing it."""
        with self._settings():
            inputs = [jax.numpy.asarray(array) for array in batch[:-1]]
            apply = self._apply(train)
            output, _ = jax.eval_shape(apply, self.state.params, self.state.buffers, *inputs)
            return dict(leaves(output))

    def stage(
        self,
        batch: Sequence[np.ndarray],
        masks: Sequence[Mask],
        step: int,
        *,
        train: bool,
        forced: Mapping[str, Any] | None = None,
    ) -> Record:
        """Runs forward and backward, in training the update too, and records all of it."""
        with self._settings():
            *inputs, target = map(jax.numpy.asarray, batch)
            heard = self.heard(batch, train=train)
            told = Told([mask.kept for mask in masks], self._probes(heard), forced)
            params, buffers, opt_state = self.state
            (loss, (output, updated, seen)), (grads, input_grads, probed) = self.differentiate(
                params, inputs, told.probes, buffers, target, told, train=train
            )
            kinds: dict[str, Mapping[str, Any]] = {
                **_inside(seen),
                **_outside(output),
                "mask": self._mask_rows(heard, masks),
                "loss": {"": loss},
                "activation gradient": probed,
                "gradient": self.candidate.to_torch(grads),
                "input gradient": {
                    str(i): g for i, g in enumerate(input_grads) if g.dtype != jax.dtypes.float0
                },
            }
            params, updated = put_back(params, buffers, updated)
            if forced is None and not train:  # torch rewrites parameters in evaluation too
                self.state = State(params, buffers, opt_state)
            if train and forced is None:
                if self.update is not None:
                    params, opt_state = self.update(params, opt_state, grads)
                self.state = State(params, updated, opt_state)
                kinds["buffer"] = self._buffers()
                kinds["parameter"] = {} if self.update is None else self._params()
        return _recorded("train" if train else "eval", step, kinds)

    def inference(self, batch: Sequence[np.ndarray], masks: Sequence[Mask], step: int) -> Record:
        """What evaluation computes where nothing is differentiated.

        Empty where no derivative is written out: the values are then those of :meth:`stage`.
        """
        heard = self.heard(batch, train=False)
        if not heard.customised:
            return {}
        with self._settings():
            inputs = [jax.numpy.asarray(array) for array in batch[:-1]]
            told = Told([mask.kept for mask in masks], {}, None)
            output, _, seen = self.infer(self.state.params, self.state.buffers, inputs, told)
        return _recorded("eval", step, {**_outside(output), **_inside(seen)})

    def _params(self) -> dict[str, np.ndarray]:
        return self.candidate.to_torch(self.state.params)

    def _buffers(self) -> dict[str, np.ndarray]:
        return self.candidate.to_torch(self.state.buffers, buffers=True)

    def _apply(self, train: bool) -> Callable[..., tuple[Any, Any]]:
        key = jax.random.key(0) if train else None

        def apply(params: Any, buffers: Any, *inputs: Any) -> tuple[Any, Any]:
            with marked_masks():
                return self.candidate.apply(params, buffers, *inputs, train=train, key=key)

        return apply

    def _name(self, mark: Mark) -> str | None:
        """Torch's name of a tapped value, if torch has it."""
        given = GIVEN if mark.name.startswith(GIVEN) else ""
        own = mark.name.removeprefix(given)
        module = module_of(own)
        call = own.replace(module, self.candidate.modules.get(module, module), 1)
        name = given + activation_name(call, mark.leaf)
        return name if name in self.activations else None

    def _probes(self, heard: Heard) -> dict[str, jax.Array]:
        return {
            name: jax.numpy.zeros(like.shape, like.dtype)
            for mark, like in heard.marks
            if mark.keep is None
            and jax.numpy.issubdtype(like.dtype, jax.numpy.floating)
            and (name := self._name(mark)) is not None
            and name[0] != GIVEN
        }

    def _mask_rows(self, heard: Heard, masks: Sequence[Mask]) -> dict[str, np.ndarray]:
        """What masks are compared by: torch's layout; torch's probability where it is not known."""
        rows = {}
        asked = [(mark.keep, like.shape) for mark, like in heard.marks if mark.keep is not None]
        for index, (keep, shape) in enumerate(asked):
            mask = masks[index] if index < len(masks) else None
            if mask is not None:
                last = self.candidate.channels_last
                fits = fitting(mask.kept.shape, shape, channels_last=last) is not None
                shape = mask.kept.shape if fits else shape
                keep = mask.keep if math.isnan(keep) else keep
            rows[str(index)] = np.array([keep, *shape], np.float64)
        return rows

    def _differentiate(self, params, inputs, probes, buffers, target, told, *, train):
        def objective(params, inputs, probes):
            asked = told._replace(probes=probes)
            passed = self._forward(params, buffers, inputs, asked, train=train)
            return self.loss(passed[0], target), passed

        gradient = jax.value_and_grad(objective, argnums=(0, 1, 2), has_aux=True, allow_int=True)
        return gradient(params, inputs, probes)

    def _forward(self, params, buffers, inputs, told, *, train):
        """The output, the buffers afterwards, and the activations, by name."""
        seen: dict[str, jax.Array] = {}
        masks = Injected(told.masks, channels_last=self.candidate.channels_last)

        def listener(mark: Mark, value: Any) -> Any:
            if mark.keep is not None:
                return masks.next(value)
            if (name := self._name(mark)) is None:
                return value
            seen[name] = value
            return self._passed(name, value, told.probes, told.forced)

        apply = listen(self._apply(train), listener, modules=bool(self.activations))
        output, updated = apply(params, buffers, *inputs)
        return output, updated, seen

    def _passed(self, name: str, value: Any, probes: Any, forced: Any) -> Any:
        if name not in probes:
            return value
        if forced is None or name not in forced:
            return value + probes[name]
        return _forced(value, probes[name], *forced[name])

    @contextmanager
    def _settings(self) -> Generator[None]:
        """x64 exactly where float64 is compared, products in full precision, blame on the user."""
        x64 = jax.enable_x64(self.dtype == "float64")
        with blamed("the candidate"), x64, jax.default_matmul_precision("highest"):
            yield


def _inside(seen: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What is heard inside a network, by kind."""
    return {
        "activation": {name: x for name, x in seen.items() if name[0] != GIVEN},
        "module input": {name: x for name, x in seen.items() if name[0] == GIVEN},
    }


def _outside(output: Any) -> dict[str, Mapping[str, Any]]:
    return {"output": dict(leaves(output))}


def _recorded(mode: str, step: int, kinds: Mapping[str, Mapping[str, Any]]) -> Record:
    return {
        Quantity(mode, kind, step, name): np.asarray(array)
        for kind, arrays in kinds.items()
        for name, array in arrays.items()
    }


@jax.custom_vjp
def _forced(value, probe, expected, gradient):
    """Goes on with the expected value and, backwards, with the expected gradient."""
    return expected.astype(value.dtype)


def _forced_forward(value, probe, expected, gradient):
    return _forced(value, probe, expected, gradient), gradient


def _forced_backward(gradient, cotangent):
    return gradient.astype(cotangent.dtype), cotangent, None, None


_forced.defvjp(_forced_forward, _forced_backward)
