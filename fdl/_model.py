"""The seam between Flax NNX modules and pure functions: the only file that splits or merges NNX."""

import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.core import FrozenDict

from fdl._channels_last import with_channels_last
from fdl._checks import check_tensors
from fdl._taps import Sink, intercepted, is_listening, numbered, tap, tap_input
from fdl._types import Buffers, Model, Params
from fdl._variables import streams

Chosen = Callable[[str, nnx.Module], bool]

_EVALUATION = {"deterministic": True, "use_running_average": True}
"""What ``nnx.Module.eval`` sets."""
_evaluating: ContextVar[Chosen | None] = ContextVar("evaluating", default=None)


def as_model(build: Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """Turns a module constructor into pure functions over named arrays.

    Parameters are the ``nnx.Param`` variables of the module, random streams its ``nnx.RngState``,
    and buffers everything else that is a variable. Their names are the attribute paths joined by
    dots, which for fdl's layers are PyTorch's ``state_dict`` keys.

    Args:
        build: makes the network, given the random streams that its layers initialise from. It may
            use fdl's layers, plain Flax NNX layers, or both.

    Returns:
        The network as a :class:`fdl.Model`.

    Raises:
        ValueError: from ``apply`` and ``trace``, if parameters or buffers do not fit the network
            (every missing, unexpected and misshapen key is listed), or if ``train=True`` comes
            without the ``key`` that dropout needs.

    Example:
        >>> import fdl, jax
        >>> model = fdl.as_model(lambda rngs: fdl.nn.Linear(3, 2, rngs=rngs))
        >>> params, buffers = model.init(jax.random.key(0))
        >>> sorted(params)
        ['bias', 'weight']
        >>> output, buffers = model.apply(params, buffers, jax.numpy.ones((4, 3)))
        >>> output.shape
        (4, 2)
    """
    abstract = nnx.eval_shape(lambda: build(streams(0)))
    graphdef, params_like, streams_like, buffers_like = nnx.split(
        abstract, nnx.Param, nnx.RngState, ...
    )

    def init(key: jax.Array) -> tuple[Params, Buffers]:
        _, params, _, buffers = nnx.split(build(streams(key)), nnx.Param, nnx.RngState, ...)
        return _flat(params), _flat(buffers)

    def bind(params: Params, buffers: Buffers, train: bool, key: jax.Array | None) -> nnx.Module:
        check_tensors("params", _flat(params_like), params)
        check_tensors("buffers", _flat(buffers_like), buffers)
        streams = _seeded(streams_like, train, key)
        module = nnx.merge(
            graphdef, _filled(params_like, params), streams, _filled(buffers_like, buffers)
        )
        module.train() if train else module.eval()  # a local copy: the caller sees no change
        if (chosen := _evaluating.get()) is not None:
            module.set_attributes(
                lambda path, part: chosen(_name(path), part),
                raise_if_not_found=False,
                **_EVALUATION,
            )
        return module

    def apply(
        params: Params,
        buffers: Buffers,
        *inputs: Any,
        train: bool = False,
        key: jax.Array | None = None,
        **named: Any,
    ) -> tuple[Any, Buffers]:
        def computed(params, buffers, inputs, key, named):
            module = bind(params, buffers, train, key)
            heard = _listened(module, tap, tap_input) if is_listening() else module
            output = heard(*inputs, **named)
            _, left, _, updated = nnx.split(module, nnx.Param, nnx.RngState, ...)
            rewritten = {k: value for k, value in _flat(left).items() if value is not params[k]}
            return output, _flat(updated) | rewritten

        operands = (params, buffers, inputs, key, named)
        has_images = any(jnp.ndim(param) > 2 for param in params.values())
        if has_images and not is_listening() and _is_traced(operands):
            return with_channels_last(computed, operands)
        return computed(*operands)

    def trace(
        params: Params,
        buffers: Buffers,
        *inputs: Any,
        train: bool = False,
        key: jax.Array | None = None,
        **named: Any,
    ) -> dict[str, Any]:
        module = bind(params, buffers, train, key)
        outputs: dict[str, Any] = {}

        def keep(name: str, output: Any) -> Any:
            outputs[numbered(name, outputs)] = output
            return output

        _listened(module, keep)(*inputs, **named)
        return outputs

    return Model(init, apply, trace, _tied(abstract))


@contextmanager
def evaluating(chosen: Chosen) -> Generator[None]:
    """While tracing inside, modules of models evaluate in training too, if `chosen` picks them.

    Args:
        chosen: gets a module's name and the module itself.
    """
    outer = _evaluating.get()
    token = _evaluating.set(
        lambda name, module: chosen(name, module) or (outer is not None and outer(name, module))
    )
    try:
        yield
    finally:
        _evaluating.reset(token)


def put_back(params: Any, buffers: Any, updated: Any) -> tuple[Any, Any]:
    """Divides what ``apply`` returned as buffers: parameters that the forward pass rewrote go back.

    Args:
        params: that ``apply`` was given.
        buffers: that it was given.
        updated: buffers that it returned.

    Returns:
        The parameters with the rewritten ones replaced, and the buffers without them. Trees that
        are not flat dicts have none.
    """
    if not (isinstance(params, dict) and isinstance(buffers, dict) and isinstance(updated, dict)):
        return params, updated
    rewritten = {k: v for k, v in updated.items() if k in params and k not in buffers}
    kept = {k: v for k, v in updated.items() if k not in rewritten}
    return params | rewritten, kept


def _is_traced(operands: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(operands))


def _listened(module: nnx.Module, *sinks: Sink) -> Callable[..., Any]:
    """The module as a function, all modules inside as in :func:`fdl._taps.intercepted`."""
    names = {_name(path): part for path, part in nnx.iter_modules(module)}

    def call(*inputs: Any, **named: Any) -> Any:
        with intercepted(names, *sinks):
            return module(*inputs, **named)

    return call


def _tied(module: nnx.Module) -> FrozenDict[str, str]:
    """The further names of variables that stand in the module more than once."""
    first: dict[int, str] = {}
    tied: dict[str, str] = {}

    def walk(part: nnx.Module, prefix: str) -> None:
        for name, value in sorted(vars(part).items()):
            if isinstance(value, nnx.Variable):
                here = f"{prefix}{name}"
                known = first.setdefault(id(value), here)
                if known != here:
                    tied[here] = known
            elif isinstance(value, nnx.Module):
                walk(value, f"{prefix}{name}.")

    walk(module, "")
    return FrozenDict(tied)


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _flat(state: nnx.State) -> dict[str, Any]:
    return {_name(path): variable.get_value() for path, variable in nnx.to_flat_state(state)}


def _filled(like: nnx.State, values: Mapping[str, jax.Array]) -> nnx.State:
    return nnx.from_flat_state(
        [(path, v.replace(values[_name(path)])) for path, v in nnx.to_flat_state(like)]
    )


def _seeded(like: nnx.State, train: bool, key: jax.Array | None) -> nnx.State:
    """Gives each random stream a key of its own, folded from `key` and the stream's name."""
    streams = nnx.to_flat_state(like)
    if key is None:
        if train and streams:
            drawing = repr(_name(streams[0][0][:-2])) if len(streams[0][0]) > 2 else "by itself"
            raise ValueError(
                "key: expected a jax.random.key, got None. This network draws random numbers in "
                f"training ({drawing}): pass key=jax.random.key(...), a new one each step."
            )
        key = jax.random.key(0)  # evaluation draws nothing

    def seed(path: tuple[Any, ...], stream: nnx.Variable) -> nnx.Variable:
        if isinstance(stream, nnx.RngKey):
            return stream.replace(jax.random.fold_in(key, zlib.crc32(_name(path).encode())))
        return stream.replace(jnp.zeros(stream.shape, stream.dtype))

    return nnx.from_flat_state([(path, seed(path, stream)) for path, stream in streams])
