"""What the loss layers share."""

import jax.numpy as jnp
from jaxtyping import Array

from fdl.nn._module import Buffer, Module


class Loss(Module):
    """A loss and how it is reduced."""

    def __init__(self, reduction: str = "mean"):
        self.reduction = reduction


class WeightedLoss(Loss):
    """A loss with weights, which are a buffer as in torch, or None."""

    def __init__(self, weight: Array | None = None, reduction: str = "mean"):
        super().__init__(reduction)
        self.weight = as_buffer(weight)


def as_buffer(value: Array | None) -> Buffer | None:
    """A buffer, if there is anything to keep."""
    return None if value is None else Buffer(jnp.asarray(value))
