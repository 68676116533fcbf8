"""Single tensors between torch and JAX, copied so that neither side can change the other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from fdl._checks import require

if TYPE_CHECKING:
    import torch


def to_jax(tensor: torch.Tensor) -> jax.Array:
    """Copies a torch tensor into a JAX array.

    Args:
        tensor: on any device, of any layout, with or without gradient history.

    Returns:
        An array of the same shape and dtype on JAX's default device. Without x64, int64 becomes
        int32, JAX's integer.

    Raises:
        TypeError: for a float64 tensor, or an integer beyond 32 bits, without x64: JAX would round
            the one and wrap the other silently.
    """
    return from_numpy("tensor", to_numpy(tensor))


def to_tensor(array: jax.Array) -> torch.Tensor:
    """Copies a JAX array into a torch tensor on the CPU.

    Args:
        array: of any shape and dtype.

    Returns:
        A tensor of the same shape and dtype.
    """
    torch = require("torch", extra="torch", purpose="to_tensor")
    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(np.array(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(array, copy=True))


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Reads a torch tensor as a NumPy array, which may share its memory."""
    torch = require("torch", extra="torch", purpose="to_numpy")
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def from_numpy(name: str, array: np.ndarray) -> jax.Array:
    """Copies a NumPy array into JAX; integers that fit take JAX's width, floats must keep theirs.

    Raises:
        TypeError: for a float64 array, or integers beyond 32 bits, without x64.
    """
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    integers = np.issubdtype(array.dtype, np.integer)
    if dtype != array.dtype and not (integers and np.array_equal(array.astype(dtype), array)):
        raise TypeError(
            f"{name}: expected a dtype that JAX keeps, got {array.dtype}, which it would round to "
            f"{dtype}. Convert it first (in torch with module.float()), or enable x64: "
            "jax.config.update('jax_enable_x64', True)."
        )
    return jnp.array(array, dtype, copy=True)
