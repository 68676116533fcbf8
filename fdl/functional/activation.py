"""Activations, with torch's derivative at every kink."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def relu(input: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Computes :math:`\max(x, 0)`, with derivative 0 at 0 and NaN passed on.

    Example:
        >>> import jax, jax.numpy as jnp, fdl.functional as F
        >>> float(jax.grad(F.relu)(0.0))
        0.0

    Torch: ``torch.nn.functional.relu``; no deviation.
    """
    return jax.nn.relu(input)


def sigmoid(input: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Computes :math:`1 / (1 + e^{-x})`.

    Torch: ``torch.nn.functional.sigmoid``; no deviation.
    """
    return jax.nn.sigmoid(input)


def tanh(input: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    r"""Computes :math:`(e^x - e^{-x}) / (e^x + e^{-x})`.

    Torch: ``torch.nn.functional.tanh``; no deviation.
    """
    return jnp.tanh(input)
