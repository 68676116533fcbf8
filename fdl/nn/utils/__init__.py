"""Layers with parametrised weights, and layers that compute again instead of remembering."""

from fdl.nn.utils import parametrizations
from fdl.nn.utils._checkpoint import checkpoint
from fdl.nn.utils._spectral_norm import remove_spectral_norm, spectral_norm
from fdl.nn.utils._weight_norm import remove_weight_norm, weight_norm

__all__ = [
    "checkpoint",
    "parametrizations",
    "remove_spectral_norm",
    "remove_weight_norm",
    "spectral_norm",
    "weight_norm",
]
