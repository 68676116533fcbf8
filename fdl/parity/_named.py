"""What ``pkg.mod:name`` on the command line stands for: networks, losses, optimizers, batches."""

import ast
import difflib
import inspect
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import optax

from fdl import optim
from fdl._types import Model
from fdl.parity._failure import NO_LBFGS, CannotCompare, blamed

NETWORKS = ("torch.nn", "flax.nnx", "flax.linen", "equinox")
CANDIDATE = ("candidate", "params", "buffers", "names", "load")
"""What a factory of a candidate may return in a dict: arguments of ``fdl.parity.compare``."""

OPTIMIZERS = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "asgd", "muon", "nadam"),
    *("radam", "rmsprop", "rprop", "sgd", "sparse_adam"),
)
"""Those of ``fdl.optim`` that have a name on the command line; torch's are called the same."""

_FORM = "Write it as pkg.mod:name, found from the current directory or installed."


def import_from_here() -> None:
    """Lets the current directory be imported from, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def made(role: str, text: str) -> Any:
    """The object of that name; a function or class is called without arguments, a network is not.

    Args:
        role: how errors call it.
        text: ``pkg.mod:name``.

    Raises:
        ValueError: in one line, whatever its module or the factory raises.
    """
    found = located(role, text)
    networks = tuple(sys.modules[name].Module for name in NETWORKS if name in sys.modules)
    if not callable(found) or isinstance(found, networks):
        return found
    if wanted := _required(found):
        raise ValueError(
            f"{role} {text}: expected a function without arguments, or an object, got a function "
            f"of {', '.join(wanted)}. Name a function that returns it, with all it needs."
        )
    with reported(f"{role} {text}"):
        return found()


def located(role: str, text: str) -> Any:
    """The object of that name.

    Raises:
        ValueError: if there is none, or its module cannot be imported.
    """
    module, separator, name = text.partition(":")
    if not (module and separator and name):
        raise ValueError(f"{role}: expected pkg.mod:name, got {text!r}. {_FORM}")
    with reported(f"{role} {text}: importing {module!r}"):
        found = import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found)) or "none like it"
            raise ValueError(
                f"{role} {text}: expected a name in {module!r}, got {name!r}, which is not there. "
                f"There is {near if isinstance(near, str) else ', '.join(near)}."
            )
        found = getattr(found, part)
    return found


def candidate(text: str) -> dict[str, Any]:
    """Keyword arguments of :func:`fdl.parity.compare` for the JAX side.

    Raises:
        ValueError: if the factory fails, or returns a tuple or dict of something else.
    """
    role = "the candidate"
    found = made(role, text)
    if isinstance(found, tuple) and not isinstance(found, Model):
        if len(found) != 2:
            raise ValueError(
                f"{role} {text}: expected (function, params), got a tuple of {len(found)}. Return "
                f"a dict of {', '.join(CANDIDATE)} for more."
            )
        return dict(zip(CANDIDATE, found, strict=False))
    if not isinstance(found, Mapping):
        return {"candidate": found}
    if "candidate" not in found or not set(found) <= set(CANDIDATE):
        raise ValueError(
            f"{role} {text}: expected a dict with 'candidate', and maybe "
            f"{', '.join(CANDIDATE[1:])}, got the keys {list(found)}. Rename them."
        )
    return dict(found)


def losses(text: str) -> list[Any]:
    """Torch's loss and JAX's: one name for both, or as many functions as are named.

    Raises:
        ValueError: if a function cannot be found, or there are more than two.
    """
    if ":" not in text:
        return [text, text]
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2:
        raise ValueError(
            f"--loss: expected pkg.mod:torch_loss,pkg.mod:jax_loss, got {len(parts)} parts. "
            "Leave out all but torch's and JAX's."
        )
    return [located("--loss", part) for part in parts]


def optimizers(text: str, lr: float | None, sides: str = "torch jax") -> list[Any]:
    """Torch's factory and the Optax transform, each None where it is not asked for.

    Args:
        text: the name of an optimizer, in ``fdl.optim``'s way of writing or torch's, maybe with
            options of both, as ``rmsprop(momentum=0.9)``; or ``pkg.mod:function``, which returns
            the pair, or the one that is asked for.
        lr: of both; None for torch's default.
        sides: ``"torch jax"``, or one of them.

    Raises:
        ValueError: if it is none of these, or a side that is asked for is missing.
    """
    if ":" not in text:
        name, options = _spelled(text)
        options |= {} if lr is None else {"lr": lr}
        with reported(f"--optimizer {text}"):
            transform = getattr(optim, name)(**options)
        return [
            _torch_factory(name, options) if "torch" in sides else None,
            transform if "jax" in sides else None,
        ]
    if lr is not None:
        raise ValueError(f"--lr: expected none, since {text} has its own. Leave out --lr.")
    found = made("--optimizer", text)
    if isinstance(found, optax.GradientTransformation):
        found = (None, found)
    elif callable(found):
        found = (found, None)
    pair = list(found) if isinstance(found, tuple) else []
    fits = len(pair) == 2 and ("torch" not in sides or callable(pair[0]))
    if not fits or ("jax" in sides and not isinstance(pair[1], optax.GradientTransformation)):
        raise ValueError(
            f"--optimizer {text}: expected (torch_factory, optax transform), got "
            f"{type(found).__name__}. Return a pair, as (torch.optim.SGD, fdl.optim.sgd())."
        )
    return pair


def _spelled(text: str) -> tuple[str, dict[str, Any]]:
    """The name of an optimizer of ``fdl.optim``, and the options that are written behind it."""
    name, bracket, rest = text.partition("(")
    plain = {known.replace("_", ""): known for known in OPTIMIZERS}
    key = name.strip().lower().replace("_", "")
    if key == "lbfgs":
        raise ValueError(f"--optimizer lbfgs: {NO_LBFGS}")
    if key not in plain:
        raise ValueError(
            f"--optimizer: expected one of {', '.join(OPTIMIZERS)}, got {name!r}. Or pass "
            "pkg.mod:function, which returns (torch_factory, optax transform)."
        )
    try:
        call: Any = ast.parse(f"{key}({rest}" if bracket else f"{key}()", mode="eval").body
        options = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
        understood = not call.args and None not in options
    except (SyntaxError, ValueError, AttributeError):
        understood, options = False, {}
    if not understood:
        raise ValueError(
            f"--optimizer: expected a name, or a name and options, got {text!r}. Write it as "
            "rmsprop(momentum=0.9,centered=True), in quotes."
        )
    return plain[key], options


def _torch_factory(name: str, options: dict[str, Any]) -> Callable[..., Any]:
    import torch

    classes: dict[str, Any] = {
        known.lower(): kind
        for known, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    }

    def factory(parameters: Any) -> Any:
        parameters = list(parameters)
        others = [tuple(p.shape) for p in parameters if p.ndim != 2]
        if name == "muon" and others:
            raise CannotCompare(
                "--optimizer muon: expected a network of matrices alone, got parameters of shape "
                f"{', '.join(map(str, others))}. Pass pkg.mod:function, whose pair gives those to "
                "another optimizer."
            )
        return classes[name.replace("_", "")](parameters, **options)

    return factory


def _required(function: Callable[..., Any]) -> list[str]:
    """Parameters that must be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


@contextmanager
def reported(what: str) -> Generator[None]:
    """Turns whatever somebody else's module or factory does into an error of one line."""
    try:
        with blamed(what):
            yield
    except CannotCompare as failure:
        raise ValueError(str(failure)) from failure
    except SystemExit as stop:
        raise ValueError(
            f"{what} left the program by sys.exit({stop.code!r}). Put what runs a script under "
            "if __name__ == '__main__'."
        ) from stop
