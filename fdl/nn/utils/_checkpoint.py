"""Recomputation in the backward pass instead of memory."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from fdl._taps import is_intercepted


def checkpoint(module: Callable[..., Any], *args: Any) -> Any:
    """Calls a module so that its backward pass computes again what it needs, and keeps only `args`.

    Outputs, gradients, buffers and dropout masks are those of ``module(*args)``; a training step
    needs less memory and about a third more time. While somebody looks at what modules inside
    return (``model.trace``, :mod:`fdl.parity`), the module is called as it is.

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
    return nnx.remat(lambda module, *args: module(*args))(module, *args)
