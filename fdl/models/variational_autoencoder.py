"""Variational autoencoder."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl import nn
from fdl._model import as_model
from fdl._types import Model
from fdl.models.mlp import Activation, check_sizes, dense


class VariationalOutput(NamedTuple):
    """What a variational autoencoder returns.

    Attributes:
        reconstruction: of the input.
        mean: of the code's normal distribution.
        log_variance: its logarithm, element by element.
        kl: Kullback-Leibler divergence of each example's code from the standard normal
            distribution, in nats; see :func:`kl_from_standard_normal`.
    """

    reconstruction: Float[Array, "N I"]
    mean: Float[Array, "N Z"]
    log_variance: Float[Array, "N Z"]
    kl: Float[Array, " N"]


class VariationalAutoencoder(nn.Module):
    """An encoder to a normal distribution of codes, and a decoder from one code drawn from it.

    Torch: a module with the ``nn.Sequential`` s ``encoder`` and ``decoder`` and the ``nn.Linear`` s
    ``fc_mu`` and ``fc_logvar``.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Activation,
        output_activation: Activation | None,
        *,
        rngs: nnx.Rngs,
    ):
        *hidden, code = sizes
        last = [] if output_activation is None else [output_activation()]
        self.encoder = nn.Sequential(*dense(hidden, activation, rngs=rngs), activation())
        self.fc_mu = nn.Linear(hidden[-1], code, rngs=rngs)
        self.fc_logvar = nn.Linear(hidden[-1], code, rngs=rngs)
        self.decoder = nn.Sequential(*dense(sizes[::-1], activation, rngs=rngs), *last)
        self.stream = rngs.noise.fork()

    def __call__(
        self, input: Float[Array, "N I"], epsilon: Float[Array, "N Z"] | None = None
    ) -> VariationalOutput:
        """Encodes, draws a code, and decodes it; `epsilon` is drawn in training if not given."""
        hidden = self.encoder(input)  # (N, sizes[-2])
        mean, log_variance = self.fc_mu(hidden), self.fc_logvar(hidden)  # (N, sizes[-1]) each
        if epsilon is None and self.training:
            epsilon = jax.random.normal(self.stream(), mean.shape, mean.dtype)
        code = mean if epsilon is None else mean + jnp.exp(0.5 * log_variance) * epsilon
        kl = kl_from_standard_normal(mean, log_variance)
        return VariationalOutput(self.decoder(code), mean, log_variance, kl)


def variational_autoencoder(
    sizes: Sequence[int],
    *,
    activation: Activation = nn.ReLU,
    output_activation: Activation | None = nn.Sigmoid,
) -> Model:
    r"""Builds a dense variational autoencoder.

    The code is :math:`z = \mu + \sigma \epsilon`, with standard normal :math:`\epsilon` in
    training, drawn from the `key` of ``apply``, and :math:`z = \mu` in evaluation. An `epsilon`
    that is given, as ``apply(params, buffers, input, epsilon)``, is used in both.

    Args:
        sizes: features of the input, of one or more hidden layers, and of the code; the decoder
            goes the same way back.
        activation: makes the activation after each hidden layer.
        output_activation: makes the activation after the last layer, or None for none. The default
            gives probabilities, as the default loss of :func:`elbo` wants them.

    Returns:
        A model from ``(N, sizes[0])`` and, optionally, noise ``(N, sizes[-1])`` to a
        :class:`VariationalOutput`.

    Raises:
        ValueError: if fewer than three sizes are given.

    Example:
        >>> import fdl, fdl.functional as F, jax, jax.numpy as jnp
        >>> model = fdl.models.variational_autoencoder([16, 8, 2])
        >>> params, buffers = model.init(jax.random.key(0))
        >>> output, _ = model.apply(
        ...     params, buffers, jnp.ones((4, 16)), train=True, key=jax.random.key(1)
        ... )
        >>> output.reconstruction.shape, output.kl.shape
        ((4, 16), (4,))

        New examples come from the decoder alone, which is a multilayer perceptron:

        >>> decoder = {
        ...     name.removeprefix("decoder."): tensor
        ...     for name, tensor in params.items()
        ...     if name.startswith("decoder.")
        ... }
        >>> codes = jax.random.normal(jax.random.key(2), (3, 2))
        >>> logits, _ = fdl.models.mlp([2, 8, 16]).apply(decoder, {}, codes)
        >>> F.sigmoid(logits).shape
        (3, 16)

    Torch: the usual module of ``encoder``, ``fc_mu``, ``fc_logvar`` and ``decoder``;
    ``encoder`` ends in an activation, `epsilon` is ``torch.randn_like(mu)``.
    Source: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014.
    """
    check_sizes("variational_autoencoder", sizes, example=(784, 400, 20), least=3)
    return as_model(
        lambda rngs: VariationalAutoencoder(sizes, activation, output_activation, rngs=rngs)
    )


def kl_from_standard_normal(
    mean: Float[Array, "N Z"], log_variance: Float[Array, "N Z"]
) -> Float[Array, " N"]:
    r"""Divergence of normal distributions with independent elements from the standard normal.

    .. math::
        \mathrm{KL} = \tfrac{1}{2} \sum_j \left( \mu_j^2 + e^{s_j} - 1 - s_j \right),
        \quad s_j = \log \sigma_j^2

    Args:
        mean: one row for each distribution.
        log_variance: of the same shape.

    Returns:
        One number for each row, in nats, 0 or more.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.models.kl_from_standard_normal(jnp.ones((1, 2)), jnp.zeros((1, 2))).tolist()
        [1.0]

    Torch: ``kl_divergence(Normal(mean, exp(0.5 * log_variance)), Normal(0, 1)).sum(1)`` of
    ``torch.distributions``.
    """
    return 0.5 * (mean**2 + jnp.expm1(log_variance) - log_variance).sum(axis=-1)


def elbo(
    *, loss: Callable[..., jax.Array] = F.binary_cross_entropy, beta: float = 1.0
) -> Callable[[VariationalOutput, jax.Array], jax.Array]:
    r"""Makes the loss of a variational autoencoder: the negative evidence lower bound.

    .. math::
        \frac{1}{N} \sum_n \left( \sum_i \mathrm{loss}(\hat{x}_{ni}, x_{ni})
        + \beta \, \mathrm{KL}_n \right)

    With the default `loss` it is a bound, in nats, on the negative log likelihood of binary inputs;
    in evaluation, where the code is its mean, it is none.

    Args:
        loss: ``(reconstruction, input, reduction="sum") -> scalar``, as the losses in
            :mod:`fdl.functional`. ``F.binary_cross_entropy_with_logits`` goes with
            ``output_activation=None``.
        beta: weight of the divergence.

    Returns:
        ``(output, input) -> scalar``, for :func:`fdl.train.supervised` and batches
        ``(input, input)``.

    Example:
        >>> import fdl
        >>> model = fdl.models.variational_autoencoder([784, 400, 20])
        >>> loss_fn = fdl.train.supervised(
        ...     model, fdl.models.elbo(), kl=lambda output, _: output.kl.mean()
        ... )

    Torch: ``F.binary_cross_entropy(reconstruction, x, reduction="sum") + KLD``, divided by
    the number of rows.
    Source: Kingma and Welling, 2014; `beta` from Higgins et al., "beta-VAE", 2017.
    """

    def negative_bound(output: VariationalOutput, input: jax.Array) -> jax.Array:
        reconstruction = loss(output.reconstruction, input, reduction="sum") / input.shape[0]
        return reconstruction + beta * output.kl.mean()

    return negative_bound
