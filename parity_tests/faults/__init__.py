"""The planted-fault suite: a table that grows with every family of layers, optimizers, models."""

from faults import (
    autoencoder,
    bert,
    cnn,
    convolutional,
    layers,
    linen,
    losses,
    mlp,
    optimizers,
    plain,
    recurrent,
    schedules,
    signals,
    structures,
    tokens,
    transformer,
    updates,
)
from faults.table import Fault, Pair

FAMILIES = (
    *(mlp, updates, cnn, recurrent, autoencoder, transformer, plain, linen),
    *(layers, signals, tokens, losses),
    *(optimizers, schedules),
    *(convolutional, bert, structures),
)

PAIRS: dict[str, Pair] = {name: pair for family in FAMILIES for name, pair in family.PAIRS.items()}
FAULTS: list[Fault] = [fault for family in FAMILIES for fault in family.FAULTS]
