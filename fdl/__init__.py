"""Functional deep learning: PyTorch's building blocks as pure functions in JAX, proven equal."""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from fdl import functional, models, nn, optim
from fdl._model import as_model
from fdl._types import Buffers, Model, Params

if TYPE_CHECKING:
    from fdl import bench, data, interop, parity, plots, train

__all__ = [
    "Buffers",
    "Model",
    "Params",
    "as_model",
    "bench",
    "data",
    "functional",
    "interop",
    "models",
    "nn",
    "optim",
    "parity",
    "plots",
    "train",
]


def __getattr__(name: str) -> ModuleType:
    """Imports the remaining rooms when they are first asked for: ``import fdl`` stays quick."""
    if name in __all__:
        return import_module(f"fdl.{name}")
    raise AttributeError(f"module 'fdl' has no attribute {name!r}")
