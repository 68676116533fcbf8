"""Weights as a direction and a length."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from fdl.functional.layer_normalization import norm
from fdl.nn.utils._reparametrized import (
    Layer,
    Reparametrization,
    parameter_of,
    reparametrized,
    restored,
)


@dataclass(frozen=True)
class WeightNorm(Reparametrization):
    """Weight ``g * v / |v|``; the norm is over all axes but `dim`, over all if None."""

    dim: int | None

    def weight(self, *tensors: jax.Array) -> jax.Array:
        length, direction = tensors
        return direction * (length / self.length(direction))

    def length(self, weight: jax.Array) -> jax.Array:
        """The norm of a weight, which `dim` remains of; a scalar if it is None."""
        axes = tuple(axis for axis in range(weight.ndim) if axis != self.dim)
        length = norm(weight, 2.0, axes)
        return length.reshape(()) if self.dim is None else length


def weight_norm(module: Layer, name: str = "weight", dim: int | None = 0) -> Layer:
    r"""Has a layer compute a weight from its direction and length.

    :math:`w = g\, v / \lVert v \rVert`, for each index of axis `dim`. The parameter `name` becomes
    ``{name}_g``, as the weight with all other axes of length 1, and ``{name}_v``, as the weight.

    Args:
        module: any layer of fdl; changed in place.
        name: the parameter: ``"weight"``, or of a recurrent layer ``"weight_hh_l0"``.
        dim: the axis whose indices have a length each; None is one length for all.

    Returns:
        The layer.

    Raises:
        ValueError: if the layer has no such parameter or axis.

    Example:
        >>> import fdl
        >>> from flax import nnx
        >>> layer = fdl.nn.utils.weight_norm(fdl.nn.Linear(3, 2, rngs=nnx.Rngs(0)))
        >>> layer.weight_g.shape, layer.weight_v.shape
        ((2, 1), (2, 3))

    Torch: ``torch.nn.utils.weight_norm``; no deviation.

    Source: Salimans and Kingma, "Weight Normalization", NeurIPS 2016.
    """
    return _normed(module, name, dim, (f"{name}_g", f"{name}_v"))


def remove_weight_norm(module: Layer, name: str = "weight") -> Layer:
    """Undoes :func:`weight_norm`: the weight is a parameter again, with its present value.

    Torch: ``torch.nn.utils.remove_weight_norm``; no deviation.
    """
    return restored("remove_weight_norm", module, name, WeightNorm)


def parametrized_weight_norm(module: Layer, name: str = "weight", dim: int | None = 0) -> Layer:
    """Has a layer compute a weight from its direction and length; see ``utils.weight_norm``.

    The parameter `name` becomes ``parametrizations.{name}.original0``, its length, and
    ``parametrizations.{name}.original1``, its direction.

    Torch: ``torch.nn.utils.parametrizations.weight_norm``; one parametrisation of a weight.
    """
    inside = f"parametrizations.{name}"
    return _normed(module, name, dim, (f"{inside}.original0", f"{inside}.original1"))


def _normed(module: Layer, name: str, dim: int | None, paths: tuple[str, str]) -> Layer:
    direction = parameter_of("weight_norm", module, name)
    axes = direction.ndim
    if dim is not None and not -axes <= dim < axes:
        raise ValueError(
            f"weight_norm: dim: expected {-axes} to {axes - 1} or None for {name!r} of shape "
            f"{direction.shape}, got {dim}. Name an axis of the weight."
        )
    how = WeightNorm(name, paths, None if dim in (None, -1) else dim % axes)  # -1 is torch's None
    length = nnx.Param(jnp.asarray(how.length(direction[...])))
    return reparametrized(module, how, (length, direction))
