"""Layers that reshape, or leave everything as it is."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from fdl.nn._module import Module


class Identity(Module):
    """Returns its input; takes any arguments and ignores them.

    Torch: ``torch.nn.Identity``; no deviation.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        pass

    def __call__(self, input: Any) -> Any:
        """Returns `input`."""
        return input


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
        """Flattens the chosen axes; a scalar counts as one axis."""
        rank = max(input.ndim, 1)
        for name, dim in (("start_dim", self.start_dim), ("end_dim", self.end_dim)):
            if not -rank <= dim < rank:
                raise ValueError(
                    f"Flatten: {name}: expected {-rank} to {rank - 1} for an input of "
                    f"shape {input.shape}, got {dim}."
                )
        start, end = self.start_dim % rank, self.end_dim % rank
        if start > end:
            raise ValueError(
                f"Flatten: start_dim: expected at most end_dim={self.end_dim}, got "
                f"{self.start_dim} for an input of shape {input.shape}."
            )
        joined = math.prod(input.shape[start : end + 1])
        return jnp.reshape(input, (*input.shape[:start], joined, *input.shape[end + 1 :]))


class Unflatten(Module):
    """Splits the axis `dim` into several, in row-major order.

    Args:
        dim: the axis.
        unflattened_size: lengths of the new axes; one may be -1 and is inferred.

    Raises:
        TypeError: if `unflattened_size` is no tuple or list of integers.
        ValueError: if the input has no such axis or its length does not fit, when called.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.Unflatten(1, (3, -1, 4))(jnp.ones((8, 48))).shape
        (8, 3, 4, 4)

    Torch: ``torch.nn.Unflatten``; axes have no names.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        sizes = unflattened_size
        if not isinstance(sizes, tuple | list) or not all(isinstance(n, int) for n in sizes):
            raise TypeError(
                f"Unflatten: unflattened_size: expected a tuple of integers, got {sizes!r}."
            )
        if not isinstance(dim, int):
            raise TypeError(f"Unflatten: dim: expected an integer, got {dim!r}.")
        self.dim = dim
        self.unflattened_size = tuple(sizes)

    def __call__(self, input: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """Splits the chosen axis."""
        if not -input.ndim <= self.dim < input.ndim:
            raise ValueError(
                f"Unflatten: dim: expected an axis of shape {input.shape}, got {self.dim}."
            )
        dim, sizes = self.dim % input.ndim, self.unflattened_size
        length, known = input.shape[dim], math.prod(n for n in sizes if n != -1)
        fits = length % known == 0 if -1 in sizes and known else length == known and -1 not in sizes
        if not sizes or min(sizes) < -1 or sizes.count(-1) > 1 or not fits:
            raise ValueError(
                f"Unflatten: unflattened_size: expected lengths whose product is {length} (dim="
                f"{self.dim} of shape {input.shape}), at most one of them -1, got {sizes}."
            )
        new = (length // known if n == -1 else n for n in sizes)
        return jnp.reshape(input, (*input.shape[:dim], *new, *input.shape[dim + 1 :]))
