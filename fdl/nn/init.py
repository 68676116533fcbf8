"""Initialisers, equal to torch's in distribution: ``initializer(key, shape, dtype) -> array``.

The signature is that of ``jax.nn.initializers``; shapes are torch's (outputs first).
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]
"""``(key, shape, dtype) -> array``; a dtype of None is JAX's default float."""


def uniform(bound: float) -> Initializer:
    r"""Uniform on :math:`(-bound, bound)`.

    Torch: ``torch.nn.init.uniform_(tensor, -bound, bound)``.
    """

    def draw(key, shape, dtype=None):
        dtype = jnp.result_type(float) if dtype is None else dtype
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

    return draw


def default_bound(fan_in: int) -> float:
    r""":math:`1/\sqrt{fan\_in}`: the bound of torch's default for linear and convolution layers.

    It is what ``kaiming_uniform_(a=sqrt(5))`` comes to for weights, and torch draws biases from the
    same interval. A layer without inputs has bound 0.
    """
    return 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
