"""Transformers: stacks of encoder and decoder layers."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl._variables import assign
from fdl.nn import init
from fdl.nn._module import Dtype, Module
from fdl.nn.attention import Mask
from fdl.nn.normalization import LayerNorm
from fdl.nn.transformer_layers import (
    Activation,
    Sequence,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)


class TransformerEncoder(Module):
    """A stack of encoder layers: copies of one, so all start with equal parameters, as in torch.

    Args:
        encoder_layer: what is copied; it is no part of the stack itself.
        num_layers: number of copies.
        norm: a layer for the last output, or None.
        enable_nested_tensor: without effect; torch's faster evaluation, which zeroes padding.
        mask_check: without effect, likewise.

    Raises:
        ValueError: if `num_layers` is below 1.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.TransformerEncoderLayer(8, nhead=2, dropout=0.0, rngs=nnx.Rngs(0))
        >>> fdl.nn.TransformerEncoder(layer, num_layers=2)(jnp.ones((5, 3, 8))).shape
        (5, 3, 8)

    Torch: ``torch.nn.TransformerEncoder``, its path with gradients; each copy drops by random
    streams of its own.
    """

    def __init__(
        self,
        encoder_layer: nnx.Module,
        num_layers: int,
        norm: nnx.Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ):
        del enable_nested_tensor, mask_check
        self.layers = _copies("TransformerEncoder", encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def __call__(
        self,
        src: Sequence,
        mask: Mask | None = None,
        src_key_padding_mask: Mask | None = None,
        is_causal: bool | None = None,
    ) -> Sequence:
        """Maps a sequence; arguments are those of a layer, `is_causal` is not needed."""
        x = src
        for layer in self.layers:
            x = layer(
                x,
                src_mask=mask,
                src_key_padding_mask=src_key_padding_mask,
                is_causal=bool(is_causal),
            )
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """A stack of decoder layers: copies of one, so all start with equal parameters, as in torch.

    Args:
        decoder_layer: what is copied; it is no part of the stack itself.
        num_layers: number of copies.
        norm: a layer for the last output, or None.

    Raises:
        ValueError: if `num_layers` is below 1.

    Torch: ``torch.nn.TransformerDecoder``; each copy drops by random streams of its own.
    """

    def __init__(self, decoder_layer: nnx.Module, num_layers: int, norm: nnx.Module | None = None):
        self.layers = _copies("TransformerDecoder", decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def __call__(
        self,
        tgt: Sequence,
        memory: Sequence,
        tgt_mask: Mask | None = None,
        memory_mask: Mask | None = None,
        tgt_key_padding_mask: Mask | None = None,
        memory_key_padding_mask: Mask | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Sequence:
        """Maps a sequence; arguments are those of a layer, `tgt_is_causal` is not needed."""
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder and a decoder, all matrices drawn anew from Xavier's uniform distribution.

    Arguments but these are those of :class:`TransformerEncoderLayer`.

    Args:
        num_encoder_layers: number of encoder layers.
        num_decoder_layers: number of decoder layers.
        custom_encoder: a layer to be used as encoder, or None.
        custom_decoder: a layer to be used as decoder, or None.

    Raises:
        ValueError: as :class:`TransformerEncoderLayer`, or if a number of layers is below 1.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> net = fdl.nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, rngs=nnx.Rngs(0))
        >>> net(jnp.ones((5, 3, 8)), jnp.ones((4, 3, 8))).shape
        (4, 3, 8)

    Torch: ``torch.nn.Transformer``, its path with gradients; no nested tensors.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: nnx.Module | None = None,
        custom_decoder: nnx.Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        rest = (layer_norm_eps, batch_first, norm_first, bias)
        arguments = (d_model, nhead, dim_feedforward, dropout, activation, *rest)

        def stack(kind: Any, layer: Any, number: int) -> nnx.Module:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
            return kind(layer(*arguments, dtype=dtype, rngs=rngs), number, norm)

        self.encoder = custom_encoder or stack(
            TransformerEncoder, TransformerEncoderLayer, num_encoder_layers
        )
        self.decoder = custom_decoder or stack(
            TransformerDecoder, TransformerDecoderLayer, num_decoder_layers
        )
        self.d_model = d_model
        self.batch_first = batch_first
        _redraw_matrices(self, rngs)

    def __call__(
        self,
        src: Sequence,
        tgt: Sequence,
        src_mask: Mask | None = None,
        tgt_mask: Mask | None = None,
        memory_mask: Mask | None = None,
        src_key_padding_mask: Mask | None = None,
        tgt_key_padding_mask: Mask | None = None,
        memory_key_padding_mask: Mask | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Sequence:
        """Encodes `src` and decodes `tgt` with it; arguments are those of the layers.

        Raises:
            ValueError: if batches or features do not fit.
        """
        self._check(src, tgt)
        memory = self.encoder(
            src,
            mask=src_mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=src_is_causal,
        )
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, dtype: Dtype = None) -> Float[Array, "L L"]:
        r"""The causal mask: 0 on and below the diagonal, :math:`-\infty` above.

        Example:
            >>> import fdl
            >>> fdl.nn.Transformer.generate_square_subsequent_mask(2).tolist()
            [[0.0, -inf], [0.0, 0.0]]
        """
        return jnp.triu(jnp.full((sz, sz), -math.inf, dtype), 1)

    def _check(self, src: jax.Array, tgt: jax.Array) -> None:
        sizes = (src.shape[-1], tgt.shape[-1])
        if sizes != (self.d_model, self.d_model):
            raise ValueError(
                f"Transformer: src, tgt: expected d_model={self.d_model} features, got {sizes}. "
                "Features are the last axis."
            )
        axis = 0 if self.batch_first else 1
        if src.ndim != tgt.ndim or (src.ndim == 3 and src.shape[axis] != tgt.shape[axis]):
            raise ValueError(
                f"Transformer: src, tgt: expected one batch size in axis {axis}, or none in both, "
                f"got shapes {src.shape} and {tgt.shape}. Check batch_first."
            )


def _copies(stack: str, layer: nnx.Module, number: int) -> nnx.List:
    """Equal copies, whose random streams differ."""
    if number < 1:
        raise ValueError(f"{stack}: num_layers: expected at least 1, got {number}.")
    copies = nnx.List([nnx.clone(layer, arrays=True) for _ in range(number)])
    for index, copy in enumerate(copies):
        for _, part in nnx.iter_graph(copy):
            if isinstance(part, nnx.RngKey):
                assign(part, jax.random.fold_in(part[...], index))
    return copies


def _redraw_matrices(module: nnx.Module, rngs: nnx.Rngs) -> None:
    """Draws every parameter with two axes or more from Xavier's uniform distribution."""
    for _, part in nnx.iter_graph(module):
        if isinstance(part, nnx.Param) and part.ndim > 1:
            outputs, inputs, *rest = part.shape
            bound = math.sqrt(6 / ((outputs + inputs) * math.prod(rest)))
            assign(part, init.uniform(bound)(rngs.params(), part.shape, part.dtype))
