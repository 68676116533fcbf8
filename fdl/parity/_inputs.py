"""Batches for the command line: a grammar for arrays, and what is drawn by it."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fdl.parity._named import reported
from fdl.parity._record import cast, leaves

if TYPE_CHECKING:
    import torch

DTYPES = {"f32": "float32", "f64": "float64", "i32": "int32", "i64": "int64", "bool": "bool"}
"""The grammar's name of each dtype, and NumPy's."""

CLASSIFYING = ("cross_entropy", "nll_loss")
"""Losses whose target is the index of a class."""

DRAWN = 2  # batches: enough to notice a candidate that keeps something of the first


class Spec(NamedTuple):
    """An array to be drawn: ``f32[8,3]`` from a normal, ``i64[8]<10`` uniform from 0 to 9.

    Attributes:
        dtype: one of :data:`DTYPES`.
        shape: ``()`` for a scalar, written ``f32[]``.
        bound: integers are below it.
    """

    dtype: str
    shape: tuple[int, ...]
    bound: int = 2

    def __str__(self) -> str:
        bound = f"<{self.bound}" if self.dtype in ("i32", "i64") else ""
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{bound}"

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """Standard normal floats, integers uniform below the bound, fair booleans."""
        if self.dtype.startswith("f"):
            values = generator.standard_normal(self.shape)
        else:
            values = generator.integers(0, self.bound, self.shape)
        return np.asarray(values, DTYPES[self.dtype])


def parse(option: str, text: str) -> Spec:
    """Reads ``dtype[size,size,...]<bound``.

    Args:
        option: how errors call it.
        text: a dtype of :data:`DTYPES`, sizes in brackets, and for integers an optional bound.

    Raises:
        ValueError: with what was expected at which character.

    Example:
        >>> parse("--target", "i64[8]<10")
        Spec(dtype='i64', shape=(8,), bound=10)
    """
    dtype = text.partition("[")[0]
    if dtype not in DTYPES:
        raise _unexpected(option, text, 0, f"a dtype ({', '.join(DTYPES)})", dtype)
    bracket = re.compile(r"\[([^\[\]]*)\]").match(text, len(dtype))
    if bracket is None:
        raise _unexpected(option, text, len(dtype), "a shape in brackets, closed by ]")
    shape = _sizes(option, text, bracket)
    rest = text[bracket.end() :]
    if not rest:
        return Spec(dtype, shape)
    if dtype not in ("i32", "i64"):
        raise _unexpected(option, text, bracket.end(), f"nothing after the shape of {dtype}")
    largest = int(np.iinfo(DTYPES[dtype]).max)
    bound = re.fullmatch(r"<\s*([0-9]+)\s*", rest, re.ASCII)
    if bound is None or not 1 <= int(bound[1]) <= largest:
        expected = f"< and a bound from 1 to {largest}"
        raise _unexpected(option, text, bracket.end(), expected)
    return Spec(dtype, shape, int(bound[1]))


def drawn(specs: Sequence[Spec], seed: int) -> list[list[np.ndarray]]:
    """The batches: one array for each spec, the target last."""
    generator = np.random.default_rng(seed)
    return [[spec.draw(generator) for spec in specs] for _ in range(DRAWN)]


def guessed_target(module: torch.nn.Module, inputs: Sequence[Spec], loss: Any, seed: int) -> Spec:
    """A target that fits the loss, judged by what the network returns.

    Class indices for losses that take them, whose number is the size of the output's axis 1 (of
    axis 0 if there is no other), and otherwise normals in the output's shape.

    Raises:
        ValueError: if the network does not run, or returns something else than one tensor.
    """
    import torch

    (batch, *_) = drawn(inputs, seed)
    with reported("the reference"), torch.no_grad():
        network = copy.deepcopy(module).float().eval()
        output = network(*map(torch.as_tensor, cast(batch, "float32")))
    tensors = [tensor for _, tensor in leaves(output)]
    if len(tensors) != 1:
        raise ValueError(
            f"--target: expected to guess it from one tensor, got {len(tensors)} of them from "
            f"{type(module).__name__}. Pass --target, or --batches pkg.mod:function."
        )
    shape = tuple(tensors[0].shape)
    if loss not in CLASSIFYING or not shape:
        return Spec("f32", shape)
    axis = min(1, len(shape) - 1)
    return Spec("i64", shape[:axis] + shape[axis + 1 :], shape[axis])


def _sizes(option: str, text: str, bracket: re.Match[str]) -> tuple[int, ...]:
    if not bracket[1].strip():
        return ()
    sizes, start = [], bracket.start(1)
    for part in bracket[1].split(","):
        if not re.fullmatch(r"\s*0*[1-9][0-9]*\s*", part, re.ASCII):
            position = start + len(part) - len(part.lstrip())
            raise _unexpected(option, text, position, "a size of 1 or more", part.strip())
        sizes.append(int(part))
        start += len(part) + 1
    return tuple(sizes)


def _unexpected(
    option: str, text: str, position: int, expected: str, got: str | None = None
) -> ValueError:
    got = text[position:] if got is None else got
    return ValueError(
        f"{option} {text!r}: expected {expected} at character {position + 1}, got "
        f"{repr(got) if got else 'nothing'}. Write it as 'f32[8,3,32,32]', or as 'i64[8]<10' for "
        "integers below 10."
    )
