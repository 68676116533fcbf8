"""Bad calls of attention and transformers."""

from typing import Any

import jax.numpy as jnp
from flax import nnx

import fdl
import fdl.functional as F
from samples.refusal import refused


def _product_of(query: Any, key: Any, value: Any, **options: Any) -> Any:
    return F.scaled_dot_product_attention(*map(jnp.ones, (query, key, value)), **options)


def _made(name: str, *args: Any, **options: Any) -> Any:
    return getattr(fdl.nn, name)(*args, **options, rngs=nnx.Rngs(0))


def _called(name: str, arguments: tuple[Any, ...], *shapes: tuple[int, ...], **named: Any) -> Any:
    return _made(name, *arguments)(*map(jnp.ones, shapes), **named)


_X = (3, 2, 4)

REFUSED = [
    refused(ValueError, "query;expected;got;x[None]", _product_of, (4,), (5, 4), (5, 4)),
    refused(ValueError, "key features;expected 4;got 3", _product_of, (3, 4), (5, 3), (5, 4)),
    refused(ValueError, "value length;expected 5;got 6", _product_of, (3, 4), (5, 4), (6, 4)),
    refused(
        ValueError, "key;expected;got;enable_gqa", _product_of, (4, 3, 4), (2, 5, 4), (2, 5, 4)
    ),
    refused(
        ValueError, "key;divide;got", _product_of, (4, 3, 4), (3, 5, 4), (3, 5, 4), enable_gqa=True
    ),
    refused(
        ValueError,
        "attn_mask;is_causal;got both",
        _product_of,
        (3, 4),
        (3, 4),
        (3, 4),
        attn_mask=jnp.ones((3, 3), bool),
        is_causal=True,
    ),
    refused(
        ValueError,
        "attn_mask;expected;(3, 5);got (5, 3)",
        _product_of,
        (3, 4),
        (5, 4),
        (5, 4),
        attn_mask=jnp.ones((5, 3), bool),
    ),
    refused(
        TypeError,
        "attn_mask;bool or float;got int",
        _product_of,
        (3, 4),
        (5, 4),
        (5, 4),
        attn_mask=jnp.ones((3, 5), int),
    ),
    refused(
        ValueError,
        "dropout_key;expected;got None",
        _product_of,
        (3, 4),
        (5, 4),
        (5, 4),
        dropout_p=0.1,
    ),
    refused(ValueError, "num_heads;divisor;got", _made, "MultiheadAttention", 5, 2),
    refused(ValueError, "dropout;expected;got 1.5", _made, "MultiheadAttention", 4, 2, 1.5),
    refused(
        ValueError,
        "key;expected;got (3, 4)",
        _called,
        "MultiheadAttention",
        (4, 2),
        _X,
        (3, 4),
        (3, 4),
    ),
    refused(
        ValueError,
        "key batch;expected 2;got 3",
        _called,
        "MultiheadAttention",
        (4, 2),
        _X,
        (3, 3, 4),
        (3, 3, 4),
    ),
    refused(
        ValueError,
        "query features;expected 4;got 5",
        _called,
        "MultiheadAttention",
        (4, 2),
        (3, 2, 5),
        _X,
        _X,
    ),
    refused(
        ValueError,
        "attn_mask;expected shape (3, 3);got (2, 3)",
        _called,
        "MultiheadAttention",
        (4, 2),
        _X,
        _X,
        _X,
        attn_mask=jnp.ones((2, 3), bool),
    ),
    refused(
        ValueError,
        "key_padding_mask;expected shape (2, 3);got (3, 2)",
        _called,
        "MultiheadAttention",
        (4, 2),
        _X,
        _X,
        _X,
        key_padding_mask=jnp.ones((3, 2), bool),
    ),
    refused(
        ValueError,
        "attn_mask;is_causal;got None",
        _called,
        "TransformerEncoderLayer",
        (4, 2, 5, 0.0),
        _X,
        is_causal=True,
    ),
    refused(
        ValueError,
        "activation;expected;got 'tanh'",
        _made,
        "TransformerEncoderLayer",
        4,
        2,
        5,
        0.1,
        "tanh",
    ),
    refused(
        ValueError, "num_layers;expected at least 1;got 0", _made, "Transformer", 4, 2, 0, 1, 5
    ),
    refused(
        ValueError,
        "src, tgt;expected one batch size;got",
        _called,
        "Transformer",
        (4, 2, 1, 1, 5, 0.0),
        _X,
        (3, 3, 4),
    ),
    refused(
        ValueError,
        "src, tgt;expected d_model=4;got (4, 5)",
        _called,
        "Transformer",
        (4, 2, 1, 1, 5, 0.0),
        _X,
        (3, 2, 5),
    ),
]
