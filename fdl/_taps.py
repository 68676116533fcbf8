"""Markers in a computation: identities that say "this value is called so", free when unheard.

A tap is a primitive of its own, so that it survives ``jit``, ``vmap`` and ``grad``: whoever listens
(:mod:`fdl.parity`) traces the function and reads, replaces or differentiates what goes through.
"""

import threading
from collections.abc import Callable, Container, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Sink = Callable[[str, Any], Any]
"""What is done with a module's output: ``sink(name, output) -> output``."""

GIVEN = "<"
"""What the name of a module's input begins with."""

tap_p = Primitive("tap")
tap_p.def_impl(lambda x, **_: x)
tap_p.def_abstract_eval(lambda x, **_: x)
mlir.register_lowering(tap_p, lambda _context, x, **_: [x])
batching.primitive_batchers[tap_p] = lambda args, dims, **name: (
    tap_p.bind(jnp.moveaxis(args[0], dims[0], 0), **name),
    0,
)
ad.primitive_jvps[tap_p] = lambda primals, tangents, **name: (
    tap_p.bind(*primals, **name),
    tangents[0],
)


def tap(name: str, x: Any) -> Any:
    """Names an intermediate value, so that :func:`fdl.parity.compare` can look at it.

    It returns `x` itself and costs nothing in the compiled program. It works inside ``jit``,
    ``vmap``, ``grad`` and ``jax.checkpoint``; inside ``lax.scan``, ``while_loop`` and ``cond`` it
    is not heard.

    Args:
        name: the name of the torch module whose output this is: ``"block1.conv"``. A module that
            runs several times is tapped under the same name each time.
        x: an array, or any pytree of arrays.

    Returns:
        `x`.

    Example:
        >>> import jax.numpy as jnp
        >>> from fdl.parity import tap
        >>> def network(params, x):
        ...     x = tap("fc1", x @ params["fc1.weight"].T + params["fc1.bias"])
        ...     return tap("act", jnp.tanh(x))

    Torch: a module's forward hook.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(x)
    marked = [
        tap_p.bind(leaf, name=name, leaf=jax.tree_util.keystr(path, simple=True, separator="."))
        if isinstance(leaf, jax.Array)
        else leaf
        for path, leaf in leaves
    ]
    return jax.tree_util.tree_unflatten(tree, marked)


def numbered(name: str, taken: Container[str]) -> str:
    """The name of a further call of one module: ``name``, ``name#2``, ``name#3``, ..."""
    calls = (name if call == 1 else f"{name}#{call}" for call in count(1))
    return next(call for call in calls if call not in taken)


_names: ContextVar[Mapping[int, str] | None] = ContextVar("names", default=None)
_listening: ContextVar[bool] = ContextVar("listening", default=False)
_classes = threading.RLock()


@contextmanager
def listening() -> Generator[None]:
    """While tracing inside, fdl's models tap the output of every module."""
    token = _listening.set(True)
    try:
        yield
    finally:
        _listening.reset(token)


def is_listening() -> bool:
    """Whether somebody wants the taps of modules."""
    return _listening.get()


def is_intercepted() -> bool:
    """Whether somebody is handed the outputs of modules."""
    return _names.get() is not None


def tap_input(name: str, x: Any) -> Any:
    """Names what a module is given: :func:`tap` under the module's name with :data:`GIVEN`."""
    return tap(f"{GIVEN}{name}", x)


@contextmanager
def intercepted(
    modules: Mapping[str, Any], sink: Sink, given: Sink = lambda _name, args: args
) -> Generator[None]:
    """Hands the output of every call of these modules to `sink`.

    Args:
        modules: module objects by name; a module called inside itself (``super().__call__``) counts
            once.
        sink: gets name and output, returns the output to go on with.
        given: gets name and positional arguments, returns the arguments to go on with.
    """
    names = {id(module): name for name, module in reversed([*modules.items()])}
    running: set[int] = set()

    def heard(call: Callable[..., Any]) -> Callable[..., Any]:
        def listened(self: Any, *args: Any, **kwargs: Any) -> Any:
            known = _names.get() or {}
            if id(self) not in known or id(self) in running:
                return call(self, *args, **kwargs)
            running.add(id(self))
            try:
                name = known[id(self)]
                return sink(name, call(self, *given(name, args), **kwargs))
            finally:
                running.discard(id(self))

        return listened

    kinds = {type(module) for module in modules.values() if callable(module)}
    token = _names.set(names)
    with _classes:
        patches = [mock.patch.object(kind, "__call__", heard(kind.__call__)) for kind in kinds]
        try:
            for patch in patches:
                patch.start()
            yield
        finally:
            for patch in reversed(patches):
                patch.stop()
            _names.reset(token)
