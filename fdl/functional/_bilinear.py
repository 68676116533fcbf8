"""Bilinear maps as primitives: how each is computed is decided when a program is lowered.

Such maps come in threes: a map, and the two that pull cotangents back to its operands. All three
are bilinear, and each is the derivative of the others: gradients of any order and in both modes
stay among them. A program says what is computed; GPUs and TPUs run XLA's own operation, CPUs what
is fast on them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.interpreters import batching, mlir

from fdl.functional._formulations import is_known
from fdl.functional._onednn import callable_in
from fdl.functional._primitives import named

Map = Callable[..., jax.Array]


def primitive(
    name: str,
    shape: Callable[..., tuple[int, ...]],
    *,
    library: Map,
    cpu: Map,
    together: Map | None = None,
    paired: Map | None = None,
    static: tuple[str, ...] = (),
) -> Any:
    """Makes the primitive of one map of two arrays, without its derivatives.

    Args:
        name: what a jaxpr calls it.
        shape: of operands and options, the result's shape.
        library: computes it by XLA's own operation.
        cpu: computes it on CPUs, where shapes are numbers; its argument `onednn` says whether the
            program may call oneDNN.
        together: computes many at once, whose first operands have one more axis in front and whose
            second is one; without it the library does.
        paired: computes many at once, both of whose operands have one more axis in front; without
            it the library does.
        static: names of the options.

    Returns:
        The primitive.
    """

    def shaped(*operands: Any, **options: Any) -> Any:
        return operands[0].update(shape=shape(*operands, **options), weak_type=False)

    def lowered_for_cpu(context: Any, *operands: Any, **options: Any) -> Any:
        known = all(is_known(aval.shape) for aval in context.avals_in)
        function = partial(cpu, onednn=callable_in(context)) if known else library
        return mlir.lower_fun(function, multiple_results=False)(context, *operands, **options)

    def batched(operands: Any, axes: Any, **options: Any) -> tuple[jax.Array, int]:
        first, second = operands
        if together is not None and axes[1] is None:
            return together(jax.numpy.moveaxis(first, axes[0], 0), second, **options), 0
        if paired is not None and None not in axes:
            operands = map(jax.numpy.moveaxis, operands, axes, (0, 0))
            return paired(*operands, **options), 0
        return jax.vmap(partial(library, **options), axes)(first, second), 0

    made = named(name, shaped, static=static)
    mlir.register_lowering(made, mlir.lower_fun(library, multiple_results=False))
    mlir.register_lowering(made, lowered_for_cpu, platform="cpu")
    batching.primitive_batchers[made] = batched
    return made
