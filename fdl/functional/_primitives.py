"""Primitives of our own: operations whose lowering sees the platform, shapes and where it is."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters.mlir import LoweringRuleContext
from jax.sharding import AxisType


def named(name: str, abstract: Callable[..., Any], *, static: tuple[str, ...] = ()) -> Any:
    """Makes a primitive, without its lowerings, batching and derivatives.

    Args:
        name: what a jaxpr calls it.
        abstract: of the operands' types and options, the result's type.
        static: names of the options.
    """
    made = Primitive(name)
    jitted = jax.jit(made.bind, static_argnames=static)

    def evaluate(*operands: jax.Array, **options: Any) -> jax.Array:
        with jax.disable_jit(False):  # op by op, an operation is still a compiled program
            return jitted(*operands, **options)

    made.def_impl(evaluate)
    made.def_abstract_eval(abstract)
    return made


def bound(made: Any, library: Callable, *operands: jax.Array, **options: Any) -> jax.Array:
    """Binds a primitive, or calls the library where types say more than shapes.

    Inside ``jax.shard_map`` they say over which devices an array varies, on a mesh with explicit
    axes how it lies on them; XLA's operations have rules for these, a primitive here has none.
    """
    if any(map(says_more, operands)):
        return library(*operands, **options)
    return made.bind(*operands, **options)


def says_more(operand: Any) -> bool:
    """Whether an array's type tells how it lies on devices."""
    mesh = jax.typeof(operand).sharding.mesh
    return not mesh.empty and any(kind != AxisType.Auto for kind in mesh.axis_types)


def on_one_device(context: LoweringRuleContext) -> bool:
    """Whether a program that is being lowered is for one device, and XLA need not cut it up."""
    axes = context.module_context.axis_context
    spread = hasattr(axes, "manual_axes")
    return getattr(axes, "num_devices", None) in (None, 1) and not spread
