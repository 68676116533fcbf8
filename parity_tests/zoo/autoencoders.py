"""Autoencoders beside modules of ``torch.nn.Sequential`` s."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as tF
from torch import nn

import fdl
import fdl.functional as F
from fdl.parity import twins
from zoo.case import Case


class ConvAutoencoder(nn.Module):
    """Three blocks for 28 x 28 pixels, as a tutorial writes them: 28, 14, 7, 4 and back."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(images))


class OneBlockConvAutoencoder(nn.Module):
    """One block for 9 x 12 pixels: only the even side needs output padding."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(2, 5, 3, stride=2, padding=1), nn.ELU())
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(5, 2, 3, stride=2, padding=1, output_padding=(0, 1))
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(images))


class Variational(NamedTuple):
    """The fields of fdl's output, in torch."""

    reconstruction: torch.Tensor
    mean: torch.Tensor
    log_variance: torch.Tensor
    kl: torch.Tensor


class VariationalAutoencoder(nn.Module):
    """The usual one, with `epsilon` as an input, so that both frameworks have the same."""

    def __init__(self, sizes: list[int], output_activation: Callable[[], nn.Module] | None):
        super().__init__()
        *hidden, code = sizes
        last = [] if output_activation is None else [output_activation()]
        self.encoder = nn.Sequential(*twins.mlp(hidden), nn.ReLU())
        self.fc_mu = nn.Linear(hidden[-1], code)
        self.fc_logvar = nn.Linear(hidden[-1], code)
        self.decoder = nn.Sequential(*twins.mlp(sizes[::-1]), *last)

    def reparameterize(
        self, mu: torch.Tensor, logvar: torch.Tensor, epsilon: torch.Tensor | None
    ) -> torch.Tensor:
        if epsilon is None:
            return mu
        return mu + torch.exp(0.5 * logvar) * epsilon

    def forward(self, x: torch.Tensor, epsilon: torch.Tensor | None = None) -> Variational:
        hidden = self.encoder(x)
        mu, logvar = self.fc_mu(hidden), self.fc_logvar(hidden)
        code = self.reparameterize(mu, logvar, epsilon)
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)
        return Variational(self.decoder(code), mu, logvar, kl)


def negative_elbo(loss: Callable[..., torch.Tensor], beta: float) -> Callable[..., torch.Tensor]:
    """The loss of a variational autoencoder in torch."""

    def negative_bound(output: Variational, target: torch.Tensor) -> torch.Tensor:
        summed = loss(output.reconstruction, target, reduction="sum") + beta * output.kl.sum()
        return summed / target.shape[0]

    return negative_bound


def images(*shape: int) -> tuple[np.ndarray, ...]:
    """Numbers from 0 to 1 to be rebuilt."""
    uniform = np.random.default_rng(0).uniform(size=shape)
    return uniform, uniform


def with_noise(rows: int, features: int, code: int) -> tuple[np.ndarray, ...]:
    """Numbers to be rebuilt, and the noise of their codes between."""
    inputs, target = images(rows, features)
    return inputs, np.random.default_rng(1).normal(size=(rows, code)), target


def dense(sizes: list[int], **options: Any) -> Case:
    return Case(
        lambda: fdl.models.autoencoder(sizes, **options),
        lambda: twins.autoencoder(sizes, **options),
        "mse_loss",
        images(8, sizes[0]),
        "encoder and decoder of torch.nn.Sequential",
    )


def convolutional(twin: Callable[[], nn.Module], *shape: int, **options: Any) -> Case:
    return Case(
        lambda: fdl.models.conv_autoencoder(shape[1], image_size=shape[2:], **options),
        twin,
        "mse_loss",
        images(*shape),
        "encoder of Conv2d, decoder of ConvTranspose2d",
    )


CASES = {
    "autoencoder": dense([20, 12, 4]),
    "autoencoder, no last activation": dense([20, 4], output_activation=None),
    "conv_autoencoder": convolutional(ConvAutoencoder, 4, 1, 28, 28, channels=(4, 6, 8)),
    "conv_autoencoder, 9 x 12, no last activation": convolutional(
        OneBlockConvAutoencoder,
        *(4, 2, 9, 12),
        channels=(5,),
        activation=fdl.nn.ELU,
        output_activation=None,
    ),
    "variational_autoencoder": Case(
        lambda: fdl.models.variational_autoencoder([20, 16, 12, 3]),
        lambda: VariationalAutoencoder([20, 16, 12, 3], nn.Sigmoid),
        (negative_elbo(tF.binary_cross_entropy, 1.0), fdl.models.elbo()),
        with_noise(8, 20, 3),
        "encoder, fc_mu, fc_logvar, decoder",
    ),
    "variational_autoencoder, logits, beta 4": Case(
        lambda: fdl.models.variational_autoencoder([20, 12, 3], output_activation=None),
        lambda: VariationalAutoencoder([20, 12, 3], None),
        (
            negative_elbo(tF.binary_cross_entropy_with_logits, 4.0),
            fdl.models.elbo(loss=F.binary_cross_entropy_with_logits, beta=4.0),
        ),
        with_noise(8, 20, 3),
        "encoder, fc_mu, fc_logvar, decoder",
    ),
    "variational_autoencoder, squared error": Case(
        lambda: fdl.models.variational_autoencoder([20, 12, 3], output_activation=None),
        lambda: VariationalAutoencoder([20, 12, 3], None),
        (negative_elbo(tF.mse_loss, 1.0), fdl.models.elbo(loss=F.mse_loss)),
        with_noise(8, 20, 3),
        "encoder, fc_mu, fc_logvar, decoder",
    ),
}
