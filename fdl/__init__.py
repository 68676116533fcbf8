"""Functional deep learning: PyTorch's building blocks as pure functions in JAX, proven equal."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdl import bench, data, functional, interop, models, nn, optim, parity, plots, train
    from fdl._memory import keep_memory
    from fdl._model import as_model, put_back
    from fdl._summary import summary
    from fdl._types import Buffers, Model, Params

__all__ = [
    "Buffers",
    "Model",
    "Params",
    "as_model",
    "bench",
    "data",
    "functional",
    "interop",
    "keep_memory",
    "models",
    "nn",
    "optim",
    "parity",
    "plots",
    "put_back",
    "summary",
    "train",
]

_HOMES = {
    "Buffers": "fdl._types",
    "Model": "fdl._types",
    "Params": "fdl._types",
    "as_model": "fdl._model",
    "keep_memory": "fdl._memory",
    "put_back": "fdl._model",
    "summary": "fdl._summary",
}


def __getattr__(name: str) -> Any:
    """Imports a name when it is first asked for: ``import fdl`` stays quick, also for pytest."""
    if name in _HOMES:
        return globals().setdefault(name, getattr(import_module(_HOMES[name]), name))
    if name in __all__:
        return import_module(f"fdl.{name}")
    raise AttributeError(f"module 'fdl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
