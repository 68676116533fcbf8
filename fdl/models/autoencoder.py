"""Autoencoder."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models.mlp import Activation, check_sizes, dense


class Autoencoder(nn.Module):
    """A dense encoder to a code, and its mirror image back.

    Torch: a module with ``encoder`` and ``decoder``, each an ``nn.Sequential``.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Activation,
        output_activation: Activation | None,
        *,
        rngs: nnx.Rngs,
    ):
        last = [] if output_activation is None else [output_activation()]
        self.encoder = nn.Sequential(*dense(sizes, activation, 0.0, rngs))
        self.decoder = nn.Sequential(*dense(sizes[::-1], activation, 0.0, rngs), *last)

    def __call__(self, input: Float[Array, "N I"]) -> Float[Array, "N I"]:
        """Returns the reconstruction."""
        code = self.encoder(input)  # (N, sizes[-1])
        return self.decoder(code)


def autoencoder(
    sizes: Sequence[int],
    *,
    activation: Activation = nn.ReLU,
    output_activation: Activation | None = nn.Sigmoid,
) -> Model:
    """Builds a dense autoencoder.

    Args:
        sizes: features of the input, of each hidden layer of the encoder, and of the code; the
            decoder goes the same way back.
        activation: makes the activation between layers.
        output_activation: makes the activation after the last layer, or None for none. The default
            suits values from 0 to 1.

    Returns:
        A model from ``(N, sizes[0])`` to its reconstruction. ``model.trace(...)["encoder"]`` is the
        code.

    Raises:
        ValueError: if fewer than two sizes are given.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.autoencoder([784, 128, 16])
        >>> params, buffers = model.init(jax.random.key(0))
        >>> model.trace(params, buffers, jnp.ones((8, 784)))["encoder"].shape
        (8, 16)

    Torch: ``fdl.parity.twins.autoencoder`` writes it out.
    """
    check_sizes("autoencoder", sizes)
    return as_model(lambda rngs: Autoencoder(sizes, activation, output_activation, rngs=rngs))
