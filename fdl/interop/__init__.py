"""To and from PyTorch and safetensors, by torch's own names."""

from fdl.interop.checkpoint import read_checkpoint
from fdl.interop.optimizer_state import optimizer_from_torch, optimizer_to_torch
from fdl.interop.safetensors import load_safetensors, save_safetensors
from fdl.interop.scheduler_state import (
    plateau_from_torch,
    plateau_to_torch,
    scheduler_from_torch,
    scheduler_to_torch,
)
from fdl.interop.state_dict import from_torch, to_torch
from fdl.interop.tensors import to_jax, to_tensor

__all__ = [
    "from_torch",
    "load_safetensors",
    "optimizer_from_torch",
    "optimizer_to_torch",
    "plateau_from_torch",
    "plateau_to_torch",
    "read_checkpoint",
    "save_safetensors",
    "scheduler_from_torch",
    "scheduler_to_torch",
    "to_jax",
    "to_tensor",
    "to_torch",
]
