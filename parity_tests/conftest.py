"""Strict JAX for every test: no silent promotion, and hypothesis without deadlines."""

import jax
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
settings.register_profile("default", deadline=None, max_examples=30)
settings.register_profile("nightly", deadline=None, max_examples=1000)
settings.load_profile("default")
