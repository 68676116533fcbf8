"""Layers that look up learnt vectors."""

from typing import Self

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

import fdl.functional as F
from fdl._variables import assign
from fdl.functional.embedding import straight_through, wrapped
from fdl.nn._module import Dtype, Module


class _Table(Module):
    """What both layers have: the table, and how it is looked up."""

    def __init__(
        self,
        shape: tuple[int, int],
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        weight: jax.Array | None,
        dtype: Dtype,
        rngs: nnx.Rngs | None,
    ):
        name = type(self).__name__
        if min(shape) < 0:
            raise ValueError(
                f"{name}: num_embeddings, embedding_dim: expected 0 or more, got {shape}."
            )
        self.num_embeddings, self.embedding_dim = shape
        self.padding_idx = None if padding_idx is None else wrapped(name, padding_idx, shape[0])
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        if weight is None:
            if rngs is None:
                raise TypeError(
                    f"{name}: rngs: expected nnx.Rngs to draw the table from, got None. Pass "
                    "rngs=nnx.Rngs(0)."
                )
            dtype = jnp.result_type(float) if dtype is None else dtype
            weight = jax.random.normal(rngs.params(), shape, dtype)
            if self.padding_idx is not None:
                weight = weight.at[self.padding_idx].set(0)
        elif weight.shape != shape:
            raise ValueError(
                f"{name}: _weight: expected shape {shape}, as num_embeddings and embedding_dim "
                f"ask, got {weight.shape}."
            )
        self.weight = nnx.Param(weight)

    def _used(self, input: jax.Array) -> jax.Array:
        """The table to look up in; with `max_norm` this first writes the scaled rows back."""
        weight = self.weight[...]
        if self.max_norm is None:
            return weight
        scaled = F.embedding_renorm(weight, input, self.max_norm, self.norm_type)
        assign(self.weight, scaled)
        return straight_through(scaled, weight)


class Embedding(_Table):
    """Looks up a learnt vector for each id; see :func:`fdl.functional.embedding`.

    With `max_norm` the layer scales down the rows it looks up, in its own table, in training and
    evaluation: ``model.apply`` returns the table among the buffers, and ``fdl.train`` puts it back
    among the parameters.

    Attributes:
        weight: the table ``(num_embeddings, embedding_dim)``, drawn from the standard normal
            distribution, the row of `padding_idx` zero; or `_weight`.

    Raises:
        ValueError: if `padding_idx` is out of range, or `_weight` has another shape.
        TypeError: if neither `rngs` nor `_weight` is given.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.Embedding(1000, 64, padding_idx=0, rngs=nnx.Rngs(0))
        >>> layer(jnp.zeros((8, 20), int)).shape
        (8, 20, 64)

    Torch: ``torch.nn.Embedding``; `rngs` instead of a global generator. `sparse` is ignored:
    gradients are dense. A frozen table has gradient zero: leave it out of weight decay yourself.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Float[Array, "V D"] | None = None,
        _freeze: bool = False,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        shape = (num_embeddings, embedding_dim)
        super().__init__(
            shape, padding_idx, max_norm, norm_type, scale_grad_by_freq, _weight, dtype, rngs
        )
        self.sparse = sparse
        self.freeze = _freeze

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Float[Array, "V D"],
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """Makes a layer of a given table; with `freeze` its gradient is zero."""
        options = (padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        return cls(*_table_shape(cls, embeddings), *options, embeddings, freeze)

    def __call__(self, input: Int[Array, "*ids"]) -> Float[Array, "*ids D"]:
        """Maps ids of any shape to vectors, on a new last axis."""
        weight = self._used(input)
        if self.freeze:
            weight = jax.lax.stop_gradient(weight)
        by_frequency = self.scale_grad_by_freq
        return F.embedding(input, weight, self.padding_idx, scale_grad_by_freq=by_frequency)


class EmbeddingBag(_Table):
    """Looks up and reduces bags of ids; see :func:`fdl.functional.embedding_bag`.

    Attributes:
        weight: as in :class:`Embedding`, `max_norm` included.

    Raises:
        ValueError: if `padding_idx` is out of range, or `_weight` has another shape.
        TypeError: if neither `rngs` nor `_weight` is given.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.EmbeddingBag(1000, 64, mode="sum", rngs=nnx.Rngs(0))
        >>> layer(jnp.zeros(20, int), offsets=jnp.array([0, 5, 12])).shape
        (3, 64)

    Torch: ``torch.nn.EmbeddingBag``; as for :class:`Embedding`, and see the function.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Float[Array, "V D"] | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs | None = None,
    ):
        shape = (num_embeddings, embedding_dim)
        super().__init__(
            shape, padding_idx, max_norm, norm_type, scale_grad_by_freq, _weight, dtype, rngs
        )
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        self.freeze = False

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Float[Array, "V D"],
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Self:
        """Makes a layer of a given table; with `freeze` its gradient is zero."""
        options = (max_norm, norm_type, scale_grad_by_freq, mode, sparse)
        layer = cls(
            *_table_shape(cls, embeddings), *options, embeddings, include_last_offset, padding_idx
        )
        layer.freeze = freeze
        return layer

    def __call__(
        self,
        input: Int[Array, "*ids"],
        offsets: Int[Array, " B"] | None = None,
        per_sample_weights: Float[Array, "*ids"] | None = None,
    ) -> Float[Array, "B D"]:
        """Maps ``(B, L)`` ids, or ``(N,)`` ids and where each bag starts, to a vector a bag."""
        weight = self._used(input)
        if self.freeze:
            weight = jax.lax.stop_gradient(weight)
        return F.embedding_bag(
            input,
            weight,
            offsets,
            scale_grad_by_freq=self.scale_grad_by_freq,
            mode=self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )


def _table_shape(cls: type, embeddings: jax.Array) -> tuple[int, int]:
    if embeddings.ndim != 2:
        raise ValueError(
            f"{cls.__name__}: embeddings: expected a table (V, D), got shape {embeddings.shape}."
        )
    rows, columns = embeddings.shape
    return rows, columns
