"""Recurrent classifiers, forecasters and language models beside torch's recurrent layers."""

from typing import Any

import numpy as np
import torch.nn.functional

import fdl
import fdl.functional as F
from fdl.parity import twins
from zoo.case import Case, classified, regressed

LENGTHS = np.array([3, 7, 1, 6])
"""Of four sequences of seven steps, in no order; the shortest is one step."""


def case(
    name: str, loss: Any, batch: tuple[np.ndarray, ...], *sizes: int, written: str, **options: Any
) -> Case:
    """A factory with the twin of the same name and arguments."""
    return Case(
        lambda: getattr(fdl.models, name)(*sizes, **options),
        lambda: getattr(twins, name)(*sizes, **options),
        loss,
        batch,
        f"{written}, written out in `fdl.parity.twins`",
    )


def classifier(name: str, *, lengths: np.ndarray | None = None, **options: Any) -> Case:
    """Four sequences of three features in five classes."""
    inputs, target = classified(4, 7, 3, classes=5)
    batch = (inputs, target) if lengths is None else (inputs, lengths, target)
    written = f"torch.nn.{name.upper()} and Linear"
    return case(name, "cross_entropy", batch, 3, 6, 5, written=written, **options)


def forecaster(name: str, **options: Any) -> Case:
    """Eight sequences of two features, the next value of one of them."""
    written = f"torch.nn.{name.upper()} and Linear"
    batch = regressed((8, 9, 2), (8, 1))
    return case(name, "mse_loss", batch, 2, 6, 1, written=written, **options)


def language(*, sizes: tuple[int, int, int] = (11, 5, 6), **options: Any) -> Case:
    """Three sequences of eight tokens, and the token after each."""
    text = np.random.default_rng(0).integers(0, sizes[0], (3, 9))
    written = "torch.nn.Embedding, LSTM, GRU or RNN, and Linear"
    batch = text[:, :-1], text[:, 1:]
    return case("language_model", NEXT_TOKEN, batch, *sizes, written=written, **options)


def torch_next_token(output: Any, target: Any) -> Any:
    """The mean cross-entropy of all positions."""
    logits, _ = output
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten())


def fdl_next_token(output: Any, target: Any) -> Any:
    """The mean cross-entropy of all positions."""
    logits, _ = output
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1))


NEXT_TOKEN = (torch_next_token, fdl_next_token)

STACK = {"num_layers": 3, "dropout": 0.4}
BOTH_WAYS = {"num_layers": 2, "bidirectional": True}

CASES = {
    "lstm": classifier("lstm"),
    "lstm, stacked forecaster with dropout": forecaster("lstm", **STACK),
    "lstm, bidirectional with dropout": classifier("lstm", dropout=0.3, **BOTH_WAYS),
    "lstm, lengths": classifier("lstm", lengths=LENGTHS),
    "lstm, bidirectional, lengths": classifier("lstm", lengths=LENGTHS, **BOTH_WAYS),
    "gru": classifier("gru"),
    "gru, stacked forecaster with dropout": forecaster("gru", **STACK),
    "gru, bidirectional, lengths": classifier("gru", lengths=LENGTHS, **BOTH_WAYS),
    "rnn": classifier("rnn"),
    "rnn, stacked forecaster with dropout": forecaster("rnn", **STACK),
    "rnn, relu": classifier("rnn", nonlinearity="relu"),
    "rnn, bidirectional, lengths": classifier("rnn", lengths=LENGTHS, **BOTH_WAYS),
    "language_model": language(),
    "language_model, stacked with dropout": language(**STACK),
    "language_model, tied gru": language(sizes=(11, 6, 6), cell="gru", tied=True),
    "language_model, tied with dropout": language(sizes=(11, 6, 6), tied=True, **STACK),
    "language_model, rnn": language(cell="rnn"),
}
