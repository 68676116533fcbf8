"""The training loop: epochs, validation, early stop."""

import math
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fdl._types import Buffers, Params
from fdl.data import batches, num_batches
from fdl.train.objective import LossFn
from fdl.train.predict import evaluate
from fdl.train.step import State, Step, make_step

Row = dict[str, float]


class Fit(NamedTuple):
    """What :func:`fit` returns.

    Attributes:
        params: of the epoch with the lowest validation loss; of the last without validation data.
        buffers: likewise.
        state: after the last step, to go on training from.
        history: one row an epoch: ``epoch``, ``train_loss``, each ``train_<metric>``, with
            validation data ``validation_loss`` and each ``validation_<metric>``, and ``seconds``.
        best_epoch: the epoch of `params`, counted from 1.
    """

    params: Params
    buffers: Buffers
    state: State
    history: list[Row]
    best_epoch: int


def fit(
    state: State,
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    train_data: Sequence[np.ndarray],
    validation_data: Sequence[np.ndarray] | None = None,
    *,
    epochs: int,
    batch_size: int = 64,
    patience: int | None = None,
    progress: bool = True,
) -> Fit:
    """Trains for some epochs and keeps the weights that were best on validation data.

    Each epoch sees the rows in a new order. Rows that do not fill a last batch wait for the next
    epoch's order, so that one program serves all steps.

    Args:
        state: where to start, from :func:`fdl.train.init_state` or an earlier :class:`Fit`. It is
            copied, not donated.
        loss_fn: as :func:`fdl.train.supervised` makes it.
        optimizer: the one that `state` was made with.
        train_data: arrays ``(*inputs, target)`` with equal first axes.
        validation_data: likewise, or None.
        epochs: passes over the training data, at most.
        batch_size: rows in one step; all rows where there are fewer.
        patience: stop after so many epochs without a lower validation loss; None never stops.
        progress: show a progress bar and one line an epoch.

    Returns:
        A :class:`Fit`.

    Raises:
        ValueError: if `epochs` or `patience` is out of range, or `patience` has nothing to watch.
        FloatingPointError: as soon as a loss is seen that is not finite.
    """
    if epochs < 1:
        raise ValueError(f"fit: epochs: expected 1 or more, got {epochs}.")
    if patience is not None and (patience < 1 or validation_data is None):
        raise ValueError(
            f"fit: patience: expected 1 or more, together with validation_data, got {patience} and "
            f"{'no' if validation_data is None else 'some'} validation_data."
        )
    step = make_step(loss_fn, optimizer)
    state = jax.tree.map(jnp.copy, state)
    batch_size = min(batch_size, len(train_data[0]))
    history: list[Row] = []
    best, lowest = Fit(state.params, state.buffers, state, history, 0), math.inf
    steps = epochs * num_batches(len(train_data[0]), batch_size, drop_last=True)
    with _display(steps, visible=progress) as display:
        for epoch in range(1, epochs + 1):
            start = time.perf_counter()
            state, row = _train_epoch(step, state, train_data, batch_size, display)
            if validation_data is not None:
                measured = evaluate(loss_fn, state.params, state.buffers, validation_data)
                _check_finite(measured, validation_data)
                row |= _columns("validation", measured)
            history.append({"epoch": epoch, **row, "seconds": time.perf_counter() - start})
            display.console.print(_line(history[-1], epochs), highlight=False, soft_wrap=True)
            watched = row.get("validation_loss", -math.inf)
            if watched < lowest or validation_data is None:
                params, buffers = jax.tree.map(jnp.copy, (state.params, state.buffers))
                best, lowest = Fit(params, buffers, state, history, epoch), watched
            elif patience is not None and epoch - best.best_epoch >= patience:
                break
    return best._replace(state=state)


def _train_epoch(
    step: Step, state: State, data: Sequence[np.ndarray], batch_size: int, display: "_Display"
) -> tuple[State, Row]:
    _, shuffling = jax.random.split(state.key)
    seed = int(jax.random.bits(jax.random.fold_in(shuffling, state.step)))
    measured = []
    for batch in batches(data, batch_size, seed=seed, drop_last=True):
        state, metrics = step(state, batch)
        if not measured:
            _check_finite(metrics, data)
        measured.append(metrics)
        display.advance()
    metrics = jax.tree.map(lambda *values: np.mean(values), *jax.device_get(measured))
    _check_finite(metrics, data)
    return state, _columns("train", metrics)


def _columns(part: str, metrics: dict[str, Any]) -> Row:
    """Names metrics for the history, the loss first: ``jax.jit`` has sorted them."""
    names = sorted(metrics, key=lambda name: (name != "loss", name))
    return {f"{part}_{name}": float(metrics[name]) for name in names}


def _check_finite(metrics: dict[str, Any], data: Sequence[np.ndarray]) -> None:
    if math.isfinite(metrics["loss"]):
        return
    target = data[-1]
    raise FloatingPointError(
        f"fit: expected a finite loss, got {float(metrics['loss'])}. Check that the targets, which "
        f"go from {target.min()} to {target.max()}, are ones that the model can give (class "
        "indices below its number of outputs), that the inputs are finite, and that the learning "
        "rate is not too large."
    )


def _line(row: Row, epochs: int) -> str:
    """The row as one line: ``epoch 3/10  train loss 0.1200 accuracy 0.9600  ...  1.2 s``."""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    for part in ("train", "validation"):
        names = [name for name in row if name.startswith(f"{part}_")]
        if names:
            metrics = (f"{name.removeprefix(f'{part}_')} {row[name]:.4f}" for name in names)
            parts.append(f"{part} " + " ".join(metrics))
    return "  ".join([*parts, f"{row['seconds']:.1f} s"])


class _Display(NamedTuple):
    console: Console
    bar: Progress
    task: Any

    def advance(self) -> None:
        self.bar.advance(self.task)


@contextmanager
def _display(steps: int, *, visible: bool) -> Generator[_Display]:
    console = Console(quiet=not visible)
    columns = TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Display(console, bar, bar.add_task("training", total=steps))
