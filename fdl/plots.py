"""Pictures of training, predictions and timings, saved to a file without a display.

Each function writes the format that the file's suffix names, ``.png`` or ``.svg`` for example, and
replaces an earlier file only when the new one is whole. Each raises ImportError where matplotlib
or seaborn is missing; ``pip install 'fdl[plots]'`` brings both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fdl._canvas import FilePath, grid, pictures, saved, show
from fdl._checks import require
from fdl.optim._lr import rate

if TYPE_CHECKING:
    import optax
    from matplotlib.axes import Axes

History = Sequence[Mapping[str, float]]

BLUE, ORANGE, RED, GREY, DARK = "#4c72b0", "#dd8452", "#c44e52", "#8c8c8c", "#262626"
WIDEST_LINEAR_RANGE = 20.0  # largest over smallest time, beyond which short bars would vanish


def training_curves(history: History, path: FilePath) -> None:
    """Draws every metric over the epochs, training and validation in one panel each.

    A dashed line marks the best epoch: the lowest ``validation_loss``, or the highest
    ``validation_accuracy`` where there is no loss.

    Args:
        history: one row an epoch, as :class:`fdl.train.Fit` holds them: ``epoch``,
            ``train_<metric>``, ``validation_<metric>`` and others; ``seconds`` is left out. A row
            may lack a metric.
        path: where to save the picture.

    Raises:
        ValueError: if `history` holds no metric.

    Example:
        ```python
        fdl.plots.training_curves(result.history, "curves.png")
        ```
    """
    columns = list(dict.fromkeys(name for row in history for name in row))
    metrics = dict.fromkeys(_metric(name) for name in columns if name not in ("epoch", "seconds"))
    if not metrics:
        raise ValueError(
            "training_curves: history: expected rows with epoch and metrics such as train_loss, "
            f"got {len(history)} rows with {columns}. Give the history that fit returns."
        )
    rows = [{"epoch": index, **row} for index, row in enumerate(history, start=1)]
    best = _best_epoch(rows)
    with saved(path, "training_curves", (4.8 * len(metrics), 3.6)) as figure:
        for axes, metric in zip(grid(figure, 1, len(metrics)), metrics, strict=True):
            _curve(axes, rows, metric, best)


def _metric(column: str) -> str:
    return column.removeprefix("train_").removeprefix("validation_")


def _best_epoch(rows: History) -> float | None:
    for name, sign in (("validation_loss", 1), ("validation_accuracy", -1)):
        finite = [row for row in rows if math.isfinite(row.get(name, math.nan))]
        if finite:
            return min(finite, key=lambda row: sign * row[name])["epoch"]
    return None


def _curve(axes: Axes, rows: History, metric: str, best: float | None) -> None:
    lines = (
        (f"train_{metric}", "training", BLUE),
        (f"validation_{metric}", "validation", ORANGE),
        (metric, metric.replace("_", " "), DARK),
    )
    for name, label, color in lines:
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        if points:
            marker = "o" if len(points) <= 30 else None
            axes.plot(*zip(*points, strict=True), color=color, label=label, marker=marker, ms=4)
    if best is not None:
        axes.axvline(best, color=DARK, ls="--", lw=1, zorder=1, label=f"best epoch, {best:g}")
    axes.set(xlabel="epoch", title=metric.replace("_", " "))
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.legend(frameon=True)


def schedule(schedules: Mapping[str, optax.Schedule], steps: int, path: FilePath) -> None:
    """Draws learning rates over the steps, and below them the momenta of those that have one.

    Args:
        schedules: name to schedule, of :mod:`fdl.optim` or Optax, or any other function of the
            step that an optimizer takes.
        steps: how many steps, from 0.
        path: where to save the picture.

    Raises:
        ValueError: if there is no schedule, or `steps` is below 1.

    Example:
        ```python
        warm = fdl.optim.one_cycle_lr(0.1, total_steps=1000)
        fdl.plots.schedule({"one cycle": warm}, 1000, "schedule.png")
        ```
    """
    if not schedules or steps < 1:
        raise ValueError(
            "schedule: expected one or more schedules and steps from 1, got "
            f"{len(schedules)} schedules and steps={steps}."
        )
    momenta = {k: getattr(s, "momentum", None) for k, s in schedules.items()}
    momenta = {name: momentum for name, momentum in momenta.items() if momentum}
    panels = {"learning rate": schedules} | ({"momentum": momenta} if momenta else {})
    colors = dict(zip(schedules, (BLUE, ORANGE, RED, GREY, DARK) * len(schedules), strict=False))
    with saved(path, "schedule", (8.0, 0.6 + 2.9 * len(panels))) as figure:
        for axes, title in zip(grid(figure, len(panels), 1), panels, strict=True):
            for name, function in panels[title].items():
                values = jax.vmap(functools.partial(rate, function))(jnp.arange(steps))
                line = {"label": name, "color": colors[name], "lw": 1.4}
                axes.plot(np.asarray(values), drawstyle="steps-post", **line)
            axes.set(xlabel="step", title=title)
            axes.margins(x=0.01)
            axes.legend(frameon=True)


def confusion_matrix(
    labels: Int[np.ndarray, " N"],
    predictions: Int[np.ndarray, " N"],
    classes: Sequence[str],
    path: FilePath,
) -> None:
    """Draws how often each class was taken for each, with the accuracy above.

    The numbers are counts; the colour is a count's share of its row, so that a rare class is as
    visible as a common one.

    Args:
        labels: true class of each example, one row of the matrix each.
        predictions: predicted class of each, one column each.
        classes: names of the classes.
        path: where to save the picture.

    Raises:
        ValueError: if the lengths differ, or are zero, or a class has no name.

    Example:
        ```python
        fdl.plots.confusion_matrix(dataset.labels, predictions, dataset.classes, "confusion.png")
        ```
    """
    labels, predictions = _class_arrays("confusion_matrix", labels, predictions, classes)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (labels, predictions), 1)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    right = counts.trace()
    side = min(2.5 + 0.5 * len(classes), 16)
    cell = 0.75 * side / len(classes)  # inches; a character takes about 0.6 of its height
    font = min(10.0, 72 * 0.8 * cell / 0.6 / len(str(counts.max())))
    seaborn = require("seaborn", extra="plots", purpose="confusion_matrix")
    with saved(path, "confusion_matrix", (side, side)) as figure:
        axes = figure.subplots()
        seaborn.heatmap(
            shares,
            annot=np.where(counts == 0, "·", counts.astype(str)),
            fmt="",
            annot_kws={"size": font},
            cmap="Blues",
            vmin=0,
            vmax=1,
            cbar=False,
            linewidths=0.5,
            xticklabels=classes,
            yticklabels=classes,
            ax=axes,
        )
        axes.tick_params(axis="x", rotation=45 if max(map(len, classes)) * 0.09 > cell else 0)
        axes.tick_params(axis="y", rotation=0)
        title = f"accuracy {right / len(labels):.2%} ({right} of {len(labels)})"
        axes.set(xlabel="predicted", ylabel="true", title=title, aspect="equal")


def sample_predictions(
    images: Float[np.ndarray, "N C H W"],
    labels: Int[np.ndarray, " N"],
    predictions: Int[np.ndarray, " N"],
    probabilities: Float[np.ndarray, " N *classes"],
    classes: Sequence[str],
    path: FilePath,
    *,
    count: int = 24,
) -> None:
    """Draws pictures titled "true → predicted (probability)": wrong ones first, in red.

    Args:
        images: of one channel or three, from 0 to 1.
        labels: true class of each image.
        predictions: predicted class of each image.
        probabilities: of the predicted class of each image, or of all classes.
        classes: names of the classes.
        path: where to save the picture.
        count: pictures at most; at most half of them, rounded up, are wrong, the others right.

    Raises:
        ValueError: if the lengths differ, or are zero, a class has no name, or a shape or `count`
            is out of range.

    Example:
        ```python
        fdl.plots.sample_predictions(images, labels, predictions, probabilities, classes, "a.png")
        ```
    """
    labels, predictions = _class_arrays("sample_predictions", labels, predictions, classes)
    images, certain = pictures("sample_predictions", images), np.asarray(probabilities)
    if certain.shape == (len(labels), len(classes)):
        certain = certain[np.arange(len(labels)), predictions]
    if certain.shape != labels.shape or len(images) != len(labels) or count < 1:
        raise ValueError(
            f"sample_predictions: expected {len(labels)} images and probabilities, as there are "
            f"labels, and count from 1, got {len(images)} images, probabilities of shape "
            f"{np.shape(probabilities)} and count={count}."
        )
    wrong = np.flatnonzero(labels != predictions)[: (count + 1) // 2]
    rows = [*wrong, *np.flatnonzero(labels == predictions)[: count - len(wrong)]]
    across = min(len(rows), 8)
    down = math.ceil(len(rows) / across)
    with saved(path, "sample_predictions", (1.5 * across + 0.2, 1.85 * down + 0.1)) as figure:
        panels = grid(figure, down, across)
        for axes, row in zip(panels, rows, strict=False):
            true = classes[labels[row]]
            predicted = f"→ {classes[predictions[row]]} ({certain[row]:.2f})"
            gap = " " if len(true + predicted) < 18 else "\n"
            color = DARK if labels[row] == predictions[row] else RED
            axes.set_title(true + gap + predicted, size=9, color=color)
            show(axes, images[row])
        for axes in panels[len(rows) :]:
            axes.set_axis_off()


def reconstructions(
    images: Float[np.ndarray, "N C H W"],
    outputs: Float[np.ndarray, "N ..."],
    path: FilePath,
    *,
    count: int = 10,
) -> None:
    """Draws originals, and below each what a model made of it.

    Args:
        images: of one channel or three, from 0 to 1.
        outputs: the reconstructions, in the images' shape or flattened.
        path: where to save the picture.
        count: pairs at most, the first ones.

    Raises:
        ValueError: if the shapes do not fit each other, there is no image, or `count` is below 1.

    Example:
        ```python
        fdl.plots.reconstructions(images, outputs, "reconstructions.png")
        ```
    """
    originals = pictures("reconstructions", images)
    shape = np.shape(outputs)
    fits = shape[:1] == originals.shape[:1] and np.size(outputs) == originals.size
    if not fits or min(count, len(originals)) < 1:
        raise ValueError(
            "reconstructions: expected one or more images, outputs of their shape or flattened, "
            f"and count from 1, got {np.shape(images)}, {shape} and count={count}."
        )
    rebuilt = pictures("reconstructions", np.reshape(outputs, np.shape(images)))
    across = min(count, len(originals))
    with saved(path, "reconstructions", (1.1 * across + 0.4, 2.6)) as figure:
        panels = grid(figure, 2, across)
        for axes, picture in zip(panels, [*originals[:across], *rebuilt[:across]], strict=True):
            show(axes, picture)
        panels[0].set_ylabel("original")
        panels[across].set_ylabel("reconstructed")


def forecast(
    target: Float[np.ndarray, " T *1"],
    prediction: Float[np.ndarray, " T *1"],
    path: FilePath,
    *,
    baseline: Float[np.ndarray, " T *1"] | None = None,
    title: str = "",
    ylabel: str = "",
) -> None:
    """Draws a series and its forecasts, each with its root mean squared error.

    Args:
        target: what came, ``(T,)`` or ``(T, 1)``.
        prediction: what was forecast for the same steps.
        path: where to save the picture.
        baseline: a simple forecast to compare with, such as the value before.
        title: of the picture.
        ylabel: what the values are, and their unit.

    Raises:
        ValueError: if the lengths differ, or a series has more than one value a step.

    Example:
        ```python
        fdl.plots.forecast(target[1:], output[1:], "forecast.png", baseline=target[:-1])
        ```
    """
    given = {"baseline": baseline, "target": target, "prediction": prediction}
    series = {name: np.asarray(values) for name, values in given.items() if values is not None}
    length = series["target"].size
    if not length or any(s.shape not in ((length,), (length, 1)) for s in series.values()):
        raise ValueError(
            "forecast: expected series of one length, (T,) or (T, 1), got "
            + ", ".join(f"{name} {values.shape}" for name, values in series.items())
            + ". Draw one feature at a time."
        )
    truth = series["target"].reshape(-1)
    styles = {"baseline": (GREY, "--"), "target": (DARK, "-"), "prediction": (ORANGE, "-")}
    with saved(path, "forecast", (9.0, 3.8)) as figure:
        axes = figure.subplots()
        for name, values in series.items():
            error = math.sqrt(np.mean((values.reshape(-1) - truth) ** 2))
            label = name if name == "target" else f"{name}, RMSE {error:.3g}"
            color, dashes = styles[name]
            axes.plot(values.reshape(-1), label=label, color=color, ls=dashes, lw=1.4)
        axes.set(xlabel="step", ylabel=ylabel, title=title)
        axes.margins(x=0.01)
        axes.legend(frameon=True)


def step_times(
    medians: Mapping[str, tuple[float, float, float]], path: FilePath, *, title: str = ""
) -> None:
    """Draws times as bars with whiskers, on a log axis where they range over more than 20 times.

    Args:
        medians: name to ``(low, median, high)``, in milliseconds, first at the top.
        path: where to save the picture.
        title: of the picture.

    Raises:
        ValueError: if there is no time, or one is not ``0 < low <= median <= high``.

    Example:
        ```python
        fdl.plots.step_times({"torch": (9, 10, 12), "fdl": (4, 5, 5.5)}, "times.png", title="LSTM")
        ```
    """
    bad = {k: t for k, t in medians.items() if not 0 < t[0] <= t[1] <= t[2] < math.inf}
    if bad or not medians:
        raise ValueError(
            "step_times: medians: expected one or more (low, median, high) in ms with "
            f"0 < low <= median <= high, got {bad or 'none'}."
        )
    low, median, high = np.array(list(medians.values()), float).T
    logarithmic = median.max() / median.min() > WIDEST_LINEAR_RANGE
    with saved(path, "step_times", (8.0, 1.2 + 0.45 * len(medians))) as figure:
        axes = figure.subplots()
        whiskers = {"xerr": (median - low, high - median), "ecolor": DARK, "capsize": 3}
        axes.barh(list(medians), median, color=BLUE, **whiskers)
        for position, (end, value) in enumerate(zip(high, median, strict=True)):
            note = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "size": 9}
            time = f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
            axes.annotate(time, (end, position), **note)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, high.max() * 1.15)
        if logarithmic:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xlim(low.min() / 2, high.max() * (high.max() / low.min()) ** 0.15)
        axes.set(xlabel="ms, log scale" if logarithmic else "ms", title=title)


def _class_arrays(
    function: str, labels: np.ndarray, predictions: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or labels.shape != predictions.shape or not len(labels):
        raise ValueError(
            f"{function}: labels, predictions: expected shape (N,) of both, one or more, got "
            f"{labels.shape} and {predictions.shape}. Of logits, take argmax(-1) first."
        )
    used = np.concatenate([labels, predictions])
    if used.min() < 0 or used.max() >= len(classes):
        raise ValueError(
            f"{function}: classes: expected a name for each class from {used.min()} to "
            f"{used.max()}, got {len(classes)} names. Check classes, and that no label is negative."
        )
    return labels, predictions
