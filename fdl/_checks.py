"""Errors for bad input: what was expected, what came, and the remedy."""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import jax


def check_tensors(what: str, expected: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    """Checks keys and shapes, and lists every disagreement in one error.

    Args:
        what: how the error calls `got`.
        expected: name to anything with a ``shape``.
        got: name to anything with a ``shape``.

    Raises:
        ValueError: if a key is missing or unexpected, or a shape differs.
    """
    problems = [f"missing {k!r} {tuple(expected[k].shape)}" for k in expected.keys() - got.keys()]
    problems += [f"unexpected {k!r} {tuple(got[k].shape)}" for k in got.keys() - expected.keys()]
    problems += [
        f"{k!r}: expected shape {tuple(expected[k].shape)}, got {tuple(got[k].shape)}"
        for k in expected.keys() & got.keys()
        if tuple(expected[k].shape) != tuple(got[k].shape)
    ]
    if problems:
        raise ValueError(
            f"{what} do not fit this model ({len(problems)} problems): "
            + "; ".join(sorted(problems))
            + ". Were they made by a model of another architecture or other sizes?"
        )


def check_ndim(function: str, name: str, value: jax.Array, *, expected: Mapping[int, str]) -> None:
    """Checks a rank; `expected` maps each allowed rank to the shape it stands for."""
    if value.ndim not in expected:
        allowed = " or ".join(expected.values())
        raise ValueError(
            f"{function}: {name}: expected shape {allowed}, got {value.shape}. "
            "Reshape it, or add the missing axes with x[None]."
        )


def check_axis(function: str, name: str, got: int, *, expected: int, of: str) -> None:
    """Checks one axis length of an input against what the parameters ask for."""
    if got != expected:
        raise ValueError(
            f"{function}: {name}: expected {expected} as {of} asks, got {got}. "
            "Check the layer's sizes and the order of the input's axes."
        )


def check_same_dtype(function: str, **tensors: jax.Array | None) -> None:
    """Checks that all given tensors have one dtype: fdl promotes nothing silently, as torch."""
    dtypes = {name: str(t.dtype) for name, t in tensors.items() if t is not None}
    if len(set(dtypes.values())) > 1:
        listed = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(
            f"{function}: expected one dtype, got {listed}. Convert with x.astype(...); pixel "
            "values and token counts usually want the parameters' dtype."
        )


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Imports an optional dependency, or says which extra brings it.

    Raises:
        ImportError: if the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {module.partition('.')[0]!r}, which is not installed. "
            f"Remedy: pip install 'fdl[{extra}]'."
        ) from error
