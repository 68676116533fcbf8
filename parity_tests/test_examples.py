"""Each example runs as a script does, prints its figures and leaves its pictures."""

import math
import re
import runpy
import sys
from pathlib import Path

import jax
import matplotlib.image
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

STORIES = {
    "mlp_digits": (
        [],
        ["validation accuracy", "test accuracy"],
        ["training.png", "confusion.png"],
    ),
    "cnn_mnist": (
        [],
        ["parameters", "validation accuracy", "test accuracy"],
        ["predictions.png"],
    ),
    "lstm_sunspots": (
        ["--networks", "1"],
        ["the year before", "11 years before", "linear autoregression", "LSTM, each of 1"],
        ["forecast.png"],
    ),
    "autoencoder_digits": (
        ["--epochs", "40"],
        ["autoencoder", "PCA", "mean training digit"],
        ["reconstructions.png"],
    ),
    "own_network": (
        [],
        ["by colour", "by chemistry", "by both", "largest difference of a logit from PyTorch"],
        ["colour.png", "chemistry.png", "both.png"],
    ),
    "continue_in_jax": (
        [],
        ["stays in PyTorch", "goes over", "largest difference of a weight"],
        ["schedule.png"],
    ),
    "find_faces": (["--smallest", "60"], ["faces", "probability"], ["faces.png"]),
    "similar_sentences": ([], ["nearest", "farthest"], ["similarities.png"]),
    "transfer_learning": (
        ["--seeds", "1"],
        ["tensors left as they were"],
        ["learning.png"],
    ),
    "word_vectors": (
        [],
        ["mean cosine, words of one group", "mean cosine, words of different groups"],
        ["similarity.png"],
    ),
}
UNTRAINED = ("find_faces", "similar_sentences")

PORT = "port_a_network"
MISTAKES = ["forward of module 'conv1'", "buffer of module 'norm'", "update of module 'conv1'"]
CAUSES = ["SAME instead of explicit padding", "biased variance", "weight decay"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs an example in float32, whatever the other tests set, and returns what it printed."""

    def run_story(story, *options):
        monkeypatch.setattr(sys, "argv", [story, "--out", str(tmp_path / "out"), *options])
        with jax.enable_x64(False):
            runpy.run_path(str(EXAMPLES / f"{story}.py"), run_name="__main__")
        return capsys.readouterr().out, tmp_path / "out"

    return run_story


def figure(printed, label):
    """Returns the number that stands behind a label."""
    match = re.search(rf"^\s*{re.escape(label)}\s+(\S+)", printed, re.MULTILINE)
    assert match, f"no line {label!r} in:\n{printed}"
    return float(match[1].rstrip("%").replace(",", ""))


def test_every_example_has_a_test():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*STORIES, PORT}


QUICK = ("mlp_digits", "own_network")
EACH = [
    story if story in QUICK else pytest.param(story, marks=pytest.mark.nightly) for story in STORIES
]


@pytest.mark.parametrize("story", EACH)
def test_example_prints_its_figures_and_leaves_its_pictures(run, story):
    options, labels, pictures = STORIES[story]
    epochs = [] if story in UNTRAINED else ["--epochs", "1"]
    printed, out = run(story, *epochs, *options)
    for label in labels:
        assert math.isfinite(figure(printed, label)), printed
    assert sorted(path.name for path in out.iterdir()) == sorted(pictures)
    for picture in pictures:
        pixels = matplotlib.image.imread(out / picture)
        assert pixels[..., :3].std() > 0, f"{picture} is blank"
    if story == "autoencoder_digits":
        assert figure(printed, "autoencoder") < figure(printed, "PCA")
    if story == "own_network":
        assert figure(printed, "largest difference of a logit from PyTorch") < 1e-5
        assert "identical" in printed
    if story == "continue_in_jax":
        assert figure(printed, "largest difference of a weight") < 1e-5


@pytest.mark.nightly
def test_the_port_loses_its_mistakes_one_after_another(run):
    with jax.numpy_dtype_promotion("standard"):  # Flax's and Optax's own parts need it
        printed, out = run(PORT, "--steps", "2")
    assert re.findall(r"^first: (.*?),", printed, re.MULTILINE) == MISTAKES, printed
    assert re.findall(r"^cause: (.*?):", printed, re.MULTILINE) == CAUSES, printed
    assert printed.count("DIFFERENT:") == 3
    assert printed.count("EQUAL:") == 1
    assert sorted(path.name for path in out.iterdir()) == [f"report_{n}.html" for n in range(1, 5)]


def test_readme_lists_every_example():
    listed = re.findall(r"\((\w+)\.py\)", (EXAMPLES / "README.md").read_text())
    assert sorted(listed) == sorted([*STORIES, PORT])
