"""Affine maps."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional._product import project


def linear(
    input: Float[Array, "*batch I"],
    weight: Float[Array, "*O I"],
    bias: Float[Array, "..."] | None = None,
) -> Float[Array, "*batch_O"]:
    r"""Applies an affine map to the last axis: :math:`y = x W^\top + b`.

    Args:
        input: any number of leading axes, then features.
        weight: torch's layout, outputs first; or ``(I,)`` for one output without an axis.
        bias: ``(O,)``, or anything else that broadcasts to the output; or None.

    Returns:
        `input` with its last axis mapped from ``I`` to ``O`` features.

    Raises:
        ValueError: if the last axis of `input` is not ``I`` long, or `bias` does not fit.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.linear(jnp.ones((4, 3)), jnp.ones((2, 3)), jnp.zeros(2)).shape
        (4, 2)

    Torch: ``torch.nn.functional.linear``; no deviation.
    """
    check_same_dtype("linear", input=input, weight=weight, bias=bias)
    check_ndim("linear", "weight", weight, expected={1: "(I,)", 2: "(O, I)"})
    if input.ndim == 0:
        raise ValueError("linear: input: expected at least one axis, got a scalar. Use x[None].")
    check_axis("linear", "input features", input.shape[-1], expected=weight.shape[-1], of="weight")
    output = project(input, weight) if weight.ndim == 2 else jnp.matmul(input, weight)
    if bias is None:
        return output
    missing = output.ndim - bias.ndim
    if missing < 0 or any(
        b not in (1, n) for b, n in zip(bias.shape, output.shape[missing:], strict=True)
    ):
        raise ValueError(
            f"linear: bias: expected {weight.shape[:-1]} as weight asks, got {bias.shape}. "
            "Check the layer's sizes."
        )
    return output + bias


def bilinear(
    input1: Float[Array, "*batch I1"],
    input2: Float[Array, "*batch I2"],
    weight: Float[Array, "O I1 I2"],
    bias: Float[Array, " O"] | None = None,
) -> Float[Array, "*batch O"]:
    r"""Maps pairs of vectors by one matrix for each output: :math:`y_o = x_1^\top W_o x_2 + b_o`.

    Args:
        input1: any number of leading axes, then features.
        input2: the same leading axes, then features.
        weight: one matrix for each output.
        bias: added to each output, or None.

    Returns:
        ``O`` features for each pair.

    Raises:
        ValueError: if shapes do not fit.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.bilinear(jnp.ones((4, 3)), jnp.ones((4, 2)), jnp.ones((5, 3, 2))).shape
        (4, 5)

    Torch: ``torch.nn.functional.bilinear``; no deviation.
    """
    check_same_dtype("bilinear", input1=input1, input2=input2, weight=weight, bias=bias)
    check_ndim("bilinear", "weight", weight, expected={3: "(O, I1, I2)"})
    if min(input1.ndim, input2.ndim) == 0 or input1.shape[:-1] != input2.shape[:-1]:
        raise ValueError(
            "bilinear: input2: expected the leading axes of input1, got shapes "
            f"{input1.shape} and {input2.shape}. Broadcast them first."
        )
    for name, tensor, axis in (("input1", input1, 1), ("input2", input2, 2)):
        features, expected = tensor.shape[-1], weight.shape[axis]
        check_axis("bilinear", f"{name} features", features, expected=expected, of="weight")
    output = jnp.einsum("...i,oij,...j->...o", input1, weight, input2)
    if bias is None:
        return output
    check_ndim("bilinear", "bias", bias, expected={1: "(O,)"})
    check_axis("bilinear", "bias", bias.size, expected=weight.shape[0], of="weight")
    return output + bias
