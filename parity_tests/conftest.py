"""Strict JAX for every test: no silent promotion; hypothesis without deadlines."""

import jax
import torch
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
torch.set_num_threads(1)  # the test workers share the cores, and torch's threads wait by spinning
settings.register_profile("default", deadline=None, max_examples=30)
settings.load_profile("default")
