"""Batch and instance normalisation layers."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl._checks import check_axis, check_ndim
from fdl._variables import assign
from fdl.nn._module import Dtype, Module, value_or_none


class _Norm(Module):
    """What batch and instance normalisation share: the tensors."""

    _shapes: ClassVar[dict[int, str]]

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        *,
        bias: bool,
        dtype: Dtype,
    ):
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = nnx.Param(jnp.ones(num_features, dtype)) if affine else None
        self.bias = nnx.Param(jnp.zeros(num_features, dtype)) if affine and bias else None
        tracked = track_running_stats
        self.running_mean = nnx.BatchStat(jnp.zeros(num_features, dtype)) if tracked else None
        self.running_var = nnx.BatchStat(jnp.ones(num_features, dtype)) if tracked else None
        self.num_batches_tracked = nnx.BatchStat(jnp.zeros((), int)) if tracked else None

    def _affine(self) -> tuple[jax.Array | None, jax.Array | None]:
        return value_or_none(self.weight), value_or_none(self.bias)

    def _keep(self, found: F.BatchNormOutput | F.InstanceNormOutput) -> None:
        """Writes the running statistics after a call."""
        kept = (self.running_mean, found.running_mean), (self.running_var, found.running_var)
        for variable, value in kept:
            if variable is not None and value is not None:
                assign(variable, value)


class _Pass(NamedTuple):
    restart: jax.Array
    met: list[_Norm]


_pass: ContextVar[_Pass | None] = ContextVar("pass", default=None)


@contextmanager
def cumulative_statistics(restart: jax.Array) -> Generator[list[_Norm]]:
    """While tracing inside, batch norms in training average all batches since the last restart.

    Args:
        restart: whether each first forgets what it has seen.

    Yields:
        The batch norms with running statistics that have been called so far.
    """
    met: list[_Norm] = []
    token = _pass.set(_Pass(restart, met))
    try:
        yield met
    finally:
        _pass.reset(token)


class _BatchNorm(_Norm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        del rngs  # nothing is drawn; taken so that all layers are made alike
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, bias=bias, dtype=dtype
        )

    def __call__(self, input: Float[Array, "N C *spatial"]) -> Float[Array, "N C *spatial"]:
        """Normalises each channel, with the batch's statistics in training."""
        self._check_shape(input)
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is None or var is None or batches is None:
            return F.batch_norm(input, None, None, *self._affine(), True, eps=self.eps).output
        cumulative = self._joins_pass()
        if self.training:
            assign(batches, batches[...] + 1)
        average = self.training and (self.momentum is None or cumulative)
        momentum = 1 / batches[...] if average else self.momentum or 0.0
        found = F.batch_norm(
            input, mean[...], var[...], *self._affine(), self.training, momentum, self.eps
        )
        self._keep(found)
        return found.output

    def _joins_pass(self) -> bool:
        """Whether :func:`cumulative_statistics` is on; restarts at the first call inside."""
        running = _pass.get()
        if running is None:
            return False
        if not any(self is other for other in running.met):
            running.met.append(self)
            for buffer, start in (
                (self.running_mean, 0),
                (self.running_var, 1),
                (self.num_batches_tracked, 0),
            ):
                if buffer is not None:
                    assign(buffer, jnp.where(running.restart, start, buffer[...]))
        return True

    def _check_shape(self, input: jax.Array) -> None:
        check_ndim(type(self).__name__, "input", input, expected=self._shapes)


class BatchNorm1d(_BatchNorm):
    """:class:`BatchNorm2d` for ``(N, C)`` or ``(N, C, L)``.

    Torch: ``torch.nn.BatchNorm1d``; no deviation.
    """

    _shapes: ClassVar = {2: "(N, C)", 3: "(N, C, L)"}


class BatchNorm2d(_BatchNorm):
    """Normalises each channel over the batch and both spatial axes; see ``functional.batch_norm``.

    In training the running statistics move by `momentum` towards the batch's; with
    ``momentum=None`` they are the plain average of all batches so far.

    Attributes:
        weight: scale ``(num_features,)``, or None with ``affine=False``.
        bias: shift ``(num_features,)``, or None, also with ``bias=False``.
        running_mean: buffer ``(num_features,)``, or None with ``track_running_stats=False``.
        running_var: buffer ``(num_features,)``, or None.
        num_batches_tracked: buffer, the number of training batches seen.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.BatchNorm2d(3)(jnp.ones((8, 3, 4, 4))).shape
        (8, 3, 4, 4)

    Torch: ``torch.nn.BatchNorm2d``; no deviation.
    """

    _shapes: ClassVar = {4: "(N, C, H, W)"}


class BatchNorm3d(_BatchNorm):
    """:class:`BatchNorm2d` for ``(N, C, D, H, W)``.

    Torch: ``torch.nn.BatchNorm3d``; no deviation.
    """

    _shapes: ClassVar = {5: "(N, C, D, H, W)"}


class SyncBatchNorm(_BatchNorm):
    """:class:`BatchNorm2d` for any ``(N, C, ...)``, by the statistics of the whole batch.

    Under ``jax.jit`` an array that is sharded over devices is still one array, so every fdl batch
    norm takes the statistics of the whole batch; this name is here for networks that use it.
    Inside ``jax.shard_map`` and ``jax.pmap`` each device sees its own part only.

    Torch: ``torch.nn.SyncBatchNorm``; no `process_group`.
    """

    def _check_shape(self, input: jax.Array) -> None:
        if input.ndim < 2:
            raise ValueError(
                f"SyncBatchNorm: input: expected shape (N, C, ...), got {input.shape}. Add the "
                "missing axes with x[None]."
            )


class _InstanceNorm(_Norm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        del rngs  # nothing is drawn; taken so that all layers are made alike
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, bias=bias, dtype=dtype
        )

    def __call__(
        self, input: Float[Array, "*batch_channels_spatial"]
    ) -> Float[Array, "*batch_channels_spatial"]:
        """Normalises each channel of each sample; ``(C, ...)`` is one sample."""
        name, mean, var = type(self).__name__, self.running_mean, self.running_var
        check_ndim(name, "input", input, expected=self._shapes)
        batch = input[None] if input.ndim == min(self._shapes) else input
        if self.weight is not None or mean is not None:
            got = batch.shape[1]
            check_axis(name, "input channels", got, expected=self.num_features, of="num_features")
        if mean is None or var is None:
            output = F.instance_norm(batch, None, None, *self._affine(), eps=self.eps).output
        else:
            found = F.instance_norm(
                batch,
                mean[...],
                var[...],
                *self._affine(),
                self.training,
                self.momentum or 0.0,
                self.eps,
            )
            self._keep(found)
            output = found.output
        return output.reshape(input.shape)


class InstanceNorm1d(_InstanceNorm):
    """:class:`InstanceNorm2d` for ``(N, C, L)`` or ``(C, L)``.

    Torch: ``torch.nn.InstanceNorm1d``; no deviation.
    """

    _shapes: ClassVar = {2: "(C, L)", 3: "(N, C, L)"}


class InstanceNorm2d(_InstanceNorm):
    """Normalises each channel of each image; see :func:`fdl.functional.instance_norm`.

    Without `affine` and `track_running_stats` the number of channels is not looked at.

    Attributes:
        weight: scale ``(num_features,)``, or None without `affine`.
        bias: shift ``(num_features,)``, or None, also with ``bias=False``.
        running_mean: buffer ``(num_features,)``, or None without `track_running_stats`.
        running_var: buffer ``(num_features,)``, or None.
        num_batches_tracked: buffer that torch registers and never changes, or None.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> fdl.nn.InstanceNorm2d(3)(jnp.ones((8, 3, 4, 4))).shape
        (8, 3, 4, 4)

    Torch: ``torch.nn.InstanceNorm2d``; no warning where `num_features` is wrong but unused.
    """

    _shapes: ClassVar = {3: "(C, H, W)", 4: "(N, C, H, W)"}


class InstanceNorm3d(_InstanceNorm):
    """:class:`InstanceNorm2d` for ``(N, C, D, H, W)`` or ``(C, D, H, W)``.

    Torch: ``torch.nn.InstanceNorm3d``; no deviation.
    """

    _shapes: ClassVar = {4: "(C, D, H, W)", 5: "(N, C, D, H, W)"}
