"""Classifies 5,000 MNIST digits of 28 x 28 pixels with a small convolutional network.

Shows a model with state: its batch norms keep running statistics in `buffers`, which training
carries along and evaluation uses.

Run: python examples/cnn_mnist.py
"""

import argparse
from pathlib import Path

import jax
import numpy as np

import fdl
import fdl.functional as F


def main() -> None:
    """Trains for a few epochs, tests once, and draws digits with their predictions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/cnn_mnist"))
    parser.add_argument("--epochs", type=int, default=6)
    arguments = parser.parse_args()

    dataset = fdl.data.mnist()
    train, validation, test = fdl.data.split(dataset, validation=0.1, test=0.2, seed=0)

    model = fdl.models.cnn(channels=(16, 32), hidden=64)
    optimizer = fdl.optim.adamw(lr=2e-3)
    loss_fn = fdl.train.supervised(model, F.cross_entropy, accuracy=fdl.train.accuracy)

    params, buffers = model.init(jax.random.key(0))
    print(f"parameters           {sum(tensor.size for tensor in params.values()):,}")
    state = fdl.train.init_state(params, buffers, optimizer, key=jax.random.key(1))
    result = fdl.train.fit(
        state,
        loss_fn,
        optimizer,
        (train.images, train.labels),
        (validation.images, validation.labels),
        epochs=arguments.epochs,
    )

    logits = fdl.train.predict(model, result.params, result.buffers, test.images)
    probabilities = np.asarray(jax.nn.softmax(logits))
    predictions = logits.argmax(axis=-1)
    right = int((predictions == test.labels).sum())

    best = result.history[result.best_epoch - 1]
    print(f"validation accuracy  {best['validation_accuracy']:.2%} of {len(validation.labels)}")
    print(f"test accuracy        {right / len(test.labels):.2%} of {len(test.labels)}")

    picture = arguments.out / "predictions.png"
    fdl.plots.sample_predictions(
        test.images, test.labels, predictions, probabilities, dataset.classes, picture
    )
    print(f"picture              {picture}")


if __name__ == "__main__":
    main()
