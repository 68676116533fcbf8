"""What a network is made of: layers, shapes, parameters, operations and memory, none of it run."""

import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from fdl._types import Buffers, Model, Params
from fdl.functional._formulations import FAMILIES, forced

WIDTH = 100  # columns of what is printed to a file


class Layer(NamedTuple):
    """One call of a module.

    Attributes:
        name: of the module; the k-th call (k > 1) is ``"name#k"``, the network itself ``""``.
        shapes: of the arrays that it returns.
        parameters: number of values that are the module's, and not of one called inside it; each
            tensor counts once.
        buffers: likewise.
        bytes: size of the arrays that it returns and makes itself: none where it hands on what it
            was given, as dropout in evaluation, or what a module inside it made.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    buffers: int
    bytes: int


class Summary(NamedTuple):
    """What :func:`summary` found; print it, or read its fields.

    Attributes:
        layers: in the order in which they return; modules that only call others are left out.
        parameters: number of values in all; a tied tensor counts once.
        buffers: likewise.
        parameter_bytes: their size, buffers included.
        activation_bytes: size of all that `layers` make: about what a training step keeps, but for
            what XLA fuses, and what a model with `remat` computes again.
        flops: floating-point operations of the forward pass by XLA's count of its own operations,
            whatever computes them in the end, an addition and a multiplication being two; None
            where the backend does not tell.
        temp_bytes: memory that the compiled forward pass needs beside arguments and outputs; None
            where the backend does not tell.
    """

    layers: tuple[Layer, ...]
    parameters: int
    buffers: int
    parameter_bytes: int
    activation_bytes: int
    flops: float | None
    temp_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dicts and lists, for JSON."""
        return {**self._asdict(), "layers": [layer._asdict() for layer in self.layers]}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.add_column("layer", overflow="fold")
        table.add_column("output", overflow="fold")
        table.add_column("parameters", justify="right")
        table.add_column("output size", justify="right")
        for layer in self.layers:
            shapes = ", ".join("x".join(map(str, shape)) or "scalar" for shape in layer.shapes)
            count = f"{layer.parameters:,}" if layer.parameters else "-"
            table.add_row(Text(layer.name or "(network)"), shapes, count, _size(layer.bytes))
        yield table
        yield Text(f"\nparameters   {self.parameters:,} (and {self.buffers:,} in buffers)")
        yield Text(f"their size   {_size(self.parameter_bytes)}")
        yield Text(f"activations  {_size(self.activation_bytes)}")
        if self.flops is not None:
            yield Text(f"operations   {_scaled(self.flops)}FLOP")
        if self.temp_bytes is not None:
            yield Text(f"XLA's memory {_size(self.temp_bytes)} beside arguments and outputs")

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=WIDTH).print(self)
        return text.getvalue()


def summary(model: Model, *inputs: Any, train: bool = False, **named: Any) -> Summary:
    """Lists a network's layers, shapes, parameters, operations and memory.

    Nothing is drawn or computed: shapes are traced, and XLA compiles the forward pass and is asked
    what it costs.

    Args:
        model: any.
        inputs: for each input its shape, ``(8, 3, 224, 224)``, of JAX's default float;
            ``"i32[8,128]"`` for another dtype (f32, f64, i32, i64, bool); or an array or
            ``jax.ShapeDtypeStruct``. Integers are indices, as a batch of tokens.
        train: whether it is the forward pass of training.
        **named: further arguments of the network.

    Returns:
        A :class:`Summary`.

    Raises:
        ValueError: for a string that is no dtype and shape; from the network, if inputs do not fit.
        TypeError: for an input of another kind.

    Example:
        >>> import fdl
        >>> found = fdl.summary(fdl.models.mlp([784, 256, 10]), (32, 784))
        >>> found.parameters, [layer.name for layer in found.layers]
        (203530, ['0', '1', '2'])
        >>> print(found)  # doctest: +ELLIPSIS +NORMALIZE_WHITESPACE
        layer  output  parameters  output size
        ...
        0      32x256     200,960     32.8 kB
        1      32x256           -     32.8 kB
        2      32x10        2,570     1.28 kB
        <BLANKLINE>
        parameters   203,530 (and 0 in buffers)
        ...

    Torch: none of its own; the packages torchinfo and torchsummary, which count multiplications and
    additions as one, and no others.
    """
    args = [_abstract(f"inputs[{place}]", given) for place, given in enumerate(inputs)]
    key = jax.eval_shape(jax.random.key, 0)
    params, buffers = jax.eval_shape(model.init, key)

    def called(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda params, buffers, args, key: function(
            params, buffers, *args, train=train, key=key, **named
        )

    layers = _layers(called(model.trace), params, buffers, args, key)
    memory = _lowered(called(model.apply), params, buffers, args, key).compile().memory_analysis()
    with forced(dict.fromkeys(FAMILIES, "library")):
        cost = _lowered(called(model.apply), params, buffers, args, key).cost_analysis()
    return Summary(
        layers,
        _count(params),
        _count(buffers),
        _bytes([*params.values(), *buffers.values()]),
        sum(layer.bytes for layer in layers),
        (cost or {}).get("flops"),
        None if memory is None else int(memory.temp_size_in_bytes),
    )


def _lowered(function: Callable[..., Any], *args: Any) -> jax.stages.Lowered:
    return jax.jit(function).lower(*args)


def _abstract(argument: str, given: Any) -> Any:
    """An input's shape and dtype."""
    if isinstance(given, str):
        from fdl.parity._inputs import DTYPES, parse  # a large package, for the grammar alone

        spec = parse(argument, given)
        return jax.ShapeDtypeStruct(spec.shape, jax.dtypes.canonicalize_dtype(DTYPES[spec.dtype]))
    if isinstance(given, tuple | list) and all(isinstance(size, int) for size in given):
        return jax.ShapeDtypeStruct(tuple(given), jnp.result_type(float))
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        return jax.ShapeDtypeStruct(given.shape, jax.dtypes.canonicalize_dtype(given.dtype))
    raise TypeError(
        f"summary: {argument}: expected a shape such as (8, 3, 32, 32), a string such as "
        f"'i32[8,128]', an array or a jax.ShapeDtypeStruct, got {given!r}."
    )


def _layers(
    trace: Callable[..., dict[str, Any]], params: Params, buffers: Buffers, args: Any, key: Any
) -> tuple[Layer, ...]:
    """The calls that have tensors or arrays of their own, in the order in which they return."""
    found: list[Layer] = []

    def walk(params: Params, buffers: Buffers, args: Any, key: Any) -> None:
        outputs = trace(params, buffers, args, key)
        names = {name.partition("#")[0] for name in outputs}
        values, states = _owned(params, names), _owned(buffers, names)
        seen = {id(leaf) for leaf in jax.tree.leaves((params, buffers, args))}
        for name, output in outputs.items():
            leaves = jax.tree.leaves(output)
            new = [leaf for leaf in leaves if id(leaf) not in seen]  # one tracer for one array
            seen |= set(map(id, new))
            own = values.pop(name, 0), states.pop(name, 0)
            module = name.partition("#")[0]
            if any(own) or new or not any(_is_inside(other, module) for other in names):
                found.append(Layer(name, tuple(leaf.shape for leaf in leaves), *own, _bytes(new)))

    jax.eval_shape(walk, params, buffers, args, key)
    return tuple(found)


def _owned(tensors: Mapping[str, Any], modules: Collection[str]) -> Counter[str]:
    """How many values each module has that no called module inside it has."""
    counts: Counter[str] = Counter()
    for name, tensor in tensors.items():
        owner = name
        while owner and owner not in modules:
            owner = owner.rpartition(".")[0]
        counts[owner] += tensor.size
    return counts


def _is_inside(name: str, module: str) -> bool:
    return name != module and name.startswith(f"{module}." if module else "")


def _count(tensors: Mapping[str, Any]) -> int:
    return sum(tensor.size for tensor in tensors.values())


def _bytes(arrays: Iterable[Any]) -> int:
    return sum(array.size * array.dtype.itemsize for array in arrays)


def _size(count: int) -> str:
    return f"{_scaled(count)}B"


def _scaled(count: float) -> str:
    """Three digits and a prefix of the metric system."""
    prefixes = ["", "k", "M", "G", "T"]
    while count >= 999.5 and len(prefixes) > 1:
        count /= 1000
        prefixes.pop(0)
    return f"{count:.3g} {prefixes[0]}"
