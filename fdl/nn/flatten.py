"""Reshaping layers."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from fdl.nn._module import Module


class Flatten(Module):
    """Joins the axes from `start_dim` to `end_dim`, both included, in row-major order.

    Raises:
        ValueError: if the input has no such axes or `start_dim` comes after `end_dim`, when called.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.Flatten()(jnp.ones((8, 3, 4, 4))).shape
        (8, 48)

    Torch: ``torch.nn.Flatten``; no deviation.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        self.start_dim = start_dim
        self.end_dim = end_dim

    def __call__(self, input: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """Flattens the chosen axes."""
        for name, dim in (("start_dim", self.start_dim), ("end_dim", self.end_dim)):
            if not -input.ndim <= dim < input.ndim:
                raise ValueError(
                    f"Flatten: {name}: expected {-input.ndim} to {input.ndim - 1} for an input of "
                    f"shape {input.shape}, got {dim}."
                )
        start, end = (dim % input.ndim for dim in (self.start_dim, self.end_dim))
        if start > end:
            raise ValueError(
                f"Flatten: start_dim: expected at most end_dim={self.end_dim}, got "
                f"{self.start_dim} for an input of shape {input.shape}."
            )
        joined = math.prod(input.shape[start : end + 1])
        return jnp.reshape(input, (*input.shape[:start], joined, *input.shape[end + 1 :]))
