"""The main job on real digits: prove the port, train it, time it, and hand it back to torch."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from rich.console import Console

import fdl.functional as F
from fdl import bench, data, interop, models, optim, parity, plots, train
from fdl._compilation import uncached
from fdl._files import replacing
from fdl.data import Splits

BATCH = 64
PARITY_BATCH = 32
PARITY_STEPS = 50
LEARNING_RATE = 1e-3
TIMED = ("jax eager", "jax jit", "torch eager")


class Trained(NamedTuple):
    """The trained network and what it makes of the test digits."""

    fit: train.Fit
    test: dict[str, float]
    logits: np.ndarray


def run(
    out: str | os.PathLike[str] = "runs/demo",
    *,
    path: str | os.PathLike[str] | None = None,
    epochs: int = 12,
    seed: int = 0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Runs the main job and writes its figures, pictures and weights.

    Without torch it trains and times JAX alone, and says what it left out.

    Args:
        out: folder for ``results.json``, ``model.safetensors``, ``curves.png``, ``confusion.png``,
            ``samples.png`` and ``times.png``.
        path: folder of IDX files to learn from, as MNIST's or Fashion-MNIST's; None for the 5,000
            MNIST digits that come inside a package.
        epochs: passes over the training digits.
        seed: of the split, the initial weights, the order and the dropout.
        console: where to print.

    Returns:
        What ``results.json`` holds.

    Raises:
        ImportError: if the ``data`` extra is not installed.
        FileNotFoundError: if `path` holds no data set.
    """
    console = console or Console()
    out = Path(out)
    splits = data.split(data.mnist(path), validation=0.1, test=0.2, seed=seed)
    console.print(
        f"[bold]{splits.train.name}[/]: {len(splits.train.labels)} training, "
        f"{len(splits.validation.labels)} validation and {len(splits.test.labels)} test images of "
        f"{' x '.join(map(str, splits.train.images.shape[2:]))} pixels"
    )
    with_torch = find_spec("torch") is not None
    if not with_torch:
        console.print(
            "[yellow]torch is not installed: no parity table, no torch timing, no way back into "
            "torch. Remedy: pip install 'fdl[torch]'.[/]"
        )
    results: dict[str, Any] = {}
    if with_torch:
        console.rule("1. The same network in PyTorch and in fdl")
        results["parity"] = _prove(splits, seed, console)
    console.rule("2. Training, jitted")
    with uncached():
        trained = _train(splits, epochs, seed, console)
    results["training"] = {
        "best_epoch": trained.fit.best_epoch,
        "history": trained.fit.history,
        "test": trained.test,
    }
    console.rule("3. One training step, timed in turns")
    results["timing"] = _time(TIMED if with_torch else TIMED[:2], out, console)
    console.rule("4. What was learnt")
    weights = out / "model.safetensors"
    interop.save_safetensors(weights, trained.fit.params, trained.fit.buffers)
    if with_torch:
        results["back_in_torch"] = _hand_back(weights, splits, trained, console)
    _draw(out, splits, trained, console)
    with replacing(out / "results.json") as temporary:
        temporary.write_text(
            json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    console.print(f"figures, pictures and weights are in [bold]{out}[/]")
    return results


def _network(splits: Splits) -> dict[str, Any]:
    """Arguments of ``models.cnn`` and of its torch twin."""
    _, channels, *image_size = splits.train.images.shape
    return {
        "in_channels": channels,
        "num_classes": len(splits.train.classes),
        "image_size": tuple(image_size),
    }


def _prove(splits: Splits, seed: int, console: Console) -> dict[str, Any]:
    import torch

    from fdl.parity import twins

    torch.manual_seed(seed)
    digits = (splits.train.images, splits.train.labels)
    console.print(
        f"a torch CNN and fdl's, from the same weights, through {PARITY_STEPS} AdamW steps on "
        f"batches of {PARITY_BATCH} of the training digits, under the same dropout masks"
    )
    with console.status("comparing"):
        report = parity.compare(
            twins.cnn(**_network(splits)),
            models.cnn(**_network(splits)),
            list(data.batches(digits, PARITY_BATCH, seed=seed, drop_last=True)),
            loss="cross_entropy",
            optimizer=(
                lambda parameters: torch.optim.AdamW(parameters, lr=LEARNING_RATE),
                optim.adamw(LEARNING_RATE),
            ),
            steps=PARITY_STEPS,
        )
    console.print(report)
    console.print(
        "float64 shows that the two mean the same. In float32 both leave float64 behind as soon as "
        "a ReLU or a maximum falls on the other side of its kink; fdl may do so as torch does."
    )
    return {"equal": report.equal, "worst": report._replace(rows=report.worst()).to_dict()["rows"]}


def _train(splits: Splits, epochs: int, seed: int, console: Console) -> Trained:
    model = models.cnn(**_network(splits))
    loss_fn = train.supervised(model, F.cross_entropy, accuracy=train.accuracy)
    steps = epochs * data.num_batches(len(splits.train.labels), BATCH)
    optimizer = optim.adamw(optax.cosine_decay_schedule(LEARNING_RATE, steps))
    initial, running = jax.random.split(jax.random.key(seed))
    state = train.init_state(*model.init(initial), optimizer, key=running)
    fit = train.fit(
        state,
        loss_fn,
        optimizer,
        (splits.train.images, splits.train.labels),
        (splits.validation.images, splits.validation.labels),
        epochs=epochs,
        batch_size=BATCH,
    )
    test = train.evaluate(
        loss_fn, fit.params, fit.buffers, (splits.test.images, splits.test.labels)
    )
    best = fit.history[fit.best_epoch - 1]
    console.print(
        f"best epoch {fit.best_epoch}: validation accuracy "
        f"[bold]{best['validation_accuracy']:.2%}[/]; on the {len(splits.test.labels)} test "
        f"digits, seen once, accuracy [bold]{test['accuracy']:.2%}[/]"
    )
    logits = train.predict(model, fit.params, fit.buffers, splits.test.images)
    return Trained(fit, test, logits)


def _time(variants: tuple[str, ...], out: Path, console: Console) -> dict[str, Any]:
    with console.status("timing"):
        report = bench.run(
            ["cnn"], phases=["training"], variants=variants, blocks=7, progress=False
        )
    console.print(report)
    if find_spec("matplotlib"):
        (measurement,) = report.measurements
        timings = {row.variant: row.timing for row in measurement.rows if row.timing}
        times = {k: (1e3 * t.low, 1e3 * t.median, 1e3 * t.high) for k, t in timings.items()}
        plots.step_times(
            times, out / "times.png", title=f"One training step, cnn {measurement.sizes}"
        )
    return report.to_dict()


def _hand_back(weights: Path, splits: Splits, trained: Trained, console: Console) -> dict[str, Any]:
    from fdl.parity import twins

    outputs = twins.outputs_of_file(twins.cnn(**_network(splits)), weights, splits.test.images)
    same = int(np.sum(outputs.argmax(-1) == trained.logits.argmax(-1)))
    apart = float(np.abs(outputs - trained.logits).max())
    console.print(
        f"{weights.name} loads into the torch twin with strict=True: torch predicts the same class "
        f"for [bold]{same} of {len(outputs)}[/] test digits, logits at most {apart:.1e} apart"
    )
    return {"same_predictions": same, "of": len(outputs), "largest_logit_difference": apart}


def _draw(out: Path, splits: Splits, trained: Trained, console: Console) -> None:
    if find_spec("matplotlib") is None:
        console.print("[yellow]no pictures: pip install 'fdl[plots]'.[/]")
        return
    test = splits.test
    predictions = trained.logits.argmax(-1)
    probabilities = np.asarray(jax.nn.softmax(trained.logits))
    plots.training_curves(trained.fit.history, out / "curves.png")
    plots.confusion_matrix(test.labels, predictions, test.classes, out / "confusion.png")
    plots.sample_predictions(
        test.images, test.labels, predictions, probabilities, test.classes, out / "samples.png"
    )
