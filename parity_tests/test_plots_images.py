"""fdl.plots, its pictures of images: which are shown, in which order, under which titles."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from test_plots import CALLS, CLASSES, IMAGES, LABELS, PREDICTIONS, SURE, titles

from fdl import plots


def test_sample_predictions_show_the_wrong_ones_first_and_in_red(tmp_path, figures):
    CALLS["sample_predictions"](tmp_path / "a.png")
    rows = [1, 5, 7, 0, 2, 3, 4, 6]
    assert titles(figures[0]) == [
        f"{CLASSES[LABELS[i]]} → {CLASSES[PREDICTIONS[i]]} ({SURE[i]:.2f})" for i in rows
    ]
    for axes, row in zip(figures[0].axes, rows, strict=True):
        color = plots.RED if row in (1, 5, 7) else plots.DARK
        assert to_hex(axes.title.get_color()) == color
        np.testing.assert_array_equal(axes.images[0].get_array(), IMAGES[row, 0])


@pytest.mark.parametrize(
    ("count", "rows"), [(4, [1, 5, 0, 2]), (3, [1, 5, 0]), (1, [1]), (7, [1, 5, 7, 0, 2, 3, 4])]
)
def test_sample_predictions_keep_half_for_the_right_ones(tmp_path, figures, count, rows):
    path = tmp_path / "a.png"
    plots.sample_predictions(IMAGES, LABELS, PREDICTIONS, SURE, CLASSES, path, count=count)
    shown = [axes.images[0].get_array() for axes in figures[0].axes]
    np.testing.assert_array_equal(shown, IMAGES[rows, 0])


def test_sample_predictions_take_the_predicted_classs_probability(tmp_path, figures):
    table = np.arange(24).reshape(8, 3) / 100
    path = tmp_path / "a.png"
    plots.sample_predictions(IMAGES, LABELS, PREDICTIONS, table, CLASSES, path, count=1)
    assert titles(figures[0]) == ["cat → dog (0.04)"]


def test_sample_predictions_break_long_titles_and_hide_unused_panels(tmp_path, figures):
    images = np.repeat(IMAGES, 2, axis=0)[:11].repeat(3, axis=1)
    wrong = np.ones(11, int)
    long = ("T-shirt/top", "Ankle boot")
    path = tmp_path / "a.png"
    plots.sample_predictions(images, 1 - wrong, wrong, np.ones(11), long, path)
    assert titles(figures[0]) == ["T-shirt/top\n→ Ankle boot (1.00)"] * 11 + [""] * 5
    assert [axes.axison for axes in figures[0].axes] == [True] * 11 + [False] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES[:7]}, "expected 8 images .* got 7 images"),
        ({"probabilities": SURE[:7]}, r"probabilities of shape \(7,\)"),
        ({"probabilities": np.ones((8, 2))}, r"probabilities of shape \(8, 2\)"),
        ({"images": IMAGES[:, 0]}, r"images: expected shape \(N, 1, H, W\) .* got \(8, 6, 6\)"),
        ({"images": IMAGES.repeat(2, axis=1)}, r"got \(8, 2, 6, 6\)"),
        ({"count": 0}, "count from 1, .* count=0"),
    ],
)
def test_sample_predictions_refuse(tmp_path, change, message):
    given: dict[str, Any] = {"images": IMAGES, "probabilities": SURE, "count": 24, **change}
    with pytest.raises(ValueError, match=f"sample_predictions: .*{message}"):
        plots.sample_predictions(
            labels=LABELS,
            predictions=PREDICTIONS,
            classes=CLASSES,
            path=tmp_path / "a.png",
            **given,
        )


@pytest.mark.parametrize("shape", [(8, 1, 6, 6), (8, 36)])
def test_reconstructions_stand_below_their_originals(tmp_path, figures, shape):
    outputs = 1 - IMAGES
    plots.reconstructions(IMAGES, outputs.reshape(shape), tmp_path / "a.png", count=3)
    shown = [axes.images[0].get_array() for axes in figures[0].axes]
    np.testing.assert_array_equal(shown, np.concatenate([IMAGES[:3, 0], outputs[:3, 0]]))
    labels = [axes.get_ylabel() for axes in figures[0].axes]
    assert labels == ["original", "", "", "reconstructed", "", ""]


@pytest.mark.parametrize(
    ("images", "outputs", "count"),
    [
        (IMAGES, IMAGES[:7], 10),
        (IMAGES, IMAGES.reshape(4, 72), 10),
        (IMAGES, IMAGES[..., :5], 10),
        (IMAGES[:0], IMAGES[:0], 10),
        (IMAGES, IMAGES, 0),
    ],
)
def test_reconstructions_refuse(tmp_path, images, outputs, count):
    with pytest.raises(ValueError, match=r"reconstructions: expected .* outputs of their shape"):
        plots.reconstructions(images, outputs, tmp_path / "a.png", count=count)
