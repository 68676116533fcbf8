"""The JAX side of a comparison, whichever library it is written in, as one pure function."""

import dataclasses
import inspect
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from fdl._model import as_model
from fdl._taps import intercepted, is_listening, tap, tap_input
from fdl._types import Model
from fdl.parity._failure import CannotCompare, blamed
from fdl.parity._record import owner_of
from fdl.parity._reference import Anatomy
from fdl.parity.names import Leaf, Names, resolve, suggest_names

TRAINING = ("train", "training", "is_training")
EVALUATING = ("deterministic", "use_running_average", "inference")
KEYS = ("key", "rng")
COLLECTIONS = ("params", "batch_stats", "buffers")


class Candidate(NamedTuple):
    """A network in JAX, in its own trees, and how they stand to torch's ``state_dict``.

    Attributes:
        kind: which library it is written in.
        apply: ``apply(params, buffers, *inputs, train, key) -> (output, buffers)``.
        params: its parameters: arrays, or shapes only.
        buffers: its buffers.
        told: whether it is told the mode, training or evaluation.
        leaves: for each array of both its place, torch's key, and the order of axes.
        modules: torch's names of its modules, where they differ.
    """

    kind: str
    apply: Callable[..., tuple[Any, Any]]
    params: Any
    buffers: Any
    told: bool
    leaves: list[Leaf]
    modules: dict[str, str]

    @property
    def channels_last(self) -> bool:
        """Whether its convolutions' kernels, and so its activations, have channels last."""
        return any(len(leaf.permutation or ()) > 2 for leaf in self.leaves)

    def load(self, tensors: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
        """Torch's tensors in the candidate's trees."""
        by_path = {
            leaf.path: _permuted(tensors[leaf.key], leaf.permutation) for leaf in self.leaves
        }
        return _filled(self.params, by_path), _filled(self.buffers, by_path, clash=self.params)

    def own(self, dtype: str) -> tuple[Any, Any]:
        """Its own tensors, floats in the given dtype."""

        def copied(leaf: Any) -> Any:
            if isinstance(leaf, jax.ShapeDtypeStruct):
                raise CannotCompare(
                    "load=False compares the tensors that the candidate came with, and it came "
                    "with shapes alone: pass its arrays as params=..., buffers=..."
                )
            array = np.asarray(leaf)
            floats = np.issubdtype(array.dtype, np.floating)
            return jax.numpy.asarray(array.astype(dtype) if floats else array)

        return jax.tree.map(copied, (self.params, self.buffers))

    def to_torch(self, tree: Any, *, buffers: bool = False) -> dict[str, np.ndarray]:
        """The arrays of parameters (or gradients), or of buffers, by torch's key and layout."""
        flat = _paths(tree, clash=self.params if buffers else None)
        keys = {leaf.path: leaf for leaf in self.leaves}
        return {
            keys[path].key: _restored(np.asarray(array), keys[path].permutation)
            for path, array in flat.items()
        }


class Pure(NamedTuple):
    """A network as a pure function, before its tensors have torch's names."""

    kind: str
    apply: Callable[..., tuple[Any, Any]]
    params: Any
    buffers: Any
    told: bool = True


def adapt(
    candidate: Any,
    anatomy: Anatomy,
    inputs: Sequence[np.ndarray],
    params: Any = None,
    buffers: Any = None,
    names: Names | None = None,
) -> Candidate:
    """Makes a :class:`Candidate` of anything that :func:`fdl.parity.compare` takes.

    Args:
        candidate: an fdl Model, a Linen, NNX or Equinox module, or a pure function.
        anatomy: of the torch module.
        inputs: of one batch, without the target.
        params: see :func:`fdl.parity.compare`.
        buffers: see there.
        names: see there.

    Raises:
        CannotCompare: if it is none of these, or its tree does not fit.
    """
    with blamed("the candidate"):
        pure = _pure(candidate, params, buffers, inputs)
        flat = {**_paths(pure.params), **_paths(pure.buffers, clash=pure.params)}
    keys = {key: key for key in anatomy.shapes} | anatomy.aliases
    try:
        if names is None:
            same = pure.kind == "fdl.Model" or set(flat) <= set(keys)
            names = {path: path for path in flat} if same else suggest_names(anatomy.shapes, flat)
        leaves = resolve(_canonical(names, keys), anatomy.shapes, flat)
    except ValueError as error:
        raise CannotCompare(f"the candidate's tensors and torch's do not fit. {error}") from error
    return Candidate(*pure, leaves, _modules(leaves))


def _canonical(names: Names, keys: Mapping[str, str]) -> Names:
    """A mapping with the first key of every tied tensor, and paths without Linen's ``params``."""
    entries = {path: (e, None) if isinstance(e, str) else e for path, e in names.items()}
    used = [key for key, _ in entries.values() if key in keys]
    for key in used:
        if used.count(key) == 1 and [keys[other] for other in used].count(keys[key]) > 1:
            raise ValueError(
                f"{key!r} and {keys[key]!r} are one tensor in torch (tied), and two in the "
                "candidate: use one array in both places, or training will part them."
            )
    return {
        path.removeprefix("params."): keys.get(key, key)
        if permutation is None
        else (keys.get(key, key), permutation)
        for path, (key, permutation) in entries.items()
    }


def _pure(candidate: Any, params: Any, buffers: Any, inputs: Sequence[np.ndarray]) -> Pure:
    linen, equinox = sys.modules.get("flax.linen"), sys.modules.get("equinox")
    if isinstance(candidate, nnx.Module):
        module = candidate
        model = as_model(lambda _rngs: module)
        return Pure("flax.nnx", model.apply, *model.init(jax.random.key(0)))
    if isinstance(candidate, Model):
        shapes = jax.eval_shape(candidate.init, jax.random.key(0))
        given = (params, buffers)
        own = (like if tree is None else tree for tree, like in zip(given, shapes, strict=True))
        return Pure("fdl.Model", candidate.apply, *own)
    if linen is not None and isinstance(candidate, linen.Module):
        return _linen(candidate, params, inputs)
    if equinox is not None and isinstance(candidate, equinox.Module):
        return _equinox(candidate, equinox)
    if not callable(candidate):
        raise CannotCompare(
            "the candidate: expected an fdl.Model, a Flax or Equinox module, or a function "
            f"f(params, *inputs), got {type(candidate).__name__}."
        )
    if params is None:
        raise CannotCompare(
            "the candidate is a function: pass its parameters too, as params=...; shapes are "
            "enough (jax.ShapeDtypeStruct)."
        )
    return _function(candidate, params, buffers)


def _function(function: Callable[..., Any], params: Any, buffers: Any) -> Pure:
    flags = _flags(function)

    def apply(params: Any, buffers: Any, *inputs: Any, train: bool, key: Any) -> tuple[Any, Any]:
        with _heard(params):
            if stateless:
                return function(params, *inputs, **flags(train, key)), {}
            returned = function(params, buffers, *inputs, **flags(train, key))
            _check_buffers(returned, buffers)
            return returned

    stateless = buffers is None
    return Pure("function", apply, params, {} if stateless else buffers, _told(flags))


def _check_buffers(returned: Any, buffers: Any) -> None:
    """A function with buffers returns the output and the same buffers, updated."""
    expected = "the candidate: with buffers=... a function returns (output, buffers)"
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise CannotCompare(f"{expected}, got {type(returned).__name__}.")
    given, got = (
        {path: np.shape(x) for path, x in _paths(t).items()} for t in (buffers, returned[1])
    )
    if given != got:
        names = sorted(path for path in {*given, *got} if given.get(path) != got.get(path))
        raise CannotCompare(
            f"{expected}, the buffers as it was given them; missing, unexpected or of another "
            f"shape: {', '.join(map(repr, names))}."
        )


def _linen(module: Any, variables: Any, inputs: Sequence[np.ndarray]) -> Pure:
    flags = _flags(module.__call__)
    if variables is None:
        arrays = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
        rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        variables = jax.eval_shape(lambda *x: module.init(rngs, *x, **flags(False, None)), *arrays)
    variables = dict(variables) if "params" in variables else {"params": variables}
    params, buffers = variables.pop("params"), variables

    def apply(params: Any, buffers: Any, *inputs: Any, train: bool, key: Any) -> tuple[Any, Any]:
        rngs = {"dropout": key} if train else None
        with _heard(None):
            return module.apply(
                {"params": params, **buffers},
                *inputs,
                **flags(train, None),
                rngs=rngs,
                mutable=list(buffers),
            )

    return Pure("flax.linen", apply, params, buffers, _told(flags))


def _equinox(module: Any, equinox: Any) -> Pure:
    """Equinox modules take one example: they run under ``vmap`` over the batch."""
    params, static = equinox.partition(module, equinox.is_inexact_array)
    flags = _flags(type(module).__call__)

    def apply(params: Any, buffers: Any, *inputs: Any, train: bool, key: Any) -> tuple[Any, Any]:
        whole = equinox.nn.inference_mode(equinox.combine(params, static), value=not train)
        told = flags(train, key)
        drawing = [name for name in told if name in KEYS and key is not None]
        keys = {name: jax.random.split(told.pop(name), len(inputs[0])) for name in drawing}
        with _heard(whole):
            return jax.vmap(lambda k, *x: whole(*x, **told, **k))(keys, *inputs), buffers

    return Pure("equinox", apply, params, {})


def _flags(function: Callable[..., Any]) -> Callable[[bool, Any], dict[str, Any]]:
    """What a function wants to be told about training, by the names of its parameters.

    Without a key, only a parameter that has no default of its own is given None.
    """
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        known = {}

    def flags(train: bool, key: Any) -> dict[str, Any]:
        wanted = {name: train for name in TRAINING if name in known}
        wanted |= {name: not train for name in EVALUATING if name in known}
        keys = [name for name in KEYS if name in known]
        needed = [name for name in keys if known[name].default is inspect.Parameter.empty]
        return wanted | dict.fromkeys(keys if key is not None else needed, key)

    return flags


def _told(flags: Callable[[bool, Any], dict[str, Any]]) -> bool:
    """Whether a function is told the mode, and not only given a key."""
    return any(name not in KEYS for name in flags(True, None))


@contextmanager
def _heard(tree: Any) -> Generator[None]:
    """While listening, taps the outputs of Linen modules and of Equinox modules in a tree."""
    linen, equinox = sys.modules.get("flax.linen"), sys.modules.get("equinox")
    listening = is_listening()

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        name = ".".join(context.module.path)
        if not name or context.method_name != "__call__":
            return call(*args, **kwargs)
        return tap(name, call(*tap_input(name, args), **kwargs))

    modules = dict(_equinox_modules(tree, equinox)) if listening and equinox else {}
    inside = linen.intercept_methods(intercept) if listening and linen else nullcontext()
    with inside, intercepted(modules, tap, tap_input):
        yield


def _equinox_modules(tree: Any, equinox: Any, name: str = "") -> Generator[tuple[str, Any]]:
    """Modules in a tree that can be called, by path."""
    if isinstance(tree, equinox.Module):
        if name and callable(tree):
            yield name, tree
        parts = [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    elif isinstance(tree, Mapping):
        parts = [(str(key), part) for key, part in tree.items()]
    elif isinstance(tree, tuple | list):
        parts = [(str(index), part) for index, part in enumerate(tree)]
    else:
        return
    for part_name, part in parts:
        yield from _equinox_modules(part, equinox, f"{name}.{part_name}".lstrip("."))


def _modules(leaves: list[Leaf]) -> dict[str, str]:
    """Torch's name of each of the candidate's modules: the one that has the same parameters."""
    theirs: dict[str, set[str]] = {}
    torchs: dict[str, set[str]] = {}
    for leaf in leaves:
        for owned, path in ((theirs, _module_path(leaf.path)), (torchs, leaf.key)):
            while path := owner_of(path):
                owned.setdefault(path, set()).add(leaf.key)
    found: dict[str, str] = {}
    for name in sorted(theirs, key=lambda name: -name.count(".")):  # innermost first
        same = [other for other, keys in torchs.items() if keys == theirs[name]]
        free = [other for other in same if other not in found.values()]
        if free:
            found[name] = max(free, key=lambda other: other.count("."))
    return {name: other for name, other in found.items() if name != other}


def _module_path(path: str) -> str:
    """A path without the name of its collection, which Flax Linen puts first."""
    first, _, rest = path.partition(".")
    return rest if first in COLLECTIONS else path


def _paths(tree: Any, clash: Any = None) -> dict[str, Any]:
    """The arrays of a tree by path; one that `clash` has too is prefixed by ``buffers.``."""
    taken = set(_paths(clash)) if clash is not None else set()
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    paths = ((jax.tree_util.keystr(path, simple=True, separator="."), x) for path, x in flat)
    return {f"buffers.{path}" if path in taken else path: x for path, x in paths}


def _filled(tree: Any, values: Mapping[str, np.ndarray], clash: Any = None) -> Any:
    arrays = [jax.numpy.asarray(values[path]) for path in _paths(tree, clash)]
    return jax.tree.unflatten(jax.tree.structure(tree), arrays)


def _permuted(array: np.ndarray, permutation: tuple[int, ...] | None) -> np.ndarray:
    return array if permutation is None else array.transpose(permutation)


def _restored(array: np.ndarray, permutation: tuple[int, ...] | None) -> np.ndarray:
    return array if permutation is None else array.transpose(np.argsort(permutation))
