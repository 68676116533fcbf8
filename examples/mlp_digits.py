"""Classifies scikit-learn's handwritten digits of 8 x 8 pixels with a multilayer perceptron.

Shows the whole path: data in three parts, a model, an optimizer, training that stops when the
validation loss no longer falls, and one look at the test part at the end.

Run: python examples/mlp_digits.py
"""

import argparse
from pathlib import Path

import jax

import fdl
import fdl.functional as F


def arrays(part: fdl.data.Dataset) -> tuple:
    """Returns pixels in rows, as an MLP reads them, and labels."""
    return part.images.reshape(-1, 64), part.labels


def main() -> None:
    """Trains, tests once, and draws the training curves and the confusion matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/mlp_digits"))
    parser.add_argument("--epochs", type=int, default=100)
    arguments = parser.parse_args()

    dataset = fdl.data.digits()
    train, validation, test = fdl.data.split(dataset, validation=0.15, test=0.2, seed=0)

    model = fdl.models.mlp([64, 128, 64, 10], dropout=0.2)
    optimizer = fdl.optim.adamw(lr=2e-3, weight_decay=1e-2)
    loss_fn = fdl.train.supervised(model, F.cross_entropy, accuracy=fdl.train.accuracy)

    params, buffers = model.init(jax.random.key(0))
    state = fdl.train.init_state(params, buffers, optimizer, key=jax.random.key(1))
    result = fdl.train.fit(
        state,
        loss_fn,
        optimizer,
        arrays(train),
        arrays(validation),
        epochs=arguments.epochs,
        patience=10,
        progress=False,
    )

    pixels, labels = arrays(test)
    predictions = fdl.train.predict(model, result.params, result.buffers, pixels).argmax(axis=-1)
    right = int((predictions == labels).sum())

    best = result.history[result.best_epoch - 1]
    print(f"best epoch           {result.best_epoch} of {len(result.history)}")
    print(f"validation accuracy  {best['validation_accuracy']:.2%} of {len(validation.labels)}")
    print(f"test accuracy        {right / len(labels):.2%} of {len(labels)}")

    fdl.plots.training_curves(result.history, arguments.out / "training.png")
    fdl.plots.confusion_matrix(
        labels, predictions, dataset.classes, arguments.out / "confusion.png"
    )
    print(f"pictures             {arguments.out}")


if __name__ == "__main__":
    main()
