"""Forecasts next year's sunspots from the eleven years before, with an LSTM.

Shows a forecast that does not fool itself: parts divided by time, a scale taken from the training
years alone, and simple forecasts to beat. Several networks that differ in their seed only tell
luck from skill.

Run: python examples/lstm_sunspots.py
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from sklearn.linear_model import LinearRegression
from statsmodels.datasets import sunspots

import fdl
import fdl.functional as F

WINDOW = 11  # years, about one solar cycle
VALIDATION, TEST = 1900, 1950  # first years


def linear_forecast(past, future, inputs):
    """Fits a linear autoregression by least squares, and forecasts."""
    return LinearRegression().fit(past[..., 0], future).predict(inputs[..., 0])


def main() -> None:
    """Trains on early years, stops by later ones, and compares forecasts of the last ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/lstm_sunspots"))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--networks", type=int, default=5)
    arguments = parser.parse_args()

    years, numbers = np.asarray(sunspots.load_pandas().data).T
    learned = numbers[years < VALIDATION]
    mean, scale = learned.mean(), learned.std()
    past, future = fdl.data.windows(((numbers - mean) / scale).astype(np.float32), WINDOW)
    year = years[WINDOW:]  # of each target; its inputs are earlier
    known, tested = year < TEST, year >= TEST
    trained, validated = year < VALIDATION, known & (year >= VALIDATION)
    inputs, target = past[tested], future[tested]

    model = fdl.models.lstm(1, 16, 1)
    optimizer = fdl.optim.adamw(lr=1e-2)
    loss_fn = fdl.train.supervised(model, F.mse_loss)
    networks = []
    for seed in range(arguments.networks):
        init_key, run_key = jax.random.split(jax.random.key(seed))
        state = fdl.train.init_state(*model.init(init_key), optimizer, key=run_key)
        result = fdl.train.fit(
            state,
            loss_fn,
            optimizer,
            (past[trained], future[trained]),
            (past[validated], future[validated]),
            epochs=arguments.epochs,
            batch_size=16,
            patience=20,
            progress=False,
        )
        networks.append(fdl.train.predict(model, result.params, result.buffers, inputs))
    average = np.mean(networks, axis=0)
    linear = linear_forecast(past[known], future[known], inputs)

    def error(forecast):
        return scale * np.sqrt(np.mean((forecast - target) ** 2))

    errors = [error(network) for network in networks]
    print(f"root mean squared error on {len(target)} test years from {TEST}, in sunspots")
    print(f"  the year before           {error(inputs[:, -1]):.2f}")
    print(f"  {WINDOW} years before           {error(inputs[:, 0]):.2f}")
    print(f"  linear autoregression     {error(linear):.2f}")
    print(f"  LSTM, each of {len(errors)}           {min(errors):.2f} to {max(errors):.2f}")
    print(f"  LSTM, mean forecast of {len(errors)}  {error(average):.2f}")

    picture = arguments.out / "forecast.png"
    fdl.plots.forecast(
        mean + scale * target,
        mean + scale * average,
        picture,
        baseline=mean + scale * linear,
        title=f"One year ahead, {TEST} to {year[-1]:.0f}; baseline: linear autoregression",
        ylabel="sunspots, yearly mean",
    )
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
