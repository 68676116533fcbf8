"""Faults in a variational autoencoder, a tied language model and the way up of a U-Net."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from zoo import autoencoders

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn
from fdl.models.language_model import LanguageModel
from fdl.models.unet import Up
from fdl.models.variational_autoencoder import VariationalAutoencoder, VariationalOutput
from fdl.parity import twins

SIZES, VOCABULARY, WIDTH, CHANNELS = [6, 5, 2], 7, 4, 3


def pair(twin: Any, module: Any, loss: Any, *batch: Any) -> Pair:
    def seeded() -> torch.nn.Module:
        torch.manual_seed(0)
        return twin()

    options = {"loss": loss, "optimizer": (torch.optim.AdamW, fdl.optim.adamw()), "steps": 1}
    return Pair(seeded, fdl.as_model(module), [batch], options)


class VarianceForDeviation(VariationalAutoencoder):
    """Noise times the variance, not its root."""

    def __call__(self, input, epsilon=None):
        hidden = self.encoder(input)
        mean, log_variance = self.fc_mu(hidden), self.fc_logvar(hidden)
        code = mean + jnp.exp(log_variance) * epsilon
        kl = fdl.models.kl_from_standard_normal(mean, log_variance)
        return VariationalOutput(self.decoder(code), mean, log_variance, kl)


def variational(kind: type = VariationalAutoencoder, loss: Any = None) -> Pair:
    torchs = autoencoders.negative_elbo(torch.nn.functional.mse_loss, 1.0)
    return pair(
        lambda: autoencoders.VariationalAutoencoder(SIZES, torch.nn.Sigmoid),
        lambda rngs: kind(SIZES, nn.ReLU, nn.Sigmoid, rngs=rngs),
        (torchs, loss or fdl.models.elbo(loss=F.mse_loss)),
        *autoencoders.with_noise(8, SIZES[0], SIZES[-1]),
    )


class HeadThatDoesNotTeach(nn.Linear):
    """A tied head whose use of the table gives it no gradient."""

    def __call__(self, input):
        return F.linear(input, jax.lax.stop_gradient(self.weight[...]), self.bias[...])


def language(head: type[nn.Linear] = nn.Linear) -> Pair:
    def module(rngs: nnx.Rngs) -> nnx.Module:
        table = nn.Embedding(VOCABULARY, WIDTH, rngs=rngs)
        rnn = nn.GRU(WIDTH, WIDTH, batch_first=True, rngs=rngs)
        network = LanguageModel(table, rnn, 0.0, tied=True, rngs=rngs)
        network.fc = head(WIDTH, VOCABULARY, rngs=rngs)
        network.fc.weight = table.weight
        return network

    generator = np.random.default_rng(0)
    ids = generator.integers(0, VOCABULARY, (2, 3, 5))
    losses = (
        lambda output, target: torch.nn.functional.cross_entropy(output[0].mT, target),
        lambda output, target: F.cross_entropy(output[0].mT, target),
    )
    options = {"cell": "gru", "tied": True}
    return pair(
        lambda: twins.language_model(VOCABULARY, WIDTH, WIDTH, **options), module, losses, *ids
    )


class TorchUp(torch.nn.Module):
    """Doubles, fills up to an odd size, sets the skip beside, and convolves."""

    def __init__(self) -> None:
        super().__init__()
        self.up = torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = torch.nn.Conv2d(2 * CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, maps: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        maps = self.up(maps)
        rows, columns = skip.shape[2] - maps.shape[2], skip.shape[3] - maps.shape[3]
        pads = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
        return self.conv(torch.cat([skip, torch.nn.functional.pad(maps, pads)], dim=1))


class SimpleUp(Up):
    """One convolution where a U-Net has two."""

    def __init__(self, *, rngs: nnx.Rngs):
        super().__init__(CHANNELS, CHANNELS, CHANNELS, bilinear=True, rngs=rngs)
        self.conv = nn.Conv2d(2 * CHANNELS, CHANNELS, 3, padding=1, rngs=rngs)


class MapsFirst(SimpleUp):
    def __call__(self, maps, skip):
        maps = F.pad(self.up(maps), (0, 1, 0, 1))
        return self.conv(jnp.concatenate([maps, skip], axis=1))


class OtherSide(SimpleUp):
    """The odd row and column come first."""

    def __call__(self, maps, skip):
        maps = F.pad(self.up(maps), (1, 0, 1, 0))
        return self.conv(jnp.concatenate([skip, maps], axis=1))


def upwards(kind: type[SimpleUp] = SimpleUp) -> Pair:
    generator = np.random.default_rng(0)
    maps, skip = (generator.normal(size=(2, CHANNELS, size, size)) for size in (2, 5))
    target = generator.normal(size=(2, CHANNELS, 5, 5))
    return pair(TorchUp, lambda rngs: kind(rngs=rngs), "mse_loss", maps, skip, target)


PAIRS = {
    "variational autoencoder": variational(),
    "tied language model": language(),
    "way up of a U-Net": upwards(),
}

FAULTS = [
    Fault(
        "variational: variance for deviation",
        variational(VarianceForDeviation),
        "",
        "forward",
        0,
        "missing factor",
    ),
    Fault(
        "language model: the head does not teach the table",
        language(HeadThatDoesNotTeach),
        "fc",
        "backward",
        0,
        "stopped gradient",
    ),
    Fault("U-Net: maps before the skip", upwards(MapsFirst), "", "forward", 0, "order of parts"),
    Fault(
        "U-Net: filled up on the other side",
        upwards(OtherSide),
        "",
        "forward",
        0,
        "side of the padding",
    ),
]
