"""Layers with parametrised weights."""

from fdl.nn.utils import parametrizations
from fdl.nn.utils._spectral_norm import remove_spectral_norm, spectral_norm
from fdl.nn.utils._weight_norm import remove_weight_norm, weight_norm

__all__ = [
    "parametrizations",
    "remove_spectral_norm",
    "remove_weight_norm",
    "spectral_norm",
    "weight_norm",
]
