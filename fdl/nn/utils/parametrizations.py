"""Parametrised weights under the keys of torch's newer interface."""

from fdl.nn.utils._spectral_norm import parametrized_spectral_norm as spectral_norm
from fdl.nn.utils._weight_norm import parametrized_weight_norm as weight_norm

__all__ = ["spectral_norm", "weight_norm"]
