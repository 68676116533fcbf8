"""fdl.plots: each picture is written whole, shows what it should, and bad input is refused."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import fdl
from fdl import plots

HISTORY = [
    {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 1 - 0.5 / epoch,
        "validation_loss": loss,
        "validation_accuracy": 0.5 + 0.1 * epoch,
        "seconds": 2.0,
    }
    for epoch, loss in enumerate([0.9, 0.5, 0.6, 0.7], start=1)
]
CLASSES = ("cat", "dog", "owl")
LABELS = np.array([0, 0, 1, 1, 2, 2, 2, 2], np.int32)
PREDICTIONS = np.array([0, 1, 1, 1, 2, 0, 2, 1], np.int32)
IMAGES = np.random.default_rng(0).uniform(size=(8, 1, 6, 6)).astype(np.float32)
SURE = np.linspace(0.3, 1.0, 8)
SERIES = np.sin(np.arange(50) / 3)
TIMES = {"fdl": (4.0, 5.0, 5.5), "torch": (9.0, 10.0, 12.0)}

SCHEDULES = {
    "one cycle": fdl.optim.one_cycle_lr(0.5, total_steps=20),
    "function": lambda step: 0.1 / (1 + step),
    "halves": fdl.optim.multi_step_lr(0.4, [10, 20], gamma=0.5),
}

CALLS = {
    "training_curves": lambda path: plots.training_curves(HISTORY, path),
    "confusion_matrix": lambda path: plots.confusion_matrix(LABELS, PREDICTIONS, CLASSES, path),
    "sample_predictions": lambda path: plots.sample_predictions(
        IMAGES, LABELS, PREDICTIONS, SURE, CLASSES, path
    ),
    "reconstructions": lambda path: plots.reconstructions(IMAGES, 1 - IMAGES, path),
    "forecast": lambda path: plots.forecast(
        SERIES[1:], SERIES[1:] + 0.1, path, baseline=SERIES[:-1], title="sine", ylabel="height"
    ),
    "step_times": lambda path: plots.step_times(TIMES, path, title="a step"),
    "schedule": lambda path: plots.schedule(SCHEDULES, 30, path),
}
every_plot = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


# --- files


@every_plot
def test_each_writes_a_picture(tmp_path, call):
    path = tmp_path / "new" / "folder" / "picture.png"
    call(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 150
    assert pixels.std() > 0.02  # not blank
    assert [each.name for each in path.parent.iterdir()] == ["picture.png"]


def test_the_suffix_names_the_format(tmp_path):
    CALLS["step_times"](str(tmp_path / "picture.svg"))
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_no_suffix_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"step_times: path: expected .* suffix such as \.png"):
        CALLS["step_times"](tmp_path / "picture")


@every_plot
def test_a_failing_plot_leaves_the_earlier_file_whole(tmp_path, call, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"earlier")

    def savefig(figure, temporary):
        temporary.write_bytes(b"half a pict")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", savefig)
    with pytest.raises(OSError, match="disk full"):
        call(path)
    assert path.read_bytes() == b"earlier"
    assert [each.name for each in tmp_path.iterdir()] == ["picture.png"]


def test_plots_leave_no_global_figure_or_style_behind(tmp_path, figures):
    import matplotlib as mpl
    from matplotlib import pyplot

    with mpl.rc_context():
        mpl.rcdefaults()
        before = dict(mpl.rcParams)
        for call in CALLS.values():
            call(tmp_path / "picture.png")
        after = dict(mpl.rcParams)
    assert len(figures) == len(CALLS)
    assert pyplot.get_fignums() == []
    assert after == before


def test_importing_plots_imports_no_matplotlib():
    code = (
        "import sys, fdl.plots; "
        "print(*sorted({'matplotlib', 'seaborn', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("missing", ["matplotlib", "seaborn"])
@every_plot
def test_a_missing_library_names_the_extra(tmp_path, call, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"needs '{missing}'.*pip install 'fdl\[plots\]'"):
        call(tmp_path / "picture.png")


# --- what they show


def curves(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def test_training_curves_pair_the_metrics_and_mark_the_best_epoch(tmp_path, figures):
    CALLS["training_curves"](tmp_path / "a.png")
    assert titles(figures[0]) == ["loss", "accuracy"]
    loss, accuracy = (curves(axes) for axes in figures[0].axes)
    assert loss["training"] == [[1, 1], [2, 1 / 2], [3, 1 / 3], [4, 1 / 4]]
    assert loss["validation"] == [[1, 0.9], [2, 0.5], [3, 0.6], [4, 0.7]]
    assert accuracy["validation"] == [[row["epoch"], row["validation_accuracy"]] for row in HISTORY]
    for panel in (loss, accuracy):
        assert panel["best epoch, 2"] == [[2, 0], [2, 1]]


def without(*names):
    return [{k: v for k, v in row.items() if k not in names} for row in HISTORY]


@pytest.mark.parametrize(
    ("history", "best"),
    [
        (without("validation_loss"), ["best epoch, 4"]),
        (without("validation_loss", "validation_accuracy"), []),
        ([{**HISTORY[0], "validation_loss": float("nan")}, *HISTORY[1:]], ["best epoch, 2"]),
        ([*HISTORY, {**HISTORY[1], "epoch": 5}], ["best epoch, 2"]),  # the first of equals
    ],
)
def test_training_curves_choose_the_best_epoch(tmp_path, figures, history, best):
    plots.training_curves(history, tmp_path / "a.png")
    for axes in figures[0].axes:
        assert [label for label in curves(axes) if label.startswith("best")] == best


def test_training_curves_of_other_metrics_and_gaps(tmp_path, figures):
    rows = [{"train_top_5": 0.1, "learning_rate": 1.0}, {"learning_rate": 0.5}]
    plots.training_curves(rows, tmp_path / "a.png")
    assert titles(figures[0]) == ["top 5", "learning rate"]
    assert curves(figures[0].axes[0]) == {"training": [[1, 0.1]]}
    assert curves(figures[0].axes[1]) == {"learning rate": [[1, 1.0], [2, 0.5]]}


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "seconds": 2.0}]])
def test_training_curves_refuse_a_history_without_metrics(tmp_path, history):
    with pytest.raises(ValueError, match=r"history: expected rows with epoch and metrics"):
        plots.training_curves(history, tmp_path / "a.png")


def test_schedules_are_lines_with_the_momenta_below(tmp_path, figures):
    CALLS["schedule"](tmp_path / "a.png")
    assert titles(figures[0]) == ["learning rate", "momentum"]
    rates, momenta = (
        {line.get_label(): line.get_ydata() for line in axes.get_lines()}
        for axes in figures[0].axes
    )
    assert list(rates) == list(SCHEDULES)
    for name, schedule in SCHEDULES.items():
        assert len(rates[name]) == 30
        for step in (0, 9, 10, 29):
            assert rates[name][step] == pytest.approx(float(schedule(step)))
    cycle = SCHEDULES["one cycle"]
    assert list(momenta) == ["one cycle"]
    assert momenta["one cycle"][5] == pytest.approx(float(cycle.momentum(5)))
    colors = [line.get_color() for line in figures[0].axes[0].get_lines()]
    assert len(set(colors)) == 3
    assert figures[0].axes[1].get_lines()[0].get_color() == colors[0]


def test_schedules_without_momentum_have_one_panel(tmp_path, figures):
    plots.schedule({"halves": SCHEDULES["halves"]}, 5, tmp_path / "a.png")
    assert titles(figures[0]) == ["learning rate"]


@pytest.mark.parametrize(("schedules", "steps"), [({}, 5), (SCHEDULES, 0)])
def test_schedules_refuse_nothing(tmp_path, schedules, steps):
    with pytest.raises(ValueError, match=r"schedule: expected one or more .* steps from 1, got"):
        plots.schedule(schedules, steps, tmp_path / "a.png")


def test_confusion_matrix_counts_true_rows_and_predicted_columns(tmp_path, figures):
    CALLS["confusion_matrix"](tmp_path / "a.png")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts] == ["1", "1", "·", "·", "2", "·", "1", "1", "2"]
    shares = axes.collections[0].get_array().reshape(3, 3)
    np.testing.assert_array_equal(shares, [[0.5, 0.5, 0], [0, 1, 0], [0.25, 0.25, 0.5]])
    assert axes.get_title() == "accuracy 62.50% (5 of 8)"
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true", "predicted")
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == list(CLASSES)


def test_confusion_matrix_of_a_class_that_never_occurs(tmp_path, figures):
    plots.confusion_matrix(LABELS, LABELS, (*CLASSES, "emu"), tmp_path / "a.png")
    assert figures[0].axes[0].get_title() == "accuracy 100.00% (8 of 8)"


@pytest.mark.parametrize("name", ["confusion_matrix", "sample_predictions"])
@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (LABELS[:3], PREDICTIONS, r"expected shape \(N,\) of both.*got \(3,\) and \(8,\)"),
        (LABELS[:0], PREDICTIONS[:0], r"one or more, got \(0,\) and \(0,\)"),
        (LABELS, np.zeros((8, 3)), r"got \(8,\) and \(8, 3\).*argmax"),
        (LABELS + 1, PREDICTIONS, "a name for each class from 0 to 3, got 3 names"),
        (LABELS, PREDICTIONS - 1, "from -1 to 2, got 3 names"),
    ],
)
def test_classes_are_checked(tmp_path, name, labels, predictions, message):
    given = {"labels": labels, "predictions": predictions, "classes": CLASSES}
    if name == "sample_predictions":
        given |= {"images": IMAGES, "probabilities": SURE}
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        getattr(plots, name)(**given, path=tmp_path / "a.png")


@pytest.mark.parametrize("shape", [(49,), (49, 1)])
def test_forecast_draws_each_series_with_its_error(tmp_path, figures, shape):
    target, baseline = SERIES[1:].reshape(shape), SERIES[:-1].reshape(shape)
    path = tmp_path / "a.png"
    plots.forecast(target, target + 0.25, path, baseline=baseline, title="sine", ylabel="height")
    (axes,) = figures[0].axes
    error = np.sqrt(np.mean((SERIES[1:] - SERIES[:-1]) ** 2))
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    assert set(lines) == {"target", "prediction, RMSE 0.25", f"baseline, RMSE {error:.3g}"}
    np.testing.assert_array_equal(lines["target"], SERIES[1:])
    np.testing.assert_array_equal(lines["prediction, RMSE 0.25"], SERIES[1:] + 0.25)
    assert (axes.get_title(), axes.get_ylabel()) == ("sine", "height")


def test_forecast_without_a_baseline(tmp_path, figures):
    plots.forecast(SERIES, SERIES, tmp_path / "a.png")
    assert len(figures[0].axes[0].get_lines()) == 2


@pytest.mark.parametrize(
    ("target", "prediction", "baseline"),
    [
        (SERIES, SERIES[1:], None),
        (SERIES, SERIES, SERIES[1:]),
        (SERIES[:0], SERIES[:0], None),
        (SERIES.reshape(25, 2), SERIES.reshape(25, 2), None),
        (SERIES, SERIES.reshape(25, 2), None),
        (np.float32(1), np.float32(1), None),
    ],
)
def test_forecast_refuses(tmp_path, target, prediction, baseline):
    with pytest.raises(ValueError, match=r"forecast: expected series of one length.*got .*target"):
        plots.forecast(target, prediction, tmp_path / "a.png", baseline=baseline)


def test_step_times_are_bars_from_the_top_with_whiskers(tmp_path, figures):
    CALLS["step_times"](tmp_path / "a.png")
    (axes,) = figures[0].axes
    assert [bar.get_width() for bar in axes.patches] == [5, 10]
    assert [text.get_text() for text in axes.texts] == ["5 ms", "10 ms"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["fdl", "torch"]
    whiskers = axes.collections[0].get_segments()
    np.testing.assert_allclose([line[:, 0] for line in whiskers], [[4, 5.5], [9, 12]])
    assert axes.yaxis_inverted()
    assert (axes.get_xscale(), axes.get_title()) == ("linear", "a step")


@pytest.mark.parametrize(("slow", "scale"), [(20.0, "linear"), (20.1, "log")])
def test_step_times_turn_logarithmic_beyond_twenty(tmp_path, figures, slow, scale):
    times = {"a": (1, 1, 1), "b": (slow, slow, slow * 9)}
    plots.step_times(times, tmp_path / "a.png")
    (axes,) = figures[0].axes
    assert axes.get_xscale() == scale
    assert axes.get_xlim()[0] < 1
    assert axes.get_xlim()[1] > slow * 9
    assert ("log" in axes.get_xlabel()) == (scale == "log")


@pytest.mark.parametrize(
    ("times", "got"),
    [
        ({}, "none"),
        ({"a": (1, 2, 3), "b": (3, 2, 4)}, r"\{'b': \(3, 2, 4\)\}"),
        ({"a": (1, 3, 2)}, r"\{'a': "),
        ({"a": (0, 1, 2)}, r"\{'a': "),
        ({"a": (1, 2, float("inf"))}, r"\{'a': "),
        ({"a": (1, float("nan"), 2)}, r"\{'a': "),
    ],
)
def test_step_times_refuse(tmp_path, times, got):
    with pytest.raises(ValueError, match=f"step_times: medians: expected one or more.*got {got}"):
        plots.step_times(times, tmp_path / "a.png", title="")
