"""The correlation of inputs with filters, and the two maps that pull cotangents back through it.

All three are bilinear, and each is the derivative of the others: gradients of any order and in both
modes stay among them. They are primitives, so a program says what is computed, and how is decided
when it is lowered: on GPUs and TPUs by XLA's convolution, on CPUs as `cpu.py` says.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from fdl.functional._convolution import cpu, direct
from fdl.functional._convolution.geometry import Geometry


def correlate(input: jax.Array, weight: jax.Array, geometry: Geometry) -> jax.Array:
    """Correlates ``(N, C, *size)`` with ``(O, C / groups, *kernel)`` to ``(N, O, *windows)``."""
    return _CORRELATE.bind(input, weight, geometry=geometry)


def pull_input(
    output: jax.Array, weight: jax.Array, geometry: Geometry, size: Sequence[int]
) -> jax.Array:
    """Pulls a cotangent ``(N, O, *windows)`` back to inputs ``(N, C, *size)``.

    It is what a transposed convolution computes.
    """
    return _PULL_INPUT.bind(output, weight, geometry=geometry, size=tuple(size))


def pull_weight(
    input: jax.Array, output: jax.Array, geometry: Geometry, kernel: Sequence[int]
) -> jax.Array:
    """Pulls a cotangent ``(N, O, *windows)`` back to filters ``(O, C / groups, *kernel)``."""
    return _PULL_WEIGHT.bind(input, output, geometry=geometry, kernel=tuple(kernel))


def _correlated(x: Any, w: Any, *, geometry: Geometry) -> tuple[int, ...]:
    return x.shape[0], w.shape[0], *geometry.windows(x.shape[2:], w.shape[2:])


def _pulled_input(y: Any, w: Any, *, geometry: Geometry, size: tuple[int, ...]) -> tuple[int, ...]:
    return y.shape[0], w.shape[1] * geometry.groups, *size


def _pulled_weight(
    x: Any, y: Any, *, geometry: Geometry, kernel: tuple[int, ...]
) -> tuple[int, ...]:
    return y.shape[1], x.shape[1] // geometry.groups, *kernel


def _primitive(name: str, shape: Callable[..., tuple[int, ...]], static: tuple[str, ...]) -> Any:
    """The primitive of one of the three maps, which stand under its name in both modules."""
    library, on_cpu = getattr(direct, name), getattr(cpu, name)
    primitive = Primitive(f"fdl_{name}")
    jitted = jax.jit(primitive.bind, static_argnames=static)

    def evaluate(*operands: jax.Array, **options: Any) -> jax.Array:
        with jax.disable_jit(False):  # op by op, an operation is still a compiled program
            return jitted(*operands, **options)

    def shaped(*operands: Any, **options: Any) -> Any:
        return operands[0].update(shape=shape(*operands, **options), weak_type=False)

    primitive.def_impl(evaluate)
    primitive.def_abstract_eval(shaped)
    mlir.register_lowering(primitive, mlir.lower_fun(library, multiple_results=False))
    mlir.register_lowering(
        primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu"
    )
    batching.primitive_batchers[primitive] = partial(_batched, primitive, library)
    return primitive


def _batched(
    primitive: Any, library: Callable, operands: Any, axes: Any, **options: Any
) -> tuple[jax.Array, int]:
    """Many at once: of inputs alone as one larger batch, otherwise by the library."""
    first, second = operands
    if axes[1] is None and "kernel" not in options:
        first = jax.numpy.moveaxis(first, axes[0], 0)
        joined = primitive.bind(lax.collapse(first, 0, 2), second, **options)
        return joined.reshape(*first.shape[:2], *joined.shape[1:]), 0
    spread = jax.vmap(partial(library, **options), axes)
    return spread(first, second), 0


_CORRELATE = _primitive("correlate", _correlated, ("geometry",))
_PULL_INPUT = _primitive("pull_input", _pulled_input, ("geometry", "size"))
_PULL_WEIGHT = _primitive("pull_weight", _pulled_weight, ("geometry", "kernel"))


def _size(operand: Any) -> tuple[int, ...]:
    """The spatial shape of an operand that is to be pulled back to."""
    return operand.aval.shape[2:]


ad.defbilinear(
    _CORRELATE,
    lambda ct, x, w, *, geometry: pull_input(ct, w, geometry, _size(x)),
    lambda ct, x, w, *, geometry: pull_weight(x, ct, geometry, _size(w)),
)
ad.defbilinear(
    _PULL_INPUT,
    lambda ct, y, w, *, geometry, size: correlate(ct, w, geometry),
    lambda ct, y, w, *, geometry, size: pull_weight(ct, y, geometry, _size(w)),
)
ad.defbilinear(
    _PULL_WEIGHT,
    lambda ct, x, y, *, geometry, kernel: pull_input(y, ct, geometry, _size(x)),
    lambda ct, x, y, *, geometry, kernel: correlate(x, ct, geometry),
)
