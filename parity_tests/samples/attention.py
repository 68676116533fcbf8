"""Attention and transformers: converters for torch's table, own samples, generated ones."""

import math
from collections.abc import Callable
from typing import Any

import torch
from flax import nnx
from hypothesis import strategies as st

import fdl
from samples.attention_refusals import REFUSED
from samples.sample import Sample, in_jax

_generator = torch.Generator().manual_seed(0)


def _normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=_generator, dtype=torch.float64).requires_grad_()


def _blocked(*shape: int) -> torch.Tensor:
    """True where a layer must not attend; the first key is always open."""
    mask = torch.rand(shape, generator=_generator) < 0.4
    mask[..., 0] = False
    return mask


def _causal(length: int) -> torch.Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def _float_mask(blocked: torch.Tensor) -> torch.Tensor:
    """A mask to be learnt, with -inf where a layer must not attend."""
    values = torch.randn(blocked.shape, generator=_generator, dtype=torch.float64)
    return values.masked_fill(blocked, -math.inf).requires_grad_()


def _layer(kind: Any, layer: Any, rngs: nnx.Rngs) -> nnx.Module:
    return kind(
        layer.self_attn.embed_dim,
        layer.self_attn.num_heads,
        layer.linear1.out_features,
        layer.dropout.p,
        in_jax(layer.activation, rngs),
        layer.norm1.eps,
        layer.self_attn.batch_first,
        layer.norm_first,
        layer.linear1.bias is not None,
        rngs=rngs,
    )


LAYERS: dict[str, Callable[..., Any]] = {}
"""What makes fdl's layer of a torch layer that is an argument, by class name."""

LAYERS["TransformerEncoderLayer"] = lambda layer, rngs: _layer(
    fdl.nn.TransformerEncoderLayer, layer, rngs
)
LAYERS["TransformerDecoderLayer"] = lambda layer, rngs: _layer(
    fdl.nn.TransformerDecoderLayer, layer, rngs
)
LAYERS["LayerNorm"] = lambda layer, rngs: fdl.nn.LayerNorm(
    layer.normalized_shape, layer.eps, layer.elementwise_affine, layer.bias is not None
)
LAYERS["TransformerEncoder"] = lambda stack, rngs: fdl.nn.TransformerEncoder(
    in_jax(stack.layers[0], rngs),
    stack.num_layers,
    None if stack.norm is None else in_jax(stack.norm, rngs),
)


def _sdpa(label: str, *inputs: torch.Tensor, **named: Any) -> Sample:
    options = {k: v for k, v in named.items() if k != "attn_mask"}
    given = {k: v for k, v in named.items() if k == "attn_mask"}
    return Sample("scaled_dot_product_attention", (), options, inputs, given, label)


def _encoder_layer(*args: Any, **options: Any) -> torch.nn.Module:
    return torch.nn.TransformerEncoderLayer(*args, **options, dtype=torch.float64)


def _decoder_layer(*args: Any, **options: Any) -> torch.nn.Module:
    return torch.nn.TransformerDecoderLayer(*args, **options, dtype=torch.float64)


def _heads(heads: int, length: int, features: int) -> torch.Tensor:
    return _normal(2, heads, length, features)


_DEAD = torch.tensor([[True] * 3, [False, False, True], [False] * 3])
_QKV = (_heads(2, 3, 4), _heads(2, 5, 4), _heads(2, 5, 6))
_SQUARE = tuple(_heads(2, 3, 4) for _ in range(3))
_SEQUENCES = (_normal(3, 2, 4), _normal(5, 2, 4), _normal(5, 2, 4))
_EQUAL = (_normal(3, 2, 4), _normal(3, 2, 4), _normal(3, 2, 4))
_PADDED = torch.tensor([[False] * 5, [False, False, False, True, True]])
_NO_NESTING = {"enable_nested_tensor": False}


def _attention(label: str, *args: Any, inputs: Any = _SEQUENCES, named: Any = None, **options: Any):
    return Sample("MultiheadAttention", (4, 2, *args), options, inputs, named or {}, label)


SAMPLES = [
    _sdpa("plain", *_QKV),
    _sdpa("blind query, bool", *_SQUARE, attn_mask=~_DEAD),
    _sdpa("blind query, float", *_SQUARE, attn_mask=_float_mask(_DEAD)),
    _sdpa("mask of keys", *_QKV, attn_mask=~_PADDED[:, None, None]),
    _sdpa("causal, more keys", *_QKV, is_causal=True),
    _sdpa("causal, more queries", *(_heads(2, n, 4) for n in (5, 3, 3)), is_causal=True),
    _sdpa("scale", *_QKV, scale=-0.3, is_causal=True),
    _sdpa("scale 0", *_QKV, scale=0.0),
    _sdpa("grouped", *(_heads(h, n, 4) for h, n in ((4, 3), (2, 5), (1, 5))), enable_gqa=True),
    _sdpa("two axes", _normal(3, 4), _normal(5, 4), _normal(5, 6)),
    _sdpa("shared keys", _heads(3, 3, 4), _normal(5, 4), _normal(1, 5, 4)),
    _sdpa("no keys", _heads(2, 3, 4), _heads(2, 0, 4), _heads(2, 0, 4)),
    _sdpa("dropout", *_QKV, dropout_p=0.4),
    _sdpa("dropout, causal", *_QKV, dropout_p=0.4, is_causal=True),
    _sdpa("all dropped", *_QKV, dropout_p=1.0),
    _attention("plain"),
    _attention("dropout", 0.4),
    _attention("dropout, no weights", 0.4, named={"need_weights": False}),
    _attention("all dropped", 1.0),
    _attention("kdim", kdim=3, inputs=(_SEQUENCES[0], _normal(5, 2, 3), _SEQUENCES[2])),
    _attention(
        "vdim, no bias",
        bias=False,
        vdim=5,
        inputs=(*_SEQUENCES[:2], _normal(5, 2, 5)),
        named={"need_weights": False},
    ),
    _attention("each head", named={"average_attn_weights": False, "attn_mask": _blocked(4, 3, 5)}),
    _attention(
        "unbatched, each head",
        inputs=(_normal(3, 4), _normal(5, 4), _normal(5, 4)),
        named={"average_attn_weights": False},
    ),
    *(
        _attention(
            f"both masks, weights {weights}",
            add_bias_kv=True,
            add_zero_attn=True,
            named={"key_padding_mask": _PADDED, "attn_mask": _blocked(4, 3, 5)}
            | {"need_weights": weights},
        )
        for weights in (True, False)
    ),
    *(
        _attention(
            f"float masks, weights {weights}",
            named={"key_padding_mask": _float_mask(_PADDED), "need_weights": weights}
            | {"attn_mask": _float_mask(_blocked(3, 5))},
        )
        for weights in (True, False)
    ),
    *(
        _attention(
            f"blind query, weights {weights}",
            batch_first=True,
            inputs=[x.detach().transpose(0, 1).clone().requires_grad_() for x in _EQUAL],
            named={"attn_mask": _DEAD, "need_weights": weights},
        )
        for weights in (True, False)
    ),
    *(
        _attention(
            f"causal hint {label}",
            add_bias_kv=True,
            inputs=_EQUAL,
            named={"attn_mask": _blocked(3, 3), "is_causal": True, **named},
        )
        for label, named in {
            "believed": {"need_weights": False},
            "unused, weights": {},
            "unused, padding": {"need_weights": False, "key_padding_mask": _PADDED[:, 1:4]},
        }.items()
    ),
    Sample("TransformerEncoderLayer", (4, 2, 5, 0.3), {}, (_normal(3, 2, 4),), {}, "dropout"),
    Sample(
        "TransformerEncoderLayer",
        (4, 2, 5, 0.3, "gelu"),
        {"norm_first": True, "batch_first": True, "layer_norm_eps": 0.1},
        (_normal(2, 5, 4),),
        {"src_key_padding_mask": _PADDED, "src_mask": _causal(5)},
        "gelu, dropout, padding",
    ),
    Sample(
        "TransformerEncoderLayer",
        (4, 2, 5, 0.0, torch.nn.functional.silu),
        {},
        (_normal(3, 2, 4),),
        {"src_mask": _causal(3), "is_causal": True},
        "silu, causal hint",
    ),
    Sample(
        "TransformerDecoderLayer",
        (4, 2, 5, 0.3),
        {},
        (_normal(3, 2, 4), _normal(5, 2, 4)),
        {"tgt_mask": _causal(3), "memory_key_padding_mask": _PADDED, "tgt_is_causal": True},
        "dropout, padding",
    ),
    Sample(
        "TransformerDecoderLayer",
        (4, 2, 5, 0.3, "gelu"),
        {"norm_first": True, "batch_first": True, "bias": False, "layer_norm_eps": 0.1},
        (_normal(2, 3, 4), _normal(2, 5, 4)),
        {"memory_mask": _float_mask(_blocked(3, 5))},
        "norm first, dropout",
    ),
    Sample(
        "TransformerEncoder",
        (_encoder_layer(4, 2, 5, 0.3, batch_first=True), 2),
        {"norm": torch.nn.LayerNorm(4, eps=0.1, dtype=torch.float64), **_NO_NESTING},
        (_normal(2, 5, 4),),
        {"mask": _causal(5), "src_key_padding_mask": _PADDED},
        "norm, dropout, masks",
    ),
    Sample(
        "TransformerEncoder",
        (_encoder_layer(4, 2, 5, 0.0, batch_first=True), 2),
        {},
        (_normal(2, 5, 4),),
        {"src_key_padding_mask": _PADDED},
        "left-aligned padding",
    ),
    Sample(
        "TransformerDecoder",
        (_decoder_layer(4, 2, 5, 0.3), 2),
        {"norm": torch.nn.LayerNorm(4, bias=False, dtype=torch.float64)},
        (_normal(3, 2, 4), _normal(5, 2, 4)),
        {"tgt_mask": _causal(3), "memory_key_padding_mask": _PADDED},
        "norm, dropout, masks",
    ),
    Sample(
        "TransformerDecoder",
        (_decoder_layer(4, 2, 5, 0.0, norm_first=True), 1),
        {},
        (_normal(3, 4), _normal(5, 4)),
        {},
        "unbatched",
    ),
    Sample(
        "Transformer",
        (4, 2, 2, 2, 5, 0.3, "gelu"),
        {"batch_first": True, "norm_first": True},
        (_normal(2, 5, 4), _normal(2, 3, 4)),
        {"src_key_padding_mask": _PADDED, "memory_key_padding_mask": _PADDED}
        | {"tgt_mask": _causal(3)},
        "two layers, dropout",
    ),
    Sample(
        "Transformer",
        (4, 2, 1, 1, 5, 0.0),
        {
            "custom_encoder": torch.nn.TransformerEncoder(
                _encoder_layer(4, 1, 3, 0.0), 1, **_NO_NESTING
            )
        },
        (_normal(5, 2, 4), _normal(3, 2, 4)),
        {},
        "custom encoder",
    ),
]


@st.composite
def _generated_attention(draw: st.DrawFn) -> Sample:
    """A layer with every option, and inputs and masks that fit it."""
    _generator.manual_seed(draw(st.integers(0, 999)))
    heads, size = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    embed = heads * size
    batch, length, keys = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    kdim, vdim = (draw(st.none() | st.integers(1, 4)) for _ in "kv")
    flags = ("bias", "add_bias_kv", "add_zero_attn", "batch_first")
    options = {name: draw(st.booleans()) for name in flags} | {"kdim": kdim, "vdim": vdim}
    batched = draw(st.booleans())
    batch = batch if batched else 1

    def sequence(steps: int, features: int | None) -> torch.Tensor:
        lead = (batch, steps) if options["batch_first"] else (steps, batch)
        return _normal(*(lead if batched else (steps,)), features or embed)

    named: dict[str, Any] = {
        "need_weights": draw(st.booleans()),
        "average_attn_weights": draw(st.booleans()),
    }
    kind = draw(st.sampled_from([lambda mask: mask, _float_mask]))
    if draw(st.booleans()):
        named["key_padding_mask"] = kind(_blocked(*((batch, keys) if batched else (keys,))))
    if draw(st.booleans()):
        lead = (batch * heads,) if draw(st.booleans()) else ()
        named["attn_mask"] = kind(_blocked(*lead, length, keys))
    inputs = (sequence(length, None), sequence(keys, kdim), sequence(keys, vdim))
    dropout = draw(st.sampled_from([0.0, 0.5]))
    return Sample("MultiheadAttention", (embed, heads, dropout), options, inputs, named)


@st.composite
def _generated_product(draw: st.DrawFn) -> Sample:
    """Scaled dot-product attention with every option."""
    _generator.manual_seed(draw(st.integers(0, 999)))
    sizes = st.integers(1, 4)
    length, keys, features, values = (draw(sizes) for _ in range(4))
    shared, groups = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    grouped = draw(st.booleans())
    lead = (draw(st.integers(0, 2)),)
    options: dict[str, Any] = {"enable_gqa": grouped, "is_causal": draw(st.booleans())}
    scales = [0.5, 1.0] if options.get("is_causal") else [0.5, 1.0, -2.0]
    options["scale"] = draw(st.none() | st.sampled_from(scales))
    query_heads = shared * groups if grouped else shared
    named = {}
    if not options["is_causal"] and draw(st.booleans()):
        mask = _blocked(length, keys)
        named["attn_mask"] = ~mask if draw(st.booleans()) else _float_mask(mask)
    inputs = (
        _normal(*lead, query_heads, length, features),
        _normal(*lead, shared, keys, features),
        _normal(*lead, shared, keys, values),
    )
    return Sample("scaled_dot_product_attention", (), options, inputs, named)


__all__ = ["GENERATED", "REFUSED", "SAMPLES"]

GENERATED = {"attention": st.one_of(_generated_attention(), _generated_product())}
