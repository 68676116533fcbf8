"""Lookups in tables of vectors."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fdl._checks import check_same_dtype


def embedding(
    input: Int[Array, "*ids"],
    weight: Float[Array, "V D"],
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Float[Array, "*ids D"]:
    """Looks up a row of the table for each id.

    Args:
        input: ids, 0 to V - 1, of any shape.
        weight: the table ``(V, D)``.
        padding_idx: this id gets no gradient; negative ones count from the end.
        max_norm: rows looked up whose norm is larger are first scaled down to it, as
            :func:`embedding_renorm` does; the gradient passes as if they were not.
        norm_type: which p-norm.
        scale_grad_by_freq: whether the gradient of a row is divided by how often it was looked up.
        sparse: ignored: gradients are dense arrays.

    Returns:
        The rows. Where an id is out of range under ``jax.jit``, which cannot raise, its row is NaN.

    Raises:
        ValueError: if an id or `padding_idx` is out of range, or the table is not 2-D.
        TypeError: if the ids are not integers.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.embedding(jnp.array([2, 0]), jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist()
        [[5.0, 6.0], [1.0, 2.0]]

    Torch: ``torch.nn.functional.embedding``; the table is not changed in place, see
    :func:`embedding_renorm`; `sparse` is ignored.
    """
    del sparse
    _check_ids("embedding", input, weight)
    padding = _padding("embedding", padding_idx, weight)
    if max_norm is not None:
        weight = straight_through(embedding_renorm(weight, input, max_norm, norm_type), weight)
    return _rows(input, weight, padding, scale_grad_by_freq)


def embedding_renorm(
    weight: Float[Array, "V D"],
    input: Int[Array, "*ids"],
    max_norm: float,
    norm_type: float = 2.0,
) -> Float[Array, "V D"]:
    r"""Scales down the rows that are looked up and longer than allowed.

    :math:`w_i \leftarrow w_i \, m / (\|w_i\|_p + 10^{-7})` where :math:`\|w_i\|_p > m`.

    Args:
        weight: the table ``(V, D)``.
        input: ids of the rows.
        max_norm: :math:`m`.
        norm_type: :math:`p`.

    Returns:
        The new table, without a gradient.

    Raises:
        ValueError: if an id is out of range, or the table is not 2-D.
        TypeError: if the ids are not integers.

    Torch: ``torch.embedding_renorm_``; returns the table instead of changing it.
    """
    _check_ids("embedding_renorm", input, weight)
    weight = jax.lax.stop_gradient(weight)
    rows = _taken(weight, input)
    norm = jnp.linalg.norm(rows, norm_type, axis=-1, keepdims=True)
    rows = jnp.where(norm > max_norm, rows * (max_norm / (norm + 1e-7)), rows)
    return weight.at[input].set(rows, mode="drop", wrap_negative_indices=False)


def embedding_bag(
    input: Int[Array, "*ids"],
    weight: Float[Array, "V D"],
    offsets: Int[Array, " B"] | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Float[Array, "*ids"] | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Float[Array, "B D"]:
    """Looks up rows of the table, and takes sum, mean or maximum over bags of them.

    Args:
        input: ids ``(B, L)``, each row a bag; or ``(N,)``, all bags in one.
        weight: the table ``(V, D)``.
        offsets: for 1-D ids, where each bag starts: ``(B,)``, ascending, the first 0.
        max_norm: see :func:`embedding`.
        norm_type: see :func:`embedding`.
        scale_grad_by_freq: see :func:`embedding`; not for ``"max"``.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        sparse: ignored: gradients are dense arrays.
        per_sample_weights: factors of the rows, in the shape of `input`; for ``"sum"`` only.
        include_last_offset: whether `offsets` has one more entry, the end of the last bag. The
            last bag goes to the end of the ids all the same.
        padding_idx: this id is left out, of the count of a mean too; negative ones count from the
            end.

    Returns:
        One row for each bag; zeros for an empty bag. A bag with an id out of range is NaN under
        ``jax.jit``, which cannot raise.

    Raises:
        ValueError: if an id, offset or option is out of range, or they do not go together.
        TypeError: if ids or offsets are not integers, or the dtypes of the floats differ.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> table = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        >>> F.embedding_bag(jnp.array([2, 0, 1]), table, jnp.array([0, 2]), mode="sum").tolist()
        [[6.0, 8.0], [3.0, 4.0]]

    Torch: ``torch.nn.functional.embedding_bag``; the table is not changed in place, `sparse` is
    ignored, offsets must ascend. Torch's CPU kernel divides by counts of wrong ids with
    `scale_grad_by_freq` where the counts differ; here each row's gradient is divided by its own.
    Where the last of the offsets is not the end of the ids, torch does this in float64, and in
    float32 leaves the rest out.
    """
    del sparse
    _check_bag(input, weight, offsets, per_sample_weights, mode, scale_grad_by_freq)
    padding = _padding("embedding_bag", padding_idx, weight)
    if max_norm is not None:
        weight = straight_through(embedding_renorm(weight, input, max_norm, norm_type), weight)
    if offsets is None:
        bags, bag = input.shape[0], jnp.repeat(jnp.arange(input.shape[0]), input.shape[1])
    else:
        bags = len(offsets) - include_last_offset
        starts = jnp.zeros(input.size + 1, int).at[offsets[:bags]].add(1)
        bag = jnp.cumsum(starts)[:-1] - 1
    ids = input.reshape(-1)
    rows = _rows(ids, weight, padding, scale_grad_by_freq)
    used = jnp.ones(ids.shape, bool) if padding is None else ids != padding
    if mode == "max":
        outside = (ids < 0) | (ids >= len(weight))
        return _maximum(rows, bag, bags, used, outside)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1, 1)
    rows = jnp.where(used[:, None], rows, jnp.zeros_like(rows))
    total = jax.ops.segment_sum(rows, bag, bags)
    if mode == "sum":
        return total
    count = jnp.maximum(jax.ops.segment_sum(used.astype(int), bag, bags), 1)
    return total / count[:, None].astype(total.dtype)


def one_hot(tensor: Int[Array, "*ids"], num_classes: int = -1) -> Int[Array, "*ids classes"]:
    """Writes each class as a vector that is 1 at its place and 0 elsewhere.

    Args:
        tensor: classes, 0 to ``num_classes - 1``, of any shape.
        num_classes: length of the vectors; -1 is one more than the largest class, which is known
            outside of ``jax.jit`` only.

    Returns:
        Integers of the dtype of `tensor`. A class out of range gives zeros under ``jax.jit``,
        which cannot raise.

    Raises:
        ValueError: if a class is out of range, or `num_classes` is -1 under ``jax.jit`` or with no
            classes.
        TypeError: if the classes are not integers.

    Example:
        >>> import jax.numpy as jnp, fdl.functional as F
        >>> F.one_hot(jnp.array([0, 2])).tolist()
        [[1, 0, 0], [0, 0, 1]]

    Torch: ``torch.nn.functional.one_hot``; takes all integers, and returns their dtype.
    """
    _check_integers("one_hot", "tensor", tensor)
    concrete = not isinstance(tensor, jax.core.Tracer)
    if num_classes == -1:
        if not concrete or tensor.size == 0:
            raise ValueError(
                "one_hot: num_classes: expected the number of classes, got -1, and the classes "
                f"are {'none' if concrete else 'not known under jax.jit'}. Pass num_classes."
            )
        num_classes = int(np.asarray(tensor).max()) + 1
    if num_classes < 1 and tensor.size:
        raise ValueError(f"one_hot: num_classes: expected at least 1, or -1, got {num_classes}.")
    _check_range("one_hot", "tensor", tensor, num_classes)
    return (tensor[..., None] == jnp.arange(num_classes, dtype=tensor.dtype)).astype(tensor.dtype)


@jax.custom_jvp
def straight_through(value: jax.Array, source: jax.Array) -> jax.Array:
    """Returns `value`, and differentiates as if it were `source`, an array of the same shape."""
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    return straight_through(*primals), tangents[1]


def _rows(ids: jax.Array, weight: jax.Array, padding: int | None, by_frequency: bool) -> jax.Array:
    """The rows of the table, with their gradients left out or scaled as the options ask."""
    rows = _taken(weight, ids)
    if padding is not None:
        rows = jnp.where((ids == padding)[..., None], jax.lax.stop_gradient(rows), rows)
    if by_frequency:
        counts = jnp.zeros(len(weight), int).at[ids].add(1, wrap_negative_indices=False)[ids]
        scaled = rows / jnp.maximum(counts, 1)[..., None].astype(rows.dtype)
        rows = straight_through(rows, scaled)
    return rows


def _taken(weight: jax.Array, ids: jax.Array) -> jax.Array:
    return weight.at[ids].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


def _maximum(
    rows: jax.Array, bag: jax.Array, bags: int, used: jax.Array, outside: jax.Array
) -> jax.Array:
    """The first of the largest in each bag; NaN counts only where it comes first, as in torch."""
    if len(rows) == 0:
        return jnp.zeros_like(rows, shape=(bags, rows.shape[1]))
    place = jnp.arange(len(rows))
    first = jax.ops.segment_min(jnp.where(used, place, len(rows)), bag, bags)
    leads = used & (place == first[jnp.clip(bag, 0)])
    low, high = jnp.full_like(rows, -jnp.inf), jnp.full_like(rows, jnp.inf)
    key = jnp.where(jnp.isnan(rows), jnp.where((leads | outside)[:, None], high, low), rows)
    key = jax.lax.stop_gradient(key)
    largest = jax.ops.segment_max(jnp.where(used[:, None], key, low), bag, bags)
    wins = used[:, None] & (key == largest[jnp.clip(bag, 0)])
    winner = jax.ops.segment_min(jnp.where(wins, place[:, None], len(rows)), bag, bags)
    output = jnp.take_along_axis(rows, jnp.minimum(winner, len(rows) - 1), axis=0)
    return jnp.where(winner < len(rows), output, jnp.zeros_like(output))


def _check_integers(function: str, name: str, value: jax.Array) -> None:
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(
            f"{function}: {name}: expected integers, got {value.dtype}. Convert with x.astype(int)."
        )


def _check_range(function: str, name: str, value: jax.Array, stop: int) -> None:
    if isinstance(value, jax.core.Tracer) or value.size == 0:
        return
    values = np.asarray(value)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= stop:
        raise ValueError(
            f"{function}: {name}: expected numbers from 0 to {stop - 1}, got {low} to {high}. "
            "Check the vocabulary, and that no label such as -100 is left in."
        )


def _check_ids(function: str, input: jax.Array, weight: jax.Array) -> None:
    if weight.ndim != 2:
        raise ValueError(
            f"{function}: weight: expected a table (V, D), got shape {weight.shape}. The ids come "
            "first, then the table."
        )
    _check_integers(function, "input", input)
    _check_range(function, "input", input, len(weight))


def _padding(function: str, padding_idx: int | None, weight: jax.Array) -> int | None:
    return None if padding_idx is None else wrapped(function, padding_idx, len(weight))


def wrapped(function: str, padding_idx: int, rows: int) -> int:
    """`padding_idx` counted from the start.

    Raises:
        ValueError: if it is out of range.
    """
    if not -rows <= padding_idx < rows:
        raise ValueError(
            f"{function}: padding_idx: expected {-rows} to {rows - 1}, within the table, got "
            f"{padding_idx}."
        )
    return padding_idx % rows


def _check_bag(input, weight, offsets, per_sample_weights, mode, scale_grad_by_freq) -> None:
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"embedding_bag: mode: expected 'sum', 'mean' or 'max', got {mode!r}.")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError(
            "embedding_bag: scale_grad_by_freq: expected False with mode='max', got True."
        )
    _check_ids("embedding_bag", input, weight)
    if input.ndim not in (1, 2) or (input.ndim == 2) != (offsets is None):
        raise ValueError(
            "embedding_bag: input, offsets: expected (B, L) ids without offsets, or (N,) ids with "
            f"them, got {input.shape} {'without' if offsets is None else 'with'} offsets."
        )
    if offsets is not None:
        _check_offsets(offsets, input.size)
    if per_sample_weights is None:
        return
    if mode != "sum":
        raise ValueError(
            f"embedding_bag: per_sample_weights: expected None with mode={mode!r}, got weights. "
            "Only mode='sum' takes them."
        )
    if per_sample_weights.shape != input.shape:
        raise ValueError(
            f"embedding_bag: per_sample_weights: expected the shape of input, {input.shape}, got "
            f"{per_sample_weights.shape}."
        )
    check_same_dtype("embedding_bag", weight=weight, per_sample_weights=per_sample_weights)


def _check_offsets(offsets: jax.Array, ids: int) -> None:
    _check_integers("embedding_bag", "offsets", offsets)
    if offsets.ndim != 1:
        raise ValueError(f"embedding_bag: offsets: expected (B,), got shape {offsets.shape}.")
    if isinstance(offsets, jax.core.Tracer) or len(offsets) == 0:
        return
    values = np.asarray(offsets)
    if values[0] != 0 or values[-1] > ids or (np.diff(values) < 0).any():
        raise ValueError(
            f"embedding_bag: offsets: expected to ascend from 0 to at most {ids}, the number of "
            f"ids, got {values.tolist()}."
        )
