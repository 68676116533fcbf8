"""XLA's own convolution, and its transposes."""

from collections.abc import Sequence

import jax
from jax import lax

from fdl.functional._convolution.geometry import Geometry


def correlate(input: jax.Array, weight: jax.Array, *, geometry: Geometry) -> jax.Array:
    """Correlates inputs with filters."""
    axes = "DHW"[3 - geometry.dims :]
    return lax.conv_general_dilated(
        input,
        weight,
        window_strides=geometry.stride,
        padding=geometry.padding,
        rhs_dilation=geometry.dilation,
        dimension_numbers=(f"NC{axes}", f"OI{axes}", f"NC{axes}"),
        feature_group_count=geometry.groups,
    )


def pull_input(
    output: jax.Array, weight: jax.Array, *, geometry: Geometry, size: Sequence[int]
) -> jax.Array:
    """Pulls a cotangent of the output back to inputs of some size."""
    shape = (output.shape[0], weight.shape[1] * geometry.groups, *size)
    like = jax.ShapeDtypeStruct(shape, output.dtype)
    transposed = jax.linear_transpose(lambda x: correlate(x, weight, geometry=geometry), like)
    return transposed(output)[0]


def pull_weight(
    input: jax.Array, output: jax.Array, *, geometry: Geometry, kernel: Sequence[int]
) -> jax.Array:
    """Pulls a cotangent of the output back to filters of some size."""
    shape = (output.shape[1], input.shape[1] // geometry.groups, *kernel)
    like = jax.ShapeDtypeStruct(shape, output.dtype)
    transposed = jax.linear_transpose(lambda w: correlate(input, w, geometry=geometry), like)
    return transposed(output)[0]
