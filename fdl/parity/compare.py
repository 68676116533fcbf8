"""One call that runs both frameworks and judges every tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import optax

import fdl.functional
from fdl._checks import require
from fdl._types import Model
from fdl.parity._record import Batch
from fdl.parity.report import Report
from fdl.parity.tolerance import TOLERANCE, Tolerance

if TYPE_CHECKING:
    import torch

LossPair = tuple[Callable[..., Any], Callable[..., Any]]
OptimizerPair = tuple[Callable[..., "torch.optim.Optimizer"], optax.GradientTransformation]


def compare(
    reference: torch.nn.Module,
    model: Model,
    batches: Sequence[Batch],
    *,
    loss: str | LossPair,
    optimizer: OptimizerPair | None = None,
    steps: int = 1,
    precisions: Sequence[str] = ("float64", "float32"),
    tolerance: Tolerance = TOLERANCE,
    seed: int = 0,
) -> Report:
    """Compares a torch module with an fdl model: forward, backward, buffers and training.

    Both start from the module's tensors and see the same batches and the same dropout masks.
    Output, loss, parameter gradients and input gradients are compared in evaluation mode before and
    after training, and at every training step together with the buffers and, given an optimizer,
    the updated parameters. In float64 each must equal torch; in float32 each must be about as near
    to torch in float64 as torch in float32 is.

    Args:
        reference: the torch module; it is copied, not changed.
        model: the candidate, with the module's ``state_dict`` keys and shapes.
        batches: one or more ``(*inputs, target)``, as arrays; training goes through them in turn.
            Floats are cast to each precision.
        loss: ``"cross_entropy"`` or another function that both ``torch.nn.functional`` and
            ``fdl.functional`` have, or a pair ``(torch_loss, fdl_loss)`` of functions
            ``(output, target) -> scalar``.
        optimizer: a pair ``(torch_factory, transform)``, as
            ``(lambda p: torch.optim.AdamW(p), fdl.optim.adamw())``; None compares one step without
            an update.
        steps: training steps to compare.
        precisions: ``"float64"`` for meaning, ``"float32"`` for precision, or both.
        tolerance: what counts as equal.
        seed: of the dropout masks.

    Returns:
        A :class:`Report`; print it for a table, or ask it whether all is ``equal``.

    Raises:
        ImportError: without torch.
        ValueError: if the two cannot be compared, because their keys or shapes differ or an
            argument is out of range.

    Example:
        >>> import fdl, numpy as np, torch
        >>> twin = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> batch = (np.ones((8, 4)), np.zeros(8, int))
        >>> fdl.parity.compare(
        ...     twin, fdl.models.mlp([4, 2]), [batch], loss="cross_entropy"
        ... ).equal
        True
    """
    require("torch", extra="torch", purpose="fdl.parity.compare")
    from fdl.parity._run import Run  # needs torch

    _check(batches, steps, optimizer, precisions)
    losses = _losses(loss) if isinstance(loss, str) else loss
    with TemporaryDirectory() as folder:
        run = Run(reference, model, losses, optimizer, batches, steps, seed, Path(folder))
        rows = run.float64(tolerance) if "float64" in precisions else []
        if "float32" in precisions:
            undecided = all(row.equal for row in rows)
            rows += run.float32(tolerance, tolerance.draws if undecided else 1)
    return Report(rows)


def _losses(name: str) -> LossPair:
    functional = require("torch.nn.functional", extra="torch", purpose="fdl.parity.compare")
    if not (hasattr(functional, name) and hasattr(fdl.functional, name)):
        raise ValueError(
            f"compare: loss: expected a function of torch.nn.functional and fdl.functional, as "
            f"'cross_entropy', or a pair (torch_loss, fdl_loss), got {name!r}."
        )
    return getattr(functional, name), getattr(fdl.functional, name)


def _check(
    batches: Sequence[Batch],
    steps: int,
    optimizer: OptimizerPair | None,
    precisions: Sequence[str],
) -> None:
    if not batches or any(len(batch) < 2 for batch in batches):
        raise ValueError(
            "compare: batches: expected one or more (*inputs, target), got "
            f"{[len(batch) for batch in batches]} arrays in each."
        )
    if steps < 1 or (steps > 1 and optimizer is None):
        raise ValueError(
            f"compare: steps: expected 1 or more, and an optimizer for more than 1, got {steps}."
        )
    if not precisions or not set(precisions) <= {"float64", "float32"}:
        raise ValueError(
            f"compare: precisions: expected 'float64', 'float32' or both, got {precisions}."
        )
