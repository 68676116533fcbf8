"""Networks: each factory returns a :class:`fdl.Model` whose keys are its PyTorch counterpart's."""

from fdl.models.autoencoder import autoencoder
from fdl.models.cnn import cnn
from fdl.models.lstm import lstm
from fdl.models.mlp import mlp

__all__ = ["autoencoder", "cnn", "lstm", "mlp"]
