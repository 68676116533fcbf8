"""The workloads by name."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from fdl.bench import families
from fdl.bench._workload import Workload, check_names
from fdl.bench.families import Family

_TABLE: Mapping[str, Family] = MappingProxyType(
    {
        "mlp_b32": partial(families.mlp, batch=32),
        "mlp": families.mlp,
        "mlp_b1024": partial(families.mlp, batch=1024),
        "autoencoder": families.autoencoder,
        "conv_autoencoder": families.conv_autoencoder,
        "cnn": families.cnn,
        "alexnet": families.alexnet,
        "resnet18_64": families.resnet18,
        "resnet18_224": partial(families.resnet18, batch=4, image=224),
        "mobilenet_v2": families.mobilenet_v2,
        "rnn": partial(families.recurrent, "rnn"),
        "gru": partial(families.recurrent, "gru"),
        "lstm": partial(families.recurrent, "lstm"),
        "bert_mini": families.bert,
        "minilm": partial(families.bert, layers=6, hidden=384, heads=12),
        "adamw": families.adamw_alone,
    }
)

WORKLOADS = tuple(_TABLE)
"""Names of all workloads."""


def workload(name: str, *, batch: int | None = None, dtype: str = "float32") -> Workload:
    """Builds a workload.

    Args:
        name: one of :data:`fdl.bench.WORKLOADS`.
        batch: rows of a batch in place of the workload's own.
        dtype: of weights and floating-point inputs, ``"float32"`` or ``"bfloat16"``.

    Returns:
        The workload, with inputs drawn from a seeded generator.

    Raises:
        ValueError: if there is no such workload, or its batch cannot be chosen.

    Example:
        >>> import fdl.bench
        >>> fdl.bench.workload("mlp").sizes
        '784-512-512-10, batch 128'
    """
    check_names("workload", "name", [name], WORKLOADS)
    if batch is not None and batch < 1:
        raise ValueError(f"workload: batch: expected 1 or more, got {batch}.")
    if batch is not None and name == "adamw":
        raise ValueError("workload: batch: adamw is timed alone and has no batch. Leave it out.")
    family = _TABLE[name]
    made = family() if batch is None else family(batch=batch)
    return made._replace(name=name, dtype=dtype)
