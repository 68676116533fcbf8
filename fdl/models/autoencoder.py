"""Autoencoder, and learning to undo noise with one."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models.mlp import Activation, check_sizes, dense

Noise = Callable[[jax.Array, jax.Array], jax.Array]
"""``noise(key, input) -> corrupted input``."""


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
        self.encoder = nn.Sequential(*dense(sizes, activation, rngs=rngs))
        self.decoder = nn.Sequential(*dense(sizes[::-1], activation, rngs=rngs), *last)

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


def denoising(
    model: Model, noise: Noise, *, loss: Callable[[Any, jax.Array], jax.Array] = F.mse_loss
) -> Callable[..., Any]:
    """Makes the loss function of a denoising autoencoder: noisy in, clean out.

    Args:
        model: any autoencoder.
        noise: ``(key, input) -> corrupted input``, as :func:`gaussian_noise` and
            :func:`masking_noise` make it; used in training only.
        loss: ``(output, input) -> scalar``.

    Returns:
        A loss function for :func:`fdl.train.make_step` and :func:`fdl.train.fit`. The first array
        of a batch is the clean input, which is also the target; others are not looked at.

    Raises:
        ValueError: from the loss function, in training without a `key`.

    Example:
        >>> import fdl
        >>> model = fdl.models.autoencoder([784, 128, 16])
        >>> loss_fn = fdl.models.denoising(model, fdl.models.masking_noise(0.25))

    Torch: ``loss(model(x + sigma * torch.randn_like(x)), x)`` in the training loop.
    Source: Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders",
    2008.
    """

    def loss_fn(params, buffers, batch, *, train, key):
        clean, *_ = batch
        given = clean
        if train:
            if key is None:
                raise ValueError(
                    "denoising: key: expected a jax.random.key in training, to draw the noise "
                    "from, got None. Pass a new one each step, or train=False."
                )
            noise_key, key = jax.random.split(key)
            given = noise(noise_key, clean)
        output, buffers = model.apply(params, buffers, given, train=train, key=key)
        value = loss(output, clean)
        return value, (buffers, {"loss": value})

    return loss_fn


def gaussian_noise(sigma: float) -> Noise:
    """Makes noise that adds to each element a normal number of standard deviation `sigma`.

    Args:
        sigma: in the units of the input, 0 or more.

    Returns:
        ``noise(key, input)``, for :func:`denoising`.

    Raises:
        ValueError: if `sigma` is negative.

    Torch: ``x + sigma * torch.randn_like(x)``.
    """
    if not sigma >= 0:
        raise ValueError(f"gaussian_noise: sigma: expected 0 or more, got {sigma}.")
    return lambda key, x: x + sigma * jax.random.normal(key, x.shape, x.dtype)


def masking_noise(p: float) -> Noise:
    """Makes noise that zeroes each element with probability `p`, and leaves the others as they are.

    Args:
        p: from 0 to 1.

    Returns:
        ``noise(key, input)``, for :func:`denoising`.

    Raises:
        ValueError: if `p` is outside 0 to 1.

    Torch: ``x * (torch.rand_like(x) >= p)``; not ``F.dropout``, which makes up for the loss.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"masking_noise: p: expected a probability from 0 to 1, got {p}.")
    return lambda key, x: jnp.where(jax.random.bernoulli(key, 1 - p, x.shape), x, 0)
