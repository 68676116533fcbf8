"""The core of multi-head attention: projections, masks, and one of torch's two ways to attend."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fdl._checks import check_axis, check_ndim, check_same_dtype
from fdl.functional import _product
from fdl.functional.attention import additive, scaled_dot_product_attention
from fdl.functional.dropout import dropout
from fdl.functional.linear import linear

_NAME = "MultiheadAttention"


class Weights(NamedTuple):
    """Parameters of multi-head attention on E features.

    Attributes:
        in_proj: ``(3E, E)`` for query, key and value, or three of them, ``(E, features)``.
        in_proj_bias: ``(3E,)``, or None.
        out_proj: ``(E, E)``.
        out_proj_bias: ``(E,)``, or None.
        bias_k: one more key ``(1, 1, E)``, or None.
        bias_v: its value.
    """

    in_proj: jax.Array | tuple[jax.Array, ...]
    in_proj_bias: jax.Array | None
    out_proj: jax.Array
    out_proj_bias: jax.Array | None
    bias_k: jax.Array | None
    bias_v: jax.Array | None


class Masks(NamedTuple):
    """What a query must not attend to: a bool is true there, a float is added to the scores.

    Attributes:
        attn: ``(L, S)`` or ``(N H, L, S)``, or None.
        padding: of the keys ``(N, S)``, or None.
        is_causal: a hint that `attn` is the causal mask.
    """

    attn: jax.Array | None
    padding: jax.Array | None
    is_causal: bool


def multihead_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    weights: Weights,
    num_heads: int,
    masks: Masks,
    *,
    need_weights: bool,
    add_zero_attn: bool,
    dropout_p: float,
    dropout_key: jax.Array | None,
) -> tuple[jax.Array, jax.Array | None]:
    """Attends with several heads, batch first.

    Args:
        query: ``(N, L, E)``; one object for all three is projected in one product.
        key: ``(N, S, features)``.
        value: ``(N, S, features)``.
        weights: the parameters.
        num_heads: H, a divisor of E.
        masks: bool or float.
        need_weights: return the weights too. A query that may attend to nothing is then NaN; else
            its heads give 0. Masks of dropout are ``(N H, L, S)``, else ``(N, H, L, S)``.
        add_zero_attn: append a key and value of zeros.
        dropout_p: probability of zeroing a weight.
        dropout_key: random key for dropout.

    Returns:
        ``(output (N, L, E), weights (N, H, L, S) or None)``.
    """
    check_inputs(query, key, value, weights)
    mask = _merged(masks, (query.shape[0], num_heads, query.shape[1], key.shape[1]), query.dtype)
    is_causal = masks.is_causal and masks.padding is None and not need_weights
    q, k, v = _projected(query, key, value, weights)
    if weights.bias_k is not None and weights.bias_v is not None:
        k, v = (
            jnp.concatenate([x, jnp.broadcast_to(row, (x.shape[0], 1, x.shape[2]))], axis=1)
            for x, row in ((k, weights.bias_k), (v, weights.bias_v))
        )
    if add_zero_attn:
        k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0))) for x in (k, v))
    if mask is not None:
        mask = jnp.pad(mask, (*((0, 0),) * 3, (0, k.shape[1] - key.shape[1])))
    q, k, v = (_heads(x, num_heads) for x in (q, k, v))
    attention = None
    if need_weights:
        scores = _product.project(q / math.sqrt(q.shape[-1]), k)
        attention = jax.nn.softmax(scores if mask is None else scores + mask, axis=-1)
        flat = attention.reshape(query.shape[0] * num_heads, *attention.shape[2:])
        attention = dropout(flat, dropout_p, key=dropout_key).reshape(attention.shape)
        output = _product.pull_input(attention, v)
    else:
        mask = None if is_causal else mask
        output = scaled_dot_product_attention(
            q, k, v, mask, dropout_p, is_causal, dropout_key=dropout_key
        )
    output = jnp.swapaxes(output, 1, 2).reshape(query.shape)
    return linear(output, weights.out_proj, weights.out_proj_bias), attention


def check_inputs(query: jax.Array, key: jax.Array, value: jax.Array, weights: Weights) -> None:
    """Checks batch-first inputs against each other and against the parameters."""
    check_same_dtype(_NAME, query=query, key=key, value=value, weights=weights.out_proj)
    features = weights.out_proj.shape[0]
    sizes = (features,) * 3
    if isinstance(weights.in_proj, tuple):
        sizes = tuple(w.shape[1] for w in weights.in_proj)
    tensors = {"query": query, "key": key, "value": value}
    for (name, tensor), size in zip(tensors.items(), sizes, strict=True):
        check_axis(_NAME, f"{name} features", tensor.shape[2], expected=size, of="the layer")
        check_axis(_NAME, f"{name} batch", tensor.shape[0], expected=query.shape[0], of="query")
    check_axis(_NAME, "value length", value.shape[1], expected=key.shape[1], of="key")


def _projected(query, key, value, weights):
    packed, bias = weights.in_proj, weights.in_proj_bias
    if query is key and key is value and not isinstance(packed, tuple):
        return jnp.split(linear(query, packed, bias), 3, axis=-1)
    each = packed if isinstance(packed, tuple) else jnp.split(packed, 3)
    biases = (None,) * 3 if bias is None else jnp.split(bias, 3)
    return tuple(map(linear, (query, key, value), each, biases))


def _heads(x, num_heads):
    """``(N, L, E) -> (N, H, L, E / H)``."""
    return jnp.swapaxes(x.reshape(*x.shape[:2], num_heads, x.shape[2] // num_heads), 1, 2)


def _merged(masks, shape, dtype):
    """Both masks as one sum ``(N or 1, H or 1, L or 1, S)``; None where there is none."""
    batch, heads, length, keys = shape
    merged = None
    if masks.is_causal and masks.attn is None:
        raise ValueError(
            f"{_NAME}: attn_mask: expected the causal mask with is_causal=True, got None. Pass "
            "Transformer.generate_square_subsequent_mask(L) as attn_mask."
        )
    if masks.attn is not None:
        allowed = {2: (length, keys), 3: (batch * heads, length, keys)}
        check_ndim(_NAME, "attn_mask", masks.attn, expected={2: "(L, S)", 3: "(N * H, L, S)"})
        _check_shape("attn_mask", masks.attn, allowed[masks.attn.ndim])
        full = (batch, heads, length, keys) if masks.attn.ndim == 3 else (1, 1, length, keys)
        merged = additive(_NAME, "attn_mask", masks.attn, dtype, blocked=True).reshape(full)
    if masks.padding is not None:
        _check_shape("key_padding_mask", masks.padding, (batch, keys))
        padding = additive(_NAME, "key_padding_mask", masks.padding, dtype, blocked=True)
        padding = padding[:, None, None]
        merged = padding if merged is None else merged + padding
    return merged


def _check_shape(name, mask, expected):
    if mask.shape != expected:
        raise ValueError(
            f"{_NAME}: {name}: expected shape {expected}, got {mask.shape}. Its axes are (N, S) "
            "for key_padding_mask, (L, S) or (N * heads, L, S) for attn_mask."
        )
