"""oneDNN's convolutions and matrix products, which jaxlib holds ready for CPUs but does not use.

PyTorch computes with the same library. XLA has a call for it, which no program of jaxlib's makes by
itself, and whose description is no stable interface: a wrong one ends the process. So it is made
for versions of jaxlib that were tried alone, for float32, in programs for one device, which XLA
need not cut up, and not in programs that are exported, which others may read, or kept in the
persistent compilation cache, where jaxlib cannot write such a call. Everywhere else, and where
jaxlib was built without oneDNN, a CPU has the formulations beside this one.
"""

import json
import platform
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.interpreters.mlir import LoweringRuleContext

from fdl.functional._primitives import on_one_device

TRIED = ("0.10.2",)
"""Versions of jaxlib whose description of the calls is the one below."""


def callable_in(context: LoweringRuleContext) -> bool:
    """Whether a program that is being lowered may call oneDNN."""
    kept = context.module_context.lowering_parameters.for_export or _cached()
    return on_one_device(context) and not kept and _is_there()


def _cached() -> bool:
    """Whether compiled programs are written to disk."""
    config = jax.config.values
    return bool(config["jax_enable_compilation_cache"] and config["jax_compilation_cache_dir"])


def convolution(
    images: jax.Array,
    weight: jax.Array,
    *,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int = 1,
    axes: Sequence[int] = (),
) -> jax.Array:
    """Correlates images ``(N, *size, C)`` with filters ``(O, C / groups, *kernel)``.

    Args:
        images: float32, channels last.
        weight: float32, torch's layout, or the one that `axes` say.
        stride: pixels from one window to the next, for each spatial axis.
        padding: zeros before and after each spatial axis, fewer than a window is wide.
        dilation: pixels from one tap to the next, for each spatial axis.
        groups: parts that the channels are split into.
        axes: which of the filters' axes are outputs, inputs and the spatial ones, if not 0, 1, ...

    Returns:
        ``(N, *windows, O)``.
    """
    dims = images.ndim
    outside, inside, *spatial = axes or range(dims)
    kernel = [weight.shape[axis] for axis in spatial]
    last = {"batch_dim": 0, "feature_dim": dims - 1, "spatial_dims": [*range(1, dims - 1)]}
    filters = {"output_feature_dim": outside, "input_feature_dim": inside, "spatial_dims": spatial}
    window = {
        "size": kernel,
        "pad_left": [low for low, _ in padding],
        "pad_right": [high for _, high in padding],
        "strides": [*stride],
        "window_dilations": [*dilation],
    }
    described = {
        "dims": dims,
        "input": {"dims": dims, "data": last},
        "kernel": {"dims": dims, "filter": filters},
        "output": {"dims": dims, "data": last},
        "window": window,
        "feature_groups": groups,
    }
    along = zip(images.shape[1:-1], kernel, padding, stride, dilation, strict=True)
    windows = ((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, p, s, d in along)
    shape = (len(images), *windows, weight.shape[outside])
    return _call("convolution", {"onednn_conv_config": described}, shape, images, weight)


def product(left: jax.Array, right: jax.Array, *, turned: tuple[bool, bool]) -> jax.Array:
    """Multiplies two matrices, or as many with as many, each of which may be turned first."""
    described = {"transpose_a": turned[0], "transpose_b": turned[1]}
    across = left.shape[-1 if turned[0] else -2], right.shape[-2 if turned[1] else -1]
    shape = *left.shape[:-2], *across
    return _call("matmul", {"onednn_matmul_config": described}, shape, left, right)


@cache
def _is_there() -> bool:
    """Whether this jaxlib has it: tried with an image of one pixel and of four."""
    here = sys.platform == "linux" and platform.machine() == "x86_64"
    if not here or jaxlib.__version__ not in TRIED:
        return False
    images, weight = np.ones((1, 2, 2, 1), np.float32), np.ones((1, 1, 2, 2), np.float32)

    def summed(images, weight):
        geometry = {"stride": (1, 1), "padding": ((0, 1), (0, 0)), "dilation": (1, 1)}
        found = convolution(images, weight, **geometry)
        return product(found.reshape(2, 1), found.reshape(2, 1), turned=(True, False))

    try:
        with jax.default_device(jax.devices("cpu")[0]):
            found = jax.jit(summed).lower(images, weight).compile()(images, weight)
    except jax.errors.JaxRuntimeError:  # a jaxlib that was built without it
        return False
    return np.array_equal(found, [[20.0]])


def _call(
    target: str, described: dict[str, Any], shape: tuple[int, ...], *operands: jax.Array
) -> jax.Array:
    called = jax.ffi.ffi_call(
        f"__onednn${target}",
        jax.ShapeDtypeStruct(shape, operands[0].dtype),
        custom_call_api_version=1,
        legacy_backend_config=json.dumps(described),
    )
    return called(*operands)
