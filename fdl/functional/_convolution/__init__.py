"""Convolution: three maps that are each other's derivatives, and how a CPU computes them."""

from fdl.functional._convolution.bilinear import correlate, pull_input, pull_weight
from fdl.functional._convolution.geometry import Geometry, Pads

__all__ = ["Geometry", "Pads", "correlate", "pull_input", "pull_weight"]
