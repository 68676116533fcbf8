"""Batch normalisation layers."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl._checks import check_ndim
from fdl.nn._module import Dtype, Module, value_or_none


class BatchNorm2d(Module):
    """Normalises each channel over the batch and both spatial axes; see ``functional.batch_norm``.

    In training the running statistics move by `momentum` towards the batch's; with
    ``momentum=None`` they are the plain average of all batches so far.

    Attributes:
        weight: scale ``(num_features,)``, or None with ``affine=False``.
        bias: shift ``(num_features,)``, or None.
        running_mean: buffer ``(num_features,)``, or None with ``track_running_stats=False``.
        running_var: buffer ``(num_features,)``, or None.
        num_batches_tracked: buffer, the number of training batches seen.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.BatchNorm2d(3)(jnp.ones((8, 3, 4, 4))).shape
        (8, 3, 4, 4)

    Torch: ``torch.nn.BatchNorm2d``; no deviation.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        del rngs  # nothing is drawn; taken so that all layers are made alike
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = nnx.Param(jnp.ones(num_features, dtype)) if affine else None
        self.bias = nnx.Param(jnp.zeros(num_features, dtype)) if affine else None
        tracked = track_running_stats
        self.running_mean = nnx.BatchStat(jnp.zeros(num_features, dtype)) if tracked else None
        self.running_var = nnx.BatchStat(jnp.ones(num_features, dtype)) if tracked else None
        self.num_batches_tracked = nnx.BatchStat(jnp.zeros((), int)) if tracked else None

    def __call__(self, input: Float[Array, "N C H W"]) -> Float[Array, "N C H W"]:
        """Normalises ``(N, C, H, W)``, with the batch's statistics in training."""
        check_ndim("BatchNorm2d", "input", input, expected={4: "(N, C, H, W)"})
        weight, bias = value_or_none(self.weight), value_or_none(self.bias)
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is None or var is None or batches is None:
            return F.batch_norm(input, None, None, weight, bias, True, eps=self.eps).output
        if self.training:
            batches[...] += 1
        average = self.training and self.momentum is None
        momentum = 1 / batches[...].astype(mean.dtype) if average else self.momentum or 0.0
        output, mean[...], var[...] = F.batch_norm(
            input, mean[...], var[...], weight, bias, self.training, momentum, self.eps
        )
        return output
