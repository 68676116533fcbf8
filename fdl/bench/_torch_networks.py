"""Torch networks that :mod:`fdl.parity.twins` does not write out; this file needs torch."""

from functools import partial

from torch import nn


class ConvAutoencoder(nn.Module):
    """Counterpart of :func:`fdl.models.conv_autoencoder`, for images whose sizes 4 divides."""

    def __init__(self) -> None:
        super().__init__()
        down = partial(nn.Conv2d, kernel_size=3, stride=2, padding=1)
        up = partial(nn.ConvTranspose2d, kernel_size=3, stride=2, padding=1, output_padding=1)
        self.encoder = nn.Sequential(down(1, 16), nn.ReLU(), down(16, 32), nn.ReLU())
        self.decoder = nn.Sequential(up(32, 16), nn.ReLU(), up(16, 1))

    def forward(self, images):
        """Returns the reconstruction."""
        return self.decoder(self.encoder(images)).sigmoid()
