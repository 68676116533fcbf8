"""To and from PyTorch and safetensors, by torch's own names."""

from fdl.interop.safetensors import load_safetensors, save_safetensors
from fdl.interop.state_dict import from_torch, to_torch
from fdl.interop.tensors import to_jax, to_tensor

__all__ = [
    "from_torch",
    "load_safetensors",
    "save_safetensors",
    "to_jax",
    "to_tensor",
    "to_torch",
]
