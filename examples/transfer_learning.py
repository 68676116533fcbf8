"""Teaches a network that knows the digits 0 to 4 the digits 5 to 9, from five examples of each.

Shows transfer learning: a new head by `fdl.models.surgery.replace_head`, parts that stay as they
are by `freeze` and `param_groups`, and, against a network that starts from nothing, what it is
worth.

Run: python examples/transfer_learning.py
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import numpy as np
import seaborn
from matplotlib.figure import Figure

import fdl
import fdl.functional as F
from fdl.models import surgery

HEAD, BODY = "classifier.4", ["features.*"]


def digits(part: fdl.data.Dataset, first: int, each: int | None = None) -> tuple[Any, Any]:
    """Returns images and labels of five digits, `each` of every digit or all."""
    rows = [np.flatnonzero(part.labels == digit)[:each] for digit in range(first, first + 5)]
    chosen = np.concatenate(rows)
    return part.images[chosen], part.labels[chosen] - first


def train(
    model: fdl.Model,
    tensors: tuple[fdl.Params, fdl.Buffers],
    frozen: list[str],
    data: list[tuple[Any, Any]],
    epochs: int,
) -> fdl.train.Fit:
    """Trains what is not frozen."""
    if frozen:
        model = surgery.freeze(model, frozen)
    groups = {pattern: {"frozen": True} for pattern in frozen}
    optimizer = fdl.optim.param_groups(fdl.optim.adamw, groups, lr=2e-3)
    loss_fn = fdl.train.supervised(model, F.cross_entropy, accuracy=fdl.train.accuracy)
    state = fdl.train.init_state(*tensors, optimizer, key=jax.random.key(1))
    return fdl.train.fit(
        state, loss_fn, optimizer, *data, epochs=epochs, batch_size=15, progress=False
    )


def begun(
    model: fdl.Model, old: fdl.train.Fit | None, key: jax.Array
) -> tuple[fdl.Params, fdl.Buffers]:
    """Returns the tensors to begin with: all drawn, or the head alone."""
    if old is None:
        return model.init(key)
    carried = surgery.replace_head(old.params, old.buffers, like=model, head=HEAD, key=key)
    return carried.params, carried.buffers


def share_right(model: fdl.Model, fit: fdl.train.Fit, images: Any, labels: Any) -> float:
    """Returns the accuracy."""
    logits = fdl.train.predict(model, fit.params, fit.buffers, images)
    return float((logits.argmax(axis=-1) == labels).mean())


def draw(runs: dict[str, list[fdl.train.Fit]], path: Path) -> None:
    """Draws the accuracy on validation digits over the epochs: the mean, and the range of seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with seaborn.axes_style("whitegrid"):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for name, fits in runs.items():
            seen = np.array([[row["validation_accuracy"] for row in fit.history] for fit in fits])
            epochs = np.arange(1, seen.shape[1] + 1)
            axes.plot(epochs, seen.mean(axis=0), label=name)
            axes.fill_between(epochs, seen.min(axis=0), seen.max(axis=0), alpha=0.15)
        axes.set(xlabel="epoch", ylabel="accuracy on validation digits 5 to 9")
        axes.legend(loc="lower right")
        figure.savefig(path, dpi=120)


def main() -> None:
    """Trains on one half of the digits, then on a few of the other, with and without the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/transfer_learning"))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--each", type=int, default=5, help="training examples of each digit")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()

    parts = fdl.data.split(fdl.data.mnist(), validation=0.1, test=0.2, seed=0)
    model = fdl.models.cnn(num_classes=5, channels=(8, 16), hidden=64)
    known = [digits(part, 0) for part in parts[:2]]
    old = train(model, model.init(jax.random.key(0)), [], known, epochs=4)
    best = old.history[old.best_epoch - 1]
    print(f"digits 0 to 4                validation accuracy {best['validation_accuracy']:.2%}")

    few = [digits(parts.train, 5, arguments.each), digits(parts.validation, 5)]
    runs: dict[str, list[fdl.train.Fit]] = {}
    for name, frozen in (
        ("from nothing", None),
        ("pretrained, all trained", []),
        ("pretrained, features frozen", BODY),
    ):
        fits = []
        for seed in range(1, arguments.seeds + 1):
            tensors = begun(model, None if frozen is None else old, jax.random.key(seed))
            fits.append(train(model, tensors, frozen or [], few, arguments.epochs))
        right = [share_right(model, fit, *digits(parts.test, 5)) for fit in fits]
        runs[name] = fits
        print(
            f"{name:<28} test accuracy {np.mean(right):.2%}, {min(right):.2%} to {max(right):.2%}"
        )

    kept = runs["pretrained, features frozen"][-1].params
    same = [name for name in kept if np.array_equal(kept[name], old.params[name])]
    print(f"tensors left as they were    {len(same)} of {len(kept)}")
    draw(runs, arguments.out / "learning.png")
    print(f"picture                      {arguments.out / 'learning.png'}")


if __name__ == "__main__":
    main()
