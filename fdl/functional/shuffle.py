"""Rearrangements of channels and pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Shaped


def pixel_shuffle(
    input: Shaped[Array, "*N C H W"], upscale_factor: int
) -> Shaped[Array, "*N C_out H_out W_out"]:
    r"""Moves channels into space: ``(C r^2, H, W)`` becomes ``(C, H r, W r)``.

    :math:`y_{c,\,hr+i,\,wr+j} = x_{cr^2+ir+j,\,h,\,w}`.

    Args:
        input: ``(..., C r^2, H, W)``.
        upscale_factor: :math:`r`.

    Returns:
        ``(..., C, H r, W r)``.

    Raises:
        ValueError: if the factor is less than 1, or its square does not divide the channels.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.pixel_shuffle(jnp.arange(4.0).reshape(4, 1, 1), 2).tolist()
        [[[0.0, 1.0], [2.0, 3.0]]]

    Torch: ``torch.nn.functional.pixel_shuffle``; no deviation.

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution", CVPR 2016.
    """
    *lead, channels, height, width = _image("pixel_shuffle", input)
    r = upscale_factor
    if r < 1 or channels % (r * r):
        raise ValueError(
            "pixel_shuffle: upscale_factor: expected at least 1, and its square a divisor of the "
            f"input's {channels} channels, got {r}."
        )
    split = input.reshape(*lead, channels // (r * r), r, r, height, width)
    n = len(lead)
    moved = jnp.transpose(split, (*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    return moved.reshape(*lead, channels // (r * r), height * r, width * r)


def pixel_unshuffle(
    input: Shaped[Array, "*N C H W"], downscale_factor: int
) -> Shaped[Array, "*N C_out H_out W_out"]:
    """Moves space into channels, the inverse of :func:`pixel_shuffle`.

    Args:
        input: ``(..., C, H r, W r)``.
        downscale_factor: :math:`r`.

    Returns:
        ``(..., C r^2, H, W)``.

    Raises:
        ValueError: if the factor is less than 1, or does not divide height and width.

    Torch: ``torch.nn.functional.pixel_unshuffle``; no deviation.
    """
    *lead, channels, height, width = _image("pixel_unshuffle", input)
    r = downscale_factor
    if r < 1 or height % r or width % r:
        raise ValueError(
            "pixel_unshuffle: downscale_factor: expected a divisor of the input's height and "
            f"width, {height} and {width}, got {r}."
        )
    split = input.reshape(*lead, channels, height // r, r, width // r, r)
    n = len(lead)
    moved = jnp.transpose(split, (*range(n + 1), n + 2, n + 4, n + 1, n + 3))
    return moved.reshape(*lead, channels * r * r, height // r, width // r)


def channel_shuffle(
    input: Shaped[Array, "N C *spatial"], groups: int
) -> Shaped[Array, "N C *spatial"]:
    """Interleaves groups of channels: group g's channel c becomes channel ``c * groups + g``.

    Args:
        input: ``(N, C, ...)``, at least 3-D.
        groups: into how many groups of neighbouring channels.

    Returns:
        An array of the input's shape.

    Raises:
        ValueError: if there are no spatial axes, or `groups` does not divide the channels.

    Torch: ``torch.nn.functional.channel_shuffle``; no deviation.

    Source: Zhang et al., "ShuffleNet", CVPR 2018.
    """
    if input.ndim < 3:
        raise ValueError(
            f"channel_shuffle: input: expected (N, C, ...), at least 3-D, got {input.shape}. Add "
            "the missing axes with x[None]."
        )
    batch, channels, *spatial = input.shape
    if groups < 1 or channels % groups:
        raise ValueError(
            f"channel_shuffle: groups: expected a divisor of the input's {channels} channels, "
            f"got {groups}."
        )
    split = input.reshape(batch, groups, channels // groups, *spatial)
    return jnp.swapaxes(split, 1, 2).reshape(input.shape)


def _image(function: str, input) -> tuple[int, ...]:
    if input.ndim < 3:
        raise ValueError(
            f"{function}: input: expected (..., C, H, W), at least 3-D, got {input.shape}. Add "
            "the missing axes with x[None]."
        )
    return input.shape
