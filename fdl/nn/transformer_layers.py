"""The layers that transformers are stacks of."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.nn._module import Dtype, Module
from fdl.nn.attention import Mask, MultiheadAttention
from fdl.nn.dropout import Dropout
from fdl.nn.linear import Linear
from fdl.nn.normalization import LayerNorm

Sequence = Float[Array, "..."]
"""``(L, N, E)``, with `batch_first` ``(N, L, E)``, or one sequence ``(L, E)``."""

Activation = str | Callable[[Any], Any]
"""``"relu"``, ``"gelu"``, a function, or a layer."""


class _Block(Module):
    """What encoder and decoder layers share: self-attention and the feed-forward network."""

    norms = 2

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        self.self_attn = self._attention(d_model, nhead, dropout, batch_first, bias, dtype, rngs)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype, rngs=rngs)
        self.dropout = Dropout(dropout, rngs=rngs)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype, rngs=rngs)
        self.norm_first = norm_first
        self.activation = _function(activation)
        for index in range(1, self.norms + 1):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
            setattr(self, f"norm{index}", norm)
            setattr(self, f"dropout{index}", Dropout(dropout, rngs=rngs))

    @staticmethod
    def _attention(d_model, nhead, dropout, batch_first, bias, dtype, rngs):
        options = {"batch_first": batch_first, "dtype": dtype, "rngs": rngs}
        return MultiheadAttention(d_model, nhead, dropout, bias, **options)

    def _residual(self, index: int, x: jax.Array, branch: Callable[[Any], Any]) -> jax.Array:
        """Adds a branch's output to its input, normalised before the branch or after the sum."""
        norm, drop = getattr(self, f"norm{index}"), getattr(self, f"dropout{index}")
        if self.norm_first:
            return x + drop(branch(norm(x)))
        return norm(x + drop(branch(x)))

    def _feed_forward(self, x: jax.Array) -> jax.Array:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Block):
    r"""Self-attention, then a feed-forward network, each with dropout, a sum and a norm.

    :math:`x \leftarrow \mathrm{norm}(x + f(x))`, or with `norm_first`
    :math:`x \leftarrow x + f(\mathrm{norm}(x))`, for both parts :math:`f`.

    Args:
        d_model: E, the features of a position.
        nhead: number of attention heads.
        dim_feedforward: features inside the feed-forward network.
        dropout: probability of zeroing, for attention weights too.
        activation: ``"relu"``, ``"gelu"``, a function, or a layer.
        layer_norm_eps: added to the variances.
        batch_first: ``(N, L, E)`` instead of ``(L, N, E)``.
        norm_first: normalise before each part instead of after each sum.
        bias: whether projections and norms have biases.
        dtype: of the parameters.
        rngs: random streams.

    Raises:
        ValueError: if `nhead` does not divide `d_model`, `dropout` is no probability, or
            `activation` is unknown.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.TransformerEncoderLayer(8, nhead=2, dropout=0.0, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((5, 3, 8))).shape
        (5, 3, 8)

    Torch: ``torch.nn.TransformerEncoderLayer``, its path with gradients; no nested tensors.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017; `norm_first` from Xiong et
    al., "On Layer Normalization in the Transformer Architecture", ICML 2020.
    """

    def __call__(
        self,
        src: Sequence,
        src_mask: Mask | None = None,
        src_key_padding_mask: Mask | None = None,
        is_causal: bool = False,
    ) -> Sequence:
        """Maps a sequence.

        Args:
            src: ``(L, N, E)``, with `batch_first` ``(N, L, E)``, or ``(L, E)``.
            src_mask: ``(L, L)`` or ``(N * nhead, L, L)``; a bool is true where not to attend.
            src_key_padding_mask: ``(N, L)`` or ``(L,)``; a bool is true at padding.
            is_causal: says that `src_mask` is the causal mask.
        """
        x = self._residual(
            1,
            src,
            lambda x: _attend(self.self_attn, x, x, src_mask, src_key_padding_mask, is_causal),
        )
        return self._residual(2, x, self._feed_forward)


class TransformerDecoderLayer(_Block):
    """Self-attention, attention to an encoder's output, then a feed-forward network.

    Arguments and parts are those of :class:`TransformerEncoderLayer`; the second attention is
    ``multihead_attn``.

    Raises:
        ValueError: as :class:`TransformerEncoderLayer`.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.TransformerDecoderLayer(8, nhead=2, dropout=0.0, rngs=nnx.Rngs(0))
        >>> layer(jnp.ones((4, 3, 8)), jnp.ones((5, 3, 8))).shape
        (4, 3, 8)

    Torch: ``torch.nn.TransformerDecoderLayer``; no deviation.
    """

    norms = 3

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
            bias,
            dtype=dtype,
            rngs=rngs,
        )
        self.multihead_attn = self._attention(
            d_model, nhead, dropout, batch_first, bias, dtype, rngs
        )

    def __call__(
        self,
        tgt: Sequence,
        memory: Sequence,
        tgt_mask: Mask | None = None,
        memory_mask: Mask | None = None,
        tgt_key_padding_mask: Mask | None = None,
        memory_key_padding_mask: Mask | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Sequence:
        """Maps a sequence that looks at another.

        Args:
            tgt: ``(L, N, E)``, with `batch_first` ``(N, L, E)``, or ``(L, E)``.
            memory: an encoder's output, S positions long, laid out as `tgt`.
            tgt_mask: ``(L, L)`` or ``(N * nhead, L, L)``; a bool is true where not to attend.
            memory_mask: ``(L, S)`` or ``(N * nhead, L, S)``.
            tgt_key_padding_mask: ``(N, L)`` or ``(L,)``; a bool is true at padding.
            memory_key_padding_mask: ``(N, S)`` or ``(S,)``.
            tgt_is_causal: says that `tgt_mask` is the causal mask.
            memory_is_causal: says that `memory_mask` is the causal mask.
        """
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = (memory_mask, memory_key_padding_mask, memory_is_causal)
        x = self._residual(1, tgt, lambda x: _attend(self.self_attn, x, x, *own))
        x = self._residual(2, x, lambda x: _attend(self.multihead_attn, x, memory, *other))
        return self._residual(3, x, self._feed_forward)


def _function(activation: Activation) -> Any:
    if not isinstance(activation, str):
        return activation
    if activation not in {"relu", "gelu"}:
        raise ValueError(
            "TransformerEncoderLayer, TransformerDecoderLayer: activation: expected 'relu', "
            f"'gelu' or a function, got {activation!r}. Pass the function, as fdl.functional.silu."
        )
    return F.relu if activation == "relu" else F.gelu


def _attend(attention, x, memory, mask, padding, is_causal):
    return attention(
        x, memory, memory, padding, need_weights=False, attn_mask=mask, is_causal=is_causal
    )[0]
