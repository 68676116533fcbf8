"""The correlation of inputs with filters, and the two maps that pull cotangents back through it.

On GPUs and TPUs they are XLA's convolution, on CPUs what `cpu.py` says.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.interpreters import ad

from fdl.functional import _bilinear
from fdl.functional._convolution import cpu, direct
from fdl.functional._convolution.geometry import Geometry
from fdl.functional._primitives import bound


def correlate(input: jax.Array, weight: jax.Array, geometry: Geometry) -> jax.Array:
    """Correlates ``(N, C, *size)`` with ``(O, C / groups, *kernel)`` to ``(N, O, *windows)``."""
    return bound(_CORRELATE, direct.correlate, input, weight, geometry=geometry)


def pull_input(
    output: jax.Array, weight: jax.Array, geometry: Geometry, size: Sequence[int]
) -> jax.Array:
    """Pulls a cotangent ``(N, O, *windows)`` back to inputs ``(N, C, *size)``.

    It is what a transposed convolution computes.
    """
    options = {"geometry": geometry, "size": tuple(size)}
    return bound(_PULL_INPUT, direct.pull_input, output, weight, **options)


def pull_weight(
    input: jax.Array, output: jax.Array, geometry: Geometry, kernel: Sequence[int]
) -> jax.Array:
    """Pulls a cotangent ``(N, O, *windows)`` back to filters ``(O, C / groups, *kernel)``."""
    options = {"geometry": geometry, "kernel": tuple(kernel)}
    return bound(_PULL_WEIGHT, direct.pull_weight, input, output, **options)


def _as_one_batch(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Of inputs ``(B, N, ...)`` at once, as one larger batch."""

    def together(first: jax.Array, second: jax.Array, **options: Any) -> jax.Array:
        joined = function(lax.collapse(first, 0, 2), second, **options)
        return joined.reshape(*first.shape[:2], *joined.shape[1:])

    return together


_CORRELATE = _bilinear.primitive(
    "fdl_correlate",
    lambda x, w, *, geometry: (
        *(x.shape[0], w.shape[0]),
        *geometry.windows(x.shape[2:], w.shape[2:]),
    ),
    library=direct.correlate,
    cpu=cpu.correlate,
    together=_as_one_batch(correlate),
    static=("geometry",),
)
_PULL_INPUT = _bilinear.primitive(
    "fdl_pull_input",
    lambda y, w, *, geometry, size: (y.shape[0], w.shape[1] * geometry.groups, *size),
    library=direct.pull_input,
    cpu=cpu.pull_input,
    together=_as_one_batch(pull_input),
    static=("geometry", "size"),
)
_PULL_WEIGHT = _bilinear.primitive(
    "fdl_pull_weight",
    lambda x, y, *, geometry, kernel: (y.shape[1], x.shape[1] // geometry.groups, *kernel),
    library=direct.pull_weight,
    cpu=cpu.pull_weight,
    static=("geometry", "kernel"),
)


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
