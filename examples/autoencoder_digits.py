"""Squeezes digits of 8 x 8 pixels through a code of 8 numbers and back, and compares with PCA.

Shows training towards the input itself, and an honest yardstick: principal component analysis is
the best linear autoencoder of that code size for the digits it is fitted on.

Run: python examples/autoencoder_digits.py
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from sklearn.decomposition import PCA

import fdl
import fdl.functional as F

CODE = 8


def by_pca(train, test):
    """Returns the test digits as a PCA of the training digits rebuilds them from its code."""
    pca = PCA(CODE).fit(train)
    return pca.inverse_transform(pca.transform(test))


def main() -> None:
    """Trains, measures both on the test digits, and draws the reconstructions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/autoencoder_digits"))
    parser.add_argument("--epochs", type=int, default=150)
    arguments = parser.parse_args()

    parts = fdl.data.split(fdl.data.digits(), validation=0.15, test=0.15, seed=0)
    train, validation, test = (part.images.reshape(-1, 64) for part in parts)

    model = fdl.models.autoencoder([64, 128, CODE])
    optimizer = fdl.optim.adam(lr=2e-3)
    loss_fn = fdl.train.supervised(model, F.mse_loss)

    params, buffers = model.init(jax.random.key(0))
    state = fdl.train.init_state(params, buffers, optimizer, key=jax.random.key(1))
    result = fdl.train.fit(
        state,
        loss_fn,
        optimizer,
        (train, train),
        (validation, validation),
        epochs=arguments.epochs,
        batch_size=32,
        patience=10,
        progress=False,
    )

    rebuilt = fdl.train.predict(model, result.params, result.buffers, test)

    def error(digits):
        return np.mean((digits - test) ** 2)

    print(f"best epoch               {result.best_epoch} of {len(result.history)}")
    print(f"mean squared error of a pixel on {len(test)} test digits, code of {CODE}")
    print(f"  autoencoder            {error(rebuilt):.5f}")
    print(f"  PCA                    {error(by_pca(train, test)):.5f}")
    print(f"  mean training digit    {error(train.mean(axis=0)):.5f}")

    picture = arguments.out / "reconstructions.png"
    fdl.plots.reconstructions(parts.test.images, rebuilt, picture)
    print(f"picture                  {picture}")


if __name__ == "__main__":
    main()
