"""Recomputation in the backward pass instead of memory."""

from typing import Any

import jax
from flax import nnx

from fdl._taps import is_intercepted


def checkpoint(module: nnx.Module, *args: Any) -> Any:
    """Calls a module so that its backward pass computes again what it needs, and keeps only `args`.

    Outputs, gradients, buffers and dropout masks are those of ``module(*args)``; a training step
    needs less memory and about a third more time. While somebody looks at what modules inside
    return (``model.trace``, :mod:`fdl.parity`), the module is called as it is.

    On GPU and TPU this works as it is. On the CPU, XLA takes away the barriers that keep the second
    computation apart, and merges the two, so that neither memory nor time changes, unless that pass
    is switched off:
    ``jax.jit(step, compiler_options={"xla_disable_hlo_passes": "cse_barrier_expander"})``.

    Args:
        module: a layer or block.
        args: what it is called with.

    Returns:
        What it returns.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.Linear(3, 2, rngs=nnx.Rngs(0))
        >>> fdl.nn.utils.checkpoint(layer, jnp.ones((4, 3))).shape
        (4, 2)

    Torch: ``torch.utils.checkpoint.checkpoint(module, *args, use_reentrant=False)``; batch norms
    move their running statistics once, where torch's move again when they compute again.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """
    if is_intercepted():
        return module(*args)
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)

    def run(params: nnx.State, rest: nnx.State, *args: Any) -> tuple[Any, nnx.State, nnx.State]:
        given = _values(params)
        local = nnx.merge(graphdef, params, rest)
        output = local(*args)
        _, left, rest = nnx.split(local, nnx.Param, ...)
        rewritten = [
            (path, variable)
            for path, variable in nnx.to_flat_state(left)
            if variable.get_value() is not given[path]  # as an embedding with max_norm does
        ]
        return output, nnx.from_flat_state(rewritten), rest

    output, rewritten, rest = jax.checkpoint(run)(params, rest, *args)
    nnx.update(module, rewritten, rest)
    return output


def _values(state: nnx.State) -> dict[Any, Any]:
    return {path: variable.get_value() for path, variable in nnx.to_flat_state(state)}
