"""Going through arrays in batches, and through a series in windows."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Shaped


def num_batches(n: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Counts the batches that :func:`batches` gives.

    Args:
        n: number of examples.
        batch_size: examples in a batch.
        drop_last: leave out a last batch that is not full.

    Returns:
        ``n / batch_size``, rounded down with `drop_last`, else up.

    Raises:
        ValueError: if `batch_size` is below 1, or `drop_last` would leave no batch.

    Example:
        >>> import fdl
        >>> fdl.data.num_batches(10, 4), fdl.data.num_batches(10, 4, drop_last=True)
        (3, 2)
    """
    if batch_size < 1:
        raise ValueError(f"batches: batch_size: expected 1 or more, got {batch_size}.")
    if drop_last and n < batch_size:
        raise ValueError(
            f"batches: batch_size: expected at most {n}, the number of examples, with drop_last, "
            f"got {batch_size}. Use a smaller batch_size, or keep the last batch."
        )
    return n // batch_size if drop_last else -(-n // batch_size)


def batches(
    arrays: Sequence[np.ndarray],
    batch_size: int,
    *,
    seed: int | None = None,
    drop_last: bool = False,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Goes through arrays once, some rows of each at a time.

    Args:
        arrays: arrays with equal first axis, such as ``(images, labels)``.
        batch_size: rows in a batch.
        seed: shuffle with this seed, a new one every epoch; None keeps the order.
        drop_last: leave out a last batch that is not full, so that all have one shape.

    Returns:
        An iterator of tuples, as many arrays in each as in `arrays`. Without `seed` they are
        views of `arrays`.

    Raises:
        TypeError: if `arrays` is an array itself.
        ValueError: if the first axes differ, `batch_size` is below 1, or `drop_last` would leave
            no batch.

    Example:
        >>> import fdl, numpy as np
        >>> [x.tolist() for x, in fdl.data.batches((np.arange(5),), 2)]
        [[0, 1], [2, 3], [4]]

    Torch: ``torch.utils.data.DataLoader(TensorDataset(*arrays), batch_size, shuffle=...)``.
    """
    if not isinstance(arrays, Sequence):
        raise TypeError(
            f"batches: arrays: expected a tuple of arrays, got {type(arrays).__name__}. "
            "Write (images, labels), or (images,) for one."
        )
    columns = [np.asarray(array) for array in arrays]
    if len({column.shape[:1] for column in columns}) != 1 or columns[0].ndim == 0:
        raise ValueError(
            "batches: arrays: expected one or more arrays with equal first axis, got shapes "
            f"{[column.shape for column in columns]}. Of a dataset, give (images, labels)."
        )
    count = num_batches(len(columns[0]), batch_size, drop_last=drop_last)
    return _batches(columns, batch_size, count, seed)


def _batches(
    columns: Sequence[np.ndarray], batch_size: int, count: int, seed: int | None
) -> Iterator[tuple[np.ndarray, ...]]:
    order = None if seed is None else np.random.default_rng(seed).permutation(len(columns[0]))
    for start in range(0, count * batch_size, batch_size):
        rows = slice(start, start + batch_size)
        yield tuple(column[rows if order is None else order[rows]] for column in columns)


def windows(
    series: Shaped[np.ndarray, " T *F"], length: int, *, horizon: int = 1
) -> tuple[Shaped[np.ndarray, "N L F"], Shaped[np.ndarray, "N F"]]:
    r"""Cuts a series into the pasts and futures that a forecaster learns from.

    .. math::
        input_i = (s_i, \dots, s_{i + L - 1}), \quad target_i = s_{i + L - 1 + horizon},
        \quad N = T - L - horizon + 1

    Args:
        series: T steps in time of one value, ``(T,)``, or of F, ``(T, F)``.
        length: L, steps in an input.
        horizon: how many steps after its input's last the target is.

    Returns:
        Inputs ``(N, L, F)`` and targets ``(N, F)``, copies in the dtype of `series`.

    Raises:
        ValueError: if the series has another rank or is too short, or an argument is below 1.

    Example:
        >>> import fdl, numpy as np
        >>> inputs, targets = fdl.data.windows(np.arange(5), 3)
        >>> inputs[..., 0].tolist(), targets[..., 0].tolist()
        ([[0, 1, 2], [1, 2, 3]], [3, 4])
    """
    series = np.asarray(series)
    if series.ndim not in (1, 2):
        raise ValueError(
            f"windows: series: expected shape (T,) or (T, F), got {series.shape}. Cut each series "
            "by itself."
        )
    if length < 1 or horizon < 1:
        raise ValueError(
            f"windows: length, horizon: expected 1 or more, got {length} and {horizon}."
        )
    if len(series) < length + horizon:
        raise ValueError(
            f"windows: series: expected at least length + horizon = {length + horizon} steps, got "
            f"{len(series)}. Use a longer series or a shorter window."
        )
    columns = series[:, None] if series.ndim == 1 else series  # (T, F)
    views = np.lib.stride_tricks.sliding_window_view(columns[:-horizon], length, axis=0)
    return views.swapaxes(1, 2).copy(), columns[length + horizon - 1 :].copy()
