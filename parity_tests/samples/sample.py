"""A sample: how a layer or function is made and what it is given, written in torch's terms."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import torch
from flax import nnx

import fdl
import fdl.functional

MODULES: dict[str, Callable[[torch.nn.Module, nnx.Rngs], nnx.Module]] = {}
"""By class name: what makes fdl's layer of a torch layer that is itself an argument."""


def without_warnings(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs torch: what torch warns its users of is no matter of these tests."""

    @wraps(function)
    def quiet(*args: Any, **named: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **named)

    return quiet


class Sample(NamedTuple):
    """One layer with one input. All tensors are torch's, floats in float64.

    Attributes:
        name: a class in ``torch.nn`` and ``fdl.nn``; or, with a small first letter, a function in
            both's ``functional``.
        args: the constructor's arguments; empty for a function.
        options: the constructor's named arguments; a function's, beside its inputs.
        inputs: what the layer or function is given; where floats require a gradient, that is
            compared.
        named: what the layer is given by name.
        label: tells samples of one name apart.
        builders: make the layer in torch and in fdl where it is not a call of one class.
    """

    name: str
    args: Sequence[Any] = ()
    options: Mapping[str, Any] = {}
    inputs: Sequence[Any] = ()
    named: Mapping[str, Any] = {}
    label: str = ""
    builders: tuple[Callable[[], torch.nn.Module], Callable[[nnx.Rngs], nnx.Module]] | None = None

    def tensors(self) -> list[torch.Tensor]:
        """The tensors that the layer or function is given."""
        flat = jax.tree.leaves((tuple(self.inputs), dict(self.named)))
        return [x for x in flat if torch.is_tensor(x)]

    def is_differentiable(self) -> bool:
        """Whether there is an input or a parameter to take a gradient of."""
        return any(x.requires_grad for x in [*self.tensors(), *self.in_torch().parameters()])

    def cast(self, dtype: str) -> "Sample":
        """The sample with its float tensors in another dtype."""
        return self.mapped(partial(_cast, dtype=getattr(torch, dtype)))

    def mapped(self, function: Callable[[Any], Any]) -> "Sample":
        """The sample with a function applied to all that it holds."""
        fields = (_mapped(function, field) for field in self[1:5])
        return Sample(self.name, *fields, self.label, self.builders)

    @without_warnings
    def in_torch(self) -> torch.nn.Module:
        """The layer in torch."""
        if self.builders is not None:
            return self.builders[0]()
        if is_function(self.name):
            function = partial(getattr(torch.nn.functional, self.name), **self.options)
            return TorchFunction(function)
        return getattr(torch.nn, self.name)(*self.args, **self.options)

    def in_fdl(self, rngs: nnx.Rngs) -> nnx.Module:
        """The layer in fdl."""
        if self.builders is not None:
            return self.builders[1](rngs)
        convert = partial(in_jax, rngs=rngs)
        args, options = _mapped(convert, tuple(self.args)), _mapped(convert, dict(self.options))
        if is_function(self.name):
            return FdlFunction(getattr(fdl.functional, self.name), options, rngs)
        kind = getattr(fdl.nn, self.name)
        return kind(
            *args, **options, **({"rngs": rngs} if "rngs" in parameters(kind.__init__) else {})
        )


class TorchFunction(torch.nn.Module):
    """A function of torch as a module."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.function(*inputs, **named)


class FdlFunction(fdl.nn.Module):
    """A function of fdl as a module; one that takes a random key gets a new one on each call."""

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any], rngs: nnx.Rngs):
        self.function = partial(function, **options)
        self.key = key_name(function)
        self.stream = None if self.key is None else rngs.dropout.fork()

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        key = {} if self.stream is None else {self.key: self.stream()}
        return self.function(*inputs, **named, **key)


def key_name(function: Callable[..., Any]) -> str | None:
    """Which keyword-only argument takes a random key; attention's own `key` is no such."""
    random = (p for p in parameters(function).values() if p.kind is p.KEYWORD_ONLY)
    return next((p.name for p in random if p.name in {"key", "dropout_key"}), None)


def is_function(name: str) -> bool:
    """Whether a sample's name is that of a function."""
    return name[0].islower()


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Names of what a function or constructor takes."""
    return inspect.signature(function).parameters


def in_jax(value: Any, rngs: nnx.Rngs | None = None) -> Any:
    """What stands in JAX for a torch tensor, dtype, function or layer; else the value itself."""
    if isinstance(value, torch.Tensor):
        narrow = value.dtype == torch.bfloat16
        array = jnp.asarray((value.float() if narrow else value).detach().numpy())
        return array.astype(jnp.bfloat16) if narrow else array
    if isinstance(value, torch.dtype):
        return jnp.dtype(str(value).removeprefix("torch."))
    if isinstance(value, torch.nn.LinearCrossEntropyOptions):
        rows = value.batch_chunk_size, value.chunking_method
        return fdl.nn.LinearCrossEntropyOptions(*rows)
    if isinstance(value, torch.nn.Module):
        return MODULES[type(value).__name__](value, rngs)
    if callable(value) and hasattr(fdl.functional, getattr(value, "__name__", "")):
        return getattr(fdl.functional, value.__name__)
    return value


def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The function on every leaf of tuples, lists and dicts, sizes and options included."""
    return jax.tree.map(function, tree, is_leaf=lambda x: not isinstance(x, tuple | list | dict))


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.detach().to(dtype).requires_grad_(value.requires_grad)
    if isinstance(value, torch.nn.Module):
        return value.to(dtype)
    return dtype if isinstance(value, torch.dtype) else value
