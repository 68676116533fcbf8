"""Attention layers."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from fdl._checks import check_ndim
from fdl._variables import assign
from fdl.functional._multihead import Masks, Weights, multihead_attention
from fdl.nn import init
from fdl.nn._module import Dtype, Module, draw_key, forked_stream, parameter, value_or_none
from fdl.nn.linear import Linear

Mask = Float[Array, "..."] | Bool[Array, "..."]
"""What must not be attended to: a bool is true there, a float is added to the scores."""


class MultiheadAttention(Module):
    r"""Attends with several heads, each on its own projections of queries, keys and values.

    :math:`\mathrm{concat}(head_1, ..., head_H)\, W^O` with
    :math:`head_i = \mathrm{softmax}(Q W^Q_i (K W^K_i)^\top / \sqrt{E / H})\, V W^V_i`.

    Attributes:
        in_proj_weight: projections of query, key and value, stacked ``(3E, E)``. Where `kdim` or
            `vdim` differ from `embed_dim`, there are ``q_proj_weight``, ``k_proj_weight`` and
            ``v_proj_weight`` ``(E, features)`` instead.
        in_proj_bias: ``(3E,)``, or None.
        out_proj: the layer that maps the heads' outputs.
        bias_k: with `add_bias_kv` one more key ``(1, 1, E)``.
        bias_v: its value.

    Args:
        embed_dim: E, the features of queries and outputs.
        num_heads: a divisor of E.
        dropout: probability of zeroing an attention weight in training.
        bias: whether the projections have biases.
        add_bias_kv: append a learnt key and value to the sequence.
        add_zero_attn: append a key and value of zeros.
        kdim: features of keys; None is E.
        vdim: features of values; None is E.
        batch_first: ``(N, L, E)`` instead of ``(L, N, E)``.
        dtype: of the parameters.
        rngs: random streams.

    Raises:
        ValueError: if sizes are below 1, `num_heads` does not divide E, or `dropout` is no
            probability.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.MultiheadAttention(8, num_heads=2, batch_first=True, rngs=nnx.Rngs(0))
        >>> x = jnp.ones((3, 5, 8))
        >>> output, weights = layer(x, x, x)
        >>> output.shape, weights.shape
        ((3, 5, 8), (3, 5, 5))

    Torch: ``torch.nn.MultiheadAttention``, its path with gradients; `rngs` instead of a global
    generator, no nested tensors.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        _check_sizes(embed_dim, num_heads, dropout)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        self.stream = forked_stream(rngs, dropout)

        def xavier(outputs: int, inputs: int) -> nnx.Param:
            bound = init.uniform(math.sqrt(6 / (outputs + inputs)))
            return parameter(rngs.params(), bound, (outputs, inputs), dtype)

        self.is_packed = self.kdim == self.vdim == embed_dim
        if self.is_packed:
            self.in_proj_weight = xavier(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = xavier(embed_dim, embed_dim)
            self.k_proj_weight = xavier(embed_dim, self.kdim)
            self.v_proj_weight = xavier(embed_dim, self.vdim)
        self.in_proj_bias = nnx.Param(jnp.zeros(3 * embed_dim, dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype, rngs=rngs)
        if self.out_proj.bias is not None:
            assign(self.out_proj.bias, jnp.zeros_like(self.out_proj.bias[...]))
        row = jax.nn.initializers.normal(1 / math.sqrt(embed_dim))
        shape = (1, 1, embed_dim)
        self.bias_k = parameter(rngs.params(), row, shape, dtype) if add_bias_kv else None
        self.bias_v = parameter(rngs.params(), row, shape, dtype) if add_bias_kv else None

    def __call__(
        self,
        query: Float[Array, "..."],
        key: Float[Array, "..."],
        value: Float[Array, "..."],
        key_padding_mask: Mask | None = None,
        need_weights: bool = True,
        attn_mask: Mask | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Float[Array, "..."], Float[Array, "..."] | None]:
        """Lets each query attend to the keys.

        Args:
            query: ``(L, N, E)``, with `batch_first` ``(N, L, E)``, or one sequence ``(L, E)``.
            key: ``(S, N, kdim)``, laid out as `query`.
            value: ``(S, N, vdim)``, laid out as `query`.
            key_padding_mask: ``(N, S)``, for one sequence ``(S,)``: a bool is true at keys to
                ignore (``scaled_dot_product_attention`` has the reverse), a float is added.
            need_weights: also return the weights. A query that may attend to nothing then gives
                NaN, and without weights 0 for its heads.
            attn_mask: ``(L, S)``, or for each sequence and head ``(N * H, L, S)``; as above.
            average_attn_weights: return the weights' mean over the heads.
            is_causal: says that `attn_mask` is the causal mask.

        Returns:
            ``(output, weights)``: output as `query`; weights ``(N, L, S)``, or of each head
            ``(N, H, L, S)``, or None with ``need_weights=False``. One sequence has no N.

        Raises:
            ValueError: if shapes do not fit, or `is_causal` comes without `attn_mask`.
            TypeError: if dtypes differ, or a mask is neither bool nor float.
        """
        batched = "(N, L, E)" if self.batch_first else "(L, N, E)"
        check_ndim("MultiheadAttention", "query", query, expected={2: "(L, E)", 3: batched})
        same = {query.ndim: "as query " + ("(L, E)" if query.ndim == 2 else batched)}
        check_ndim("MultiheadAttention", "key", key, expected=same)
        check_ndim("MultiheadAttention", "value", value, expected=same)
        is_single = query.ndim == 2
        queries = self._batch_first(query)
        keys = queries if key is query else self._batch_first(key)
        values = keys if value is key else self._batch_first(value)
        if key_padding_mask is not None and is_single:
            key_padding_mask = key_padding_mask[None]
        output, weights = multihead_attention(
            queries,
            keys,
            values,
            self._weights(),
            self.num_heads,
            Masks(attn_mask, key_padding_mask, is_causal),
            need_weights=need_weights,
            add_zero_attn=self.add_zero_attn,
            dropout_p=self.dropout if self.training else 0.0,
            dropout_key=draw_key(self.stream, self.training),
        )
        if weights is not None:
            weights = jnp.mean(weights, axis=1) if average_attn_weights else weights
            weights = weights[0] if is_single else weights
        if is_single:
            return output[0], weights
        return output if self.batch_first else jnp.swapaxes(output, 0, 1), weights

    def _batch_first(self, x: jax.Array) -> jax.Array:
        if x.ndim == 2:
            return x[None]
        return x if self.batch_first else jnp.swapaxes(x, 0, 1)

    def _weights(self) -> Weights:
        if self.is_packed:
            in_proj = self.in_proj_weight[...]
        else:
            names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
            in_proj = tuple(getattr(self, name)[...] for name in names)
        return Weights(
            in_proj,
            value_or_none(self.in_proj_bias),
            self.out_proj.weight[...],
            value_or_none(self.out_proj.bias),
            value_or_none(self.bias_k),
            value_or_none(self.bias_v),
        )


def _check_sizes(embed_dim: int, num_heads: int, dropout: float) -> None:
    if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
        raise ValueError(
            "MultiheadAttention: num_heads: expected a divisor of embed_dim, both at least 1, got "
            f"num_heads={num_heads}, embed_dim={embed_dim}."
        )
    if not 0 <= dropout <= 1:
        raise ValueError(
            f"MultiheadAttention: dropout: expected a probability from 0 to 1, got {dropout}."
        )
