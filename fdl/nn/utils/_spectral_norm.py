"""Weights over their largest singular value."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

import fdl.functional as F
from fdl.nn._module import Buffer
from fdl.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from fdl.nn.utils._reparametrized import (
    Layer,
    Reparametrization,
    parameter_of,
    reparametrized,
    restored,
)

_WARM_UP = 15


@dataclass(frozen=True)
class SpectralNorm(Reparametrization):
    """Weight over ``u W v``, its largest singular value once the power iteration has converged.

    Attributes:
        n_power_iterations: for each call in training.
        eps: the least norm that u and v are divided by.
        dim: the axis that is the rows of the matrix W.
        u_first: whether an iteration updates u before v.
    """

    n_power_iterations: int
    eps: float
    dim: int
    u_first: bool

    def weight(self, *tensors: jax.Array) -> jax.Array:
        original, u, v = tensors
        return original / jnp.dot(u, self.matrix(original) @ v)

    def iterated(self, *tensors: jax.Array) -> Sequence[jax.Array]:
        original, u, v = tensors
        return original, *self.converged(self.n_power_iterations, original, u, v)

    def converged(
        self, iterations: int, original: jax.Array, u: jax.Array, v: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The singular vectors after some iterations; no gradient goes through them."""
        matrix = lax.stop_gradient(self.matrix(original))

        def left(v):
            return F.normalize(matrix @ v, dim=0, eps=self.eps)

        def right(u):
            return F.normalize(matrix.T @ u, dim=0, eps=self.eps)

        for _ in range(iterations):
            if self.u_first:
                u = left(v)
                v = right(u)
            else:
                v = right(u)
                u = left(v)
        return u, v

    def matrix(self, weight: jax.Array) -> jax.Array:
        """The weight with axis `dim` first and all others as one."""
        return jnp.moveaxis(weight, self.dim, 0).reshape(weight.shape[self.dim], -1)


def spectral_norm(
    module: Layer,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
    *,
    rngs: nnx.Rngs,
) -> Layer:
    r"""Has a layer divide a weight by its largest singular value.

    :math:`W / (u^\top W v)`, where each call in training brings the buffers u and v nearer to the
    singular vectors by ``n_power_iterations`` of :math:`v \leftarrow W^\top u /
    \lVert W^\top u \rVert,\; u \leftarrow W v / \lVert W v \rVert`. The parameter `name` becomes
    ``{name}_orig``; the buffers are ``{name}_u`` and ``{name}_v``.

    Args:
        module: any layer of fdl; changed in place.
        name: the parameter: ``"weight"``, or of a recurrent layer ``"weight_hh_l0"``.
        n_power_iterations: for each call in training.
        eps: the least norm that u and v are divided by.
        dim: the axis that is the rows of W, all others are its columns; None is 1 for transposed
            convolutions, else 0.
        rngs: u and v are drawn from its ``params`` stream.

    Returns:
        The layer.

    Raises:
        ValueError: if the layer has no such parameter or axis, or `n_power_iterations` is below 1.

    Example:
        >>> import fdl
        >>> from flax import nnx
        >>> rngs = nnx.Rngs(0)
        >>> layer = fdl.nn.utils.spectral_norm(fdl.nn.Linear(3, 2, rngs=rngs), rngs=rngs)
        >>> layer.weight_orig.shape, layer.weight_u.shape, layer.weight_v.shape
        ((2, 3), (2,), (3,))

    Torch: ``torch.nn.utils.spectral_norm``; `rngs` instead of a global generator.

    Source: Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018.
    """
    rows = _rows(module, name, n_power_iterations, dim)
    paths = f"{name}_orig", f"{name}_u", f"{name}_v"
    how = SpectralNorm(name, paths, n_power_iterations, eps, rows, u_first=False)
    return _normed(module, how, 0, rngs)


def remove_spectral_norm(module: Layer, name: str = "weight") -> Layer:
    """Undoes :func:`spectral_norm`: the weight is a parameter again, with its present value.

    Torch: ``torch.nn.utils.remove_spectral_norm``; no deviation.
    """
    return restored("remove_spectral_norm", module, name, SpectralNorm)


def parametrized_spectral_norm(
    module: Layer,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
    *,
    rngs: nnx.Rngs,
) -> Layer:
    """Has a layer divide a weight by its largest singular value; see ``utils.spectral_norm``.

    The parameter `name` becomes ``parametrizations.{name}.original``; the buffers are
    ``parametrizations.{name}.0._u`` and ``parametrizations.{name}.0._v``. They start from 15
    iterations, and an iteration updates u before v.

    Torch: ``torch.nn.utils.parametrizations.spectral_norm``; iterates once for each call of the
    layer, where torch does for each access to the weight (several in one call of a recurrent
    layer); weights of one axis and a second parametrisation of a weight are refused; `rngs` instead
    of a global generator.
    """
    rows = _rows(module, name, n_power_iterations, dim)
    inside = f"parametrizations.{name}"
    paths = f"{inside}.original", f"{inside}.0._u", f"{inside}.0._v"
    how = SpectralNorm(name, paths, n_power_iterations, eps, rows, u_first=True)
    return _normed(module, how, _WARM_UP, rngs)


def _rows(module: Layer, name: str, n_power_iterations: int, dim: int | None) -> int:
    """The axis that is the matrix's rows, after all checks."""
    shape = parameter_of("spectral_norm", module, name).shape
    if len(shape) < 2:
        raise ValueError(
            f"spectral_norm: name: expected a parameter of at least 2 axes, got {name!r} of shape "
            f"{shape}. Its largest singular value is its norm: see functional.normalize."
        )
    if n_power_iterations < 1:
        raise ValueError(
            f"spectral_norm: n_power_iterations: expected at least 1, got {n_power_iterations}. "
            "Torch's default is 1."
        )
    if dim is None:
        return int(isinstance(module, ConvTranspose1d | ConvTranspose2d | ConvTranspose3d))
    if not -len(shape) <= dim < len(shape):
        raise ValueError(
            f"spectral_norm: dim: expected {-len(shape)} to {len(shape) - 1} or None for {name!r} "
            f"of shape {shape}, got {dim}. Name an axis of the weight."
        )
    return dim % len(shape)


def _normed(module: Layer, how: SpectralNorm, iterations: int, rngs: nnx.Rngs) -> Layer:
    original = parameter_of("spectral_norm", module, how.name)
    matrix = how.matrix(original[...])
    u, v = (
        F.normalize(jax.random.normal(rngs.params(), (length,), matrix.dtype), dim=0, eps=how.eps)
        for length in matrix.shape
    )
    u, v = how.converged(iterations, original[...], u, v)
    return reparametrized(module, how, (original, Buffer(u), Buffer(v)))
