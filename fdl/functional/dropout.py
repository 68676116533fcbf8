"""Dropout, as a function of its key."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key


def dropout(
    input: Float[Array, "*shape"],
    p: float = 0.5,
    training: bool = True,
    *,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "*shape"]:
    r"""Zeroes each element with probability `p` and scales the others by :math:`1 / (1 - p)`.

    Args:
        input: any shape.
        p: probability of an element to be zeroed, from 0 to 1.
        training: if false, `input` is returned as it is.
        key: random key; the same key gives the same mask. Not needed where nothing is dropped.

    Returns:
        A tensor of `input`'s shape and dtype.

    Raises:
        ValueError: if `p` is outside 0 to 1, or a key is needed and missing.

    Example:
        >>> import jax, jax.numpy as jnp, fdl.functional as F
        >>> F.dropout(jnp.ones(3), p=0.5, training=False).tolist()
        [1.0, 1.0, 1.0]

    Torch: ``torch.nn.functional.dropout``; the mask comes from `key` instead of a global
    generator, and nothing happens in place.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 15, 2014.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p: expected a probability from 0 to 1, got {p}.")
    if not training or p == 0:
        return input
    if key is None:
        raise ValueError(
            "dropout: key: expected a jax.random.key in training, got None. Pass "
            "key=jax.random.key(...), a new one each call."
        )
    if p == 1:
        return jnp.zeros_like(input)
    keep = jax.random.bernoulli(key, 1 - p, input.shape)
    return jnp.where(keep, input / (1 - p), jnp.zeros_like(input))
