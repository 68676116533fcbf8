"""Functions of arrays against torch in float64: values and gradients in one call."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum, root_mean_square

Arrays = Mapping[str, Any]


def check(torch_function: Callable, fdl_function: Callable, *arrays: Any) -> None:
    """Asserts equal outputs, and equal gradients of every float input.

    Outputs may be any tree; the gradient is that of their sum under random weights.
    """
    expected = torch_values(torch_function, arrays)
    with jax.enable_x64(True):
        assert_equal(jax_values(fdl_function, arrays), expected)


def assert_equal(got: Arrays, expected: Arrays) -> None:
    """Asserts that named float64 tensors are within the tolerance, and that integers are equal."""
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.asarray(got[name]).dtype.kind == tensor.dtype.kind, name
    errors = distances(got, expected)
    assert max(errors.values()) <= TOLERANCE.float64, errors


def assert_all_equal(got: Iterable[Any], expected: Iterable[Any]) -> None:
    """Asserts that float64 tensors are, one by one, within the tolerance."""
    assert_equal(*({str(i): np.asarray(x) for i, x in enumerate(xs)} for xs in (got, expected)))


def assert_near(got: Any, expected: Any) -> None:
    """Asserts that two float32 tensors are within rounding of each other."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert distance(got, expected, maximum(expected), maximum) <= TOLERANCE.float32(0.0)


def distances(got: Arrays, expected: Arrays) -> dict[str, float]:
    """Relative errors; what is zero but for rounding is judged on the scale of the largest."""
    sizes = {name: root_mean_square(_finite(tensor)) for name, tensor in expected.items()}
    least = TOLERANCE.noise * max(sizes.values())
    return {
        name: distance(np.asarray(got[name]), tensor, max(sizes[name], least), root_mean_square)
        for name, tensor in expected.items()
    }


def torch_values(function: Callable, arrays: Any) -> dict[str, np.ndarray]:
    """Outputs and gradients in torch, as NumPy arrays."""
    tensors = [torch.tensor(array) for array in arrays]
    floats = [tensor.requires_grad_() for tensor in tensors if tensor.is_floating_point()]
    leaves = jax.tree.leaves(function(*tensors))
    grads = torch.autograd.grad(_weighted(leaves, torch.tensor), floats, materialize_grads=True)
    return {
        **{f"output {i}": leaf.detach().numpy() for i, leaf in enumerate(leaves)},
        **{f"gradient {i}": grad.numpy() for i, grad in enumerate(grads)},
    }


def jax_values(function: Callable, arrays: Any) -> dict[str, jax.Array]:
    """Outputs and gradients in JAX, in its current precision."""
    arrays = [jnp.asarray(array) for array in arrays]
    floats = tuple(i for i, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.floating))

    def objective(*inputs):
        leaves = jax.tree.leaves(function(*inputs))
        return _weighted(leaves, jnp.asarray), leaves

    grads, leaves = jax.jit(jax.grad(objective, floats, has_aux=True))(*arrays)
    return {
        **{f"output {i}": leaf for i, leaf in enumerate(leaves)},
        **{f"gradient {i}": grad for i, grad in enumerate(grads)},
    }


def _weighted(leaves: list[Any], as_array: Callable) -> Any:
    generator = np.random.default_rng(1)
    weights = [generator.normal(size=tuple(leaf.shape)) for leaf in leaves]
    return sum(
        (leaf * as_array(weight, dtype=leaf.dtype)).sum()
        for leaf, weight in zip(leaves, weights, strict=True)
        if "float" in str(leaf.dtype)
    )


def _finite(tensor: np.ndarray) -> np.ndarray:
    return tensor[np.isfinite(tensor)].astype(np.float64)
