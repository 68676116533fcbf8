"""Normalisation within each sample, without running statistics."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from fdl._checks import check_axis, check_same_dtype
from fdl.functional._moments import moments, scaled, widened


def layer_norm(
    input: Float[Array, "*batch_and_shape"],
    normalized_shape: int | Sequence[int],
    weight: Float[Array, "*shape"] | None = None,
    bias: Float[Array, "*shape"] | None = None,
    eps: float = 1e-5,
) -> Float[Array, "*batch_and_shape"]:
    r"""Normalises over the last axes.

    :math:`y = (x - \mu) / \sqrt{\sigma^2 + \epsilon} \cdot w + b` with the biased variance.

    Args:
        input: ``(..., *normalized_shape)``.
        normalized_shape: lengths of the axes that are normalised over.
        weight: scale, of `normalized_shape`, or None for 1.
        bias: shift, of `normalized_shape`, or None for 0.
        eps: added to the variance.

    Returns:
        As `input`.

    Raises:
        ValueError: if a shape does not end in `normalized_shape`.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.layer_norm(jnp.array([[1.0, 3.0], [2.0, 6.0]]), (2,), eps=0.0).tolist()
        [[-1.0, 1.0], [-1.0, 1.0]]

    Torch: ``torch.nn.functional.layer_norm``; `normalized_shape` may be a number.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016.
    """
    axes = _last_axes("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    found = moments(widened(input), axes)
    return scaled(found.deviations, found.var, eps, weight, bias).astype(input.dtype)


def rms_norm(
    input: Float[Array, "*batch_and_shape"],
    normalized_shape: int | Sequence[int],
    weight: Float[Array, "*shape"] | None = None,
    eps: float | None = None,
) -> Float[Array, "*batch_and_shape"]:
    r"""Divides by the root mean square over the last axes.

    :math:`y = x / \sqrt{\overline{x^2} + \epsilon} \cdot w`.

    Args:
        input: ``(..., *normalized_shape)``.
        normalized_shape: lengths of the axes that are normalised over.
        weight: scale, of `normalized_shape`, or None for 1.
        eps: added to the mean square; None is the machine epsilon of the input's dtype, of single
            precision for half precision.

    Returns:
        As `input`.

    Raises:
        ValueError: if a shape does not end in `normalized_shape`.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.rms_norm(jnp.array([2.0, -2.0]), (2,), eps=0.0).tolist()
        [1.0, -1.0]

    Torch: ``torch.nn.functional.rms_norm``; `normalized_shape` may be a number.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019.
    """
    axes = _last_axes("rms_norm", input, normalized_shape, weight=weight)
    wide = widened(input)
    eps = float(jnp.finfo(wide.dtype).eps) if eps is None else eps
    square = jnp.mean(jnp.square(wide), axes, keepdims=True)
    return scaled(wide, square, eps, weight, None).astype(input.dtype)


def group_norm(
    input: Float[Array, "N C *spatial"],
    num_groups: int,
    weight: Float[Array, " C"] | None = None,
    bias: Float[Array, " C"] | None = None,
    eps: float = 1e-5,
) -> Float[Array, "N C *spatial"]:
    r"""Normalises groups of neighbouring channels, each over its channels and all spatial axes.

    :math:`y = (x - \mu_{ng}) / \sqrt{\sigma^2_{ng} + \epsilon} \cdot w_c + b_c` with the biased
    variance.

    Args:
        input: ``(N, C, ...)``.
        num_groups: a divisor of ``C``.
        weight: scale ``(C,)``, or None for 1.
        bias: shift ``(C,)``, or None for 0.
        eps: added to the variance.

    Returns:
        As `input`.

    Raises:
        ValueError: if the channels do not fit, or the batch is one number for each group.
        TypeError: if the dtypes differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.group_norm(jnp.array([[1.0, 3.0, 2.0, 6.0]]), 2, eps=0.0).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    Torch: ``torch.nn.functional.group_norm``; no deviation.

    Source: Wu and He, "Group Normalization", ECCV 2018.
    """
    check_same_dtype("group_norm", input=input, weight=weight, bias=bias)
    if input.ndim < 2:
        raise ValueError(
            f"group_norm: input: expected shape (N, C, ...), got {input.shape}. Add the missing "
            "axes with x[None]."
        )
    samples, channels, *spatial = input.shape
    check_groups("group_norm", num_groups, channels)
    for name, vector in {"weight": weight, "bias": bias}.items():
        if vector is not None:
            check_axis("group_norm", "input channels", channels, expected=vector.size, of=name)
    if math.prod((samples, channels // num_groups, *spatial)) == 1:
        raise ValueError(
            f"group_norm: input: expected more than 1 value per group, got shape {input.shape} "
            f"and num_groups={num_groups}. Use fewer groups."
        )
    grouped = (num_groups, channels // num_groups, *spatial)
    ones = (1,) * len(spatial)
    affine = (None if x is None else x.reshape(*grouped[:2], *ones) for x in (weight, bias))
    wide = widened(input).reshape(samples, *grouped)
    found = moments(wide, tuple(range(2, input.ndim + 1)))
    output = scaled(found.deviations, found.var, eps, *affine)
    return output.reshape(input.shape).astype(input.dtype)


def local_response_norm(
    input: Float[Array, "N C *spatial"],
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> Float[Array, "N C *spatial"]:
    r"""Divides each value by a power of the mean square of its neighbouring channels.

    :math:`y_c = x_c \left(k + \frac{\alpha}{n} \sum_{d = c - \lfloor n / 2 \rfloor}^{c +
    \lfloor (n - 1) / 2 \rfloor} x_d^2 \right)^{-\beta}`, where channels beyond the
    edges count as 0.

    Args:
        input: ``(N, C, ...)`` with at least one spatial axis.
        size: the number n of neighbouring channels.
        alpha: factor of the mean square.
        beta: the exponent.
        k: added to the mean square.

    Returns:
        As `input`.

    Raises:
        ValueError: if `input` has no spatial axis or `size` is below 1.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.local_response_norm(jnp.ones((1, 2, 1)), 1, alpha=3.0, beta=0.5).tolist()
        [[[0.5], [0.5]]]

    Torch: ``torch.nn.functional.local_response_norm``; no deviation.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional
    Neural Networks", NeurIPS 2012.
    """
    if input.ndim < 3:
        raise ValueError(
            "local_response_norm: input: expected shape (N, C, L, ...), got "
            f"{input.shape}. Add the missing axes with x[..., None]."
        )
    if size < 1:
        raise ValueError(f"local_response_norm: size: expected at least 1, got {size}.")
    wide = widened(input)
    ones = (1,) * (input.ndim - 2)
    squares = lax.reduce_window(
        jnp.square(wide),
        np.zeros((), wide.dtype),
        lax.add,
        window_dimensions=(1, size, *ones),
        window_strides=(1, 1, *ones),
        padding=[(0, 0), (size // 2, (size - 1) // 2), *((0, 0) for _ in ones)],
    )
    return (wide / (squares / size * alpha + k) ** beta).astype(input.dtype)


def normalize(
    input: Float[Array, "*shape"],
    p: float = 2.0,
    dim: int | Sequence[int] = 1,
    eps: float = 1e-12,
) -> Float[Array, "*shape"]:
    r"""Divides vectors by their p-norm: :math:`y = x / \max(\lVert x \rVert_p, \epsilon)`.

    Args:
        input: any shape.
        p: exponent of the norm; infinity is the largest magnitude, 0 counts what is not zero.
        dim: the axis of the vectors, or several; an empty tuple is all.
        eps: the least divisor. A vector of zeros stays so, with a gradient of ``1 / eps``.

    Returns:
        As `input`.

    Raises:
        ValueError: if an axis is out of range, or is empty and `p` is infinite.
        TypeError: if the input is no float.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.normalize(jnp.array([[1.0, 3.0], [0.0, 0.0]]), p=1.0).tolist()
        [[0.25, 0.75], [0.0, 0.0]]

    Torch: ``torch.nn.functional.normalize``; no deviation.
    """
    if not jnp.issubdtype(input.dtype, jnp.floating):
        raise TypeError(
            f"normalize: input: expected a float dtype, got {input.dtype}. Convert with "
            "x.astype(float)."
        )
    axes = (dim,) if isinstance(dim, int) else tuple(dim) or tuple(range(input.ndim))
    if not all(-input.ndim <= axis < input.ndim for axis in axes):
        raise ValueError(
            f"normalize: dim: expected {-input.ndim} to {input.ndim - 1} for shape {input.shape}, "
            f"got {dim}. Name an axis of the input."
        )
    if abs(p) == math.inf and 0 in (input.shape[axis] for axis in axes):
        raise ValueError(
            f"normalize: input: expected an axis with values for p={p}, got shape {input.shape}. "
            "Use a finite p."
        )
    wide = widened(input)
    length = norm(wide, p, axes)
    divisor = jnp.where(length < eps, jnp.full_like(length, eps), length)
    return (wide / divisor).astype(input.dtype)


def norm(input: jax.Array, p: float, axes: Sequence[int]) -> jax.Array:
    """The p-norm over some axes, which stay; where it is 0, so is its gradient, as in torch."""
    if p == 0:
        return jnp.sum(input != 0, axes, keepdims=True).astype(input.dtype)
    zero = input == 0
    magnitude = input * jnp.sign(input)
    if abs(p) == math.inf:
        return (jnp.max if p > 0 else jnp.min)(magnitude, axes, keepdims=True)
    if p == 1:
        return jnp.sum(magnitude, axes, keepdims=True)
    if p == 2:
        total = jnp.sum(jnp.square(input), axes, keepdims=True)
        return _where_not(total == 0, jnp.sqrt, total)
    total = jnp.sum(_where_not(zero, lambda x: x**p, magnitude), axes, keepdims=True)
    vanishes = jnp.any(zero, axes, keepdims=True) if p < 0 else total == 0
    return _where_not(vanishes, lambda x: x ** (1 / p), total)


def _where_not(masked, function, x):
    """``function(x)``, and 0 without a gradient where `masked`."""
    safe = jnp.where(masked, jnp.ones_like(x), x)
    return jnp.where(masked, jnp.zeros_like(x), function(safe))


def check_groups(function: str, num_groups: int, channels: int) -> None:
    """Checks that the channels divide into groups."""
    if num_groups < 1 or channels % num_groups:
        raise ValueError(
            f"{function}: num_groups: expected a divisor of the number of channels {channels}, got "
            f"{num_groups}. Choose another number of groups."
        )


def as_shape(size: int | Sequence[int]) -> tuple[int, ...]:
    """A shape that may be given as one number."""
    return (size,) if isinstance(size, int) else tuple(size)


def _last_axes(
    function: str,
    input: jax.Array,
    normalized_shape: int | Sequence[int],
    **affine: jax.Array | None,
) -> tuple[int, ...]:
    """The axes that `normalized_shape` stands for, after all checks."""
    check_same_dtype(function, input=input, **affine)
    shape = as_shape(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{function}: normalized_shape: expected the last lengths of the input's shape "
            f"{input.shape}, got {shape}. Check the layer's size and the input's axes."
        )
    for name, tensor in affine.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(
                f"{function}: {name}: expected shape {shape}, got {tensor.shape}. It has the shape "
                "that is normalised over."
            )
    return tuple(range(input.ndim - len(shape), input.ndim))
