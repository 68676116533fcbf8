"""Which formulation of a function is compiled: XLA's own call, or one that is faster on its CPU.

On GPUs and TPUs XLA calls libraries that are right. On CPUs some of its own loops are slow, and the
same function, written out in other operations, is fast. The platform decides when a program is
lowered, and shapes decide among the formulations for a CPU, so layers and models know nothing of
either. Tests force each formulation in turn.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.export import is_symbolic_dim

FAMILIES = {
    "convolution": ("library", "patches", "winograd", "taps", "onednn", "phases"),
    "max_pool": ("library", "slices"),
    "product": ("library", "onednn", "turned"),
    "rectifier": ("library", "halves"),
    "recurrence": ("library", "chains"),
    "update": ("library", "rows"),
}
"""The formulations of each family; ``"library"`` is XLA's own."""

_forced: dict[str, str | None] = {}


@contextmanager
def forced(formulations: Mapping[str, str | None]) -> Generator[None]:
    """Has families computed by one formulation wherever it can, on all platforms.

    None leaves the choice to platform and shapes again. It holds for what is traced meanwhile: a
    program that was compiled before stays as it is.

    Raises:
        ValueError: if there is no such family or formulation.
    """
    for family, name in formulations.items():
        if family not in FAMILIES or name not in (None, *FAMILIES[family]):
            raise ValueError(
                f"forced: expected one of {FAMILIES.get(family, tuple(FAMILIES))}, got "
                f"{family}={name!r}."
            )
    before = dict(_forced)
    _forced.update(formulations)
    try:
        yield
    finally:
        _forced.clear()
        _forced.update(before)


def forced_of(family: str) -> str | None:
    """The formulation that is forced on a family, if any."""
    return _forced.get(family)


def is_known(shape: Sequence[Any]) -> bool:
    """Whether a shape is all numbers, as it is not in a program for a batch of any size."""
    return not any(map(is_symbolic_dim, shape))


def apart(function: Callable[..., Any], *args: Any, never: Callable[..., Any] | None = None) -> Any:
    """Calls a function in a branch that is always taken, hidden from XLA behind a barrier.

    On CPUs XLA merges cheap operations with all that use them, across reshapes and at the price of
    computing them once for each use, but not across a branch's edge.

    Args:
        function: of arrays, to arrays.
        args: what it is called with.
        never: the other branch, zeros by default. Where results take the place of arguments in
            memory, it returns these arguments.
    """

    def zeros(*args: Any) -> Any:
        shapes = jax.eval_shape(function, *args)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    if _is_op_by_op(args):
        return function(*args)
    always = lax.optimization_barrier(jnp.bool_(True))
    return lax.cond(always, function, never or zeros, *args)


def by_platform(family: str, *args: Any, library: Callable, cpu: Callable) -> Any:
    """Calls `cpu` where the program is compiled for a CPU, `library` elsewhere.

    It is not to be differentiated through, as that would keep what both need: call it inside of
    functions that have a rule of their own. Op by op, where nothing is merged that `cpu` could keep
    apart and a choice would be compiled anew at each call, it is `library`, too.
    """
    forced_name = forced_of(family)
    if forced_name is not None:
        return library(*args) if forced_name == "library" else cpu(*args)
    if _is_op_by_op(args):
        return library(*args)
    return lax.platform_dependent(*args, cpu=cpu, default=library)


def _is_op_by_op(args: Any) -> bool:
    """Whether arguments are numbers already, of no program that is being traced for jit."""
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
    return not traced or jax.config.values["jax_disable_jit"]
