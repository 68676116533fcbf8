"""Affine maps."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_same_dtype


def linear(
    input: Float[Array, "*batch I"],
    weight: Float[Array, "O I"],
    bias: Float[Array, " O"] | None = None,
) -> Float[Array, "*batch O"]:
    r"""Applies an affine map to the last axis: :math:`y = x W^\top + b`.

    Args:
        input: any number of leading axes, then features.
        weight: torch's layout, outputs first.
        bias: added to each output, or None.

    Returns:
        `input` with its last axis mapped from ``I`` to ``O`` features.

    Raises:
        ValueError: if the last axis of `input` is not ``I`` long.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.linear(jnp.ones((4, 3)), jnp.ones((2, 3)), jnp.zeros(2)).shape
        (4, 2)

    Torch: ``torch.nn.functional.linear``; no deviation.
    """
    check_same_dtype("linear", input=input, weight=weight, bias=bias)
    check_axis("linear", "input features", input.shape[-1], expected=weight.shape[1], of="weight")
    output = jnp.matmul(input, weight.T)
    return output if bias is None else output + bias
