"""One call that runs both frameworks and judges every tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import optax

import fdl.functional
from fdl._checks import require
from fdl._files import replacing
from fdl.parity._examine import examine
from fdl.parity._failure import CannotCompare
from fdl.parity._record import ROOM, Batch, Store
from fdl.parity._reference import Plan, Reference, opened
from fdl.parity._run import Run
from fdl.parity.candidates import adapt
from fdl.parity.names import Names
from fdl.parity.report import Report
from fdl.parity.tolerance import TOLERANCE, Tolerance

if TYPE_CHECKING:
    import torch

    from fdl.parity._live import Live

LossPair = tuple[Callable[..., Any], Callable[..., Any]]
OptimizerPair = tuple[Callable[..., Any], optax.GradientTransformation]


def compare(
    reference: torch.nn.Module | str | Path,
    candidate: Any,
    batches: Sequence[Batch] = (),
    *,
    loss: str | LossPair | Callable[..., Any],
    optimizer: OptimizerPair | optax.GradientTransformation | None = None,
    steps: int = 1,
    precisions: Sequence[str] = ("float64", "float32"),
    params: Any = None,
    buffers: Any = None,
    names: Names | None = None,
    load: bool = True,
    tolerance: Tolerance = TOLERANCE,
    factors: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Report:
    """Finds the first place where a JAX network leaves PyTorch, and why; or that there is none.

    Both start from the same tensors and see the same batches and the same dropout masks. In
    evaluation before and after training, and at every training step, these are compared in order:
    what each module returns, the loss, gradients with respect to what modules returned, to
    parameters and to inputs, the buffers, and, given an optimizer, the updated parameters. In
    float64 each must equal torch; in float32, end to end, each must be about as near to torch in
    float64 as torch in float32 is. What differs is traced to a module and, where a hypothesis about
    the cause reproduces the candidate's numbers, explained.

    Args:
        reference: a torch module, which is copied, not changed; or the path of a recording made by
            :func:`fdl.parity.record`, which needs no torch.
        candidate: an fdl :class:`~fdl.Model`; a Flax Linen module; a Flax NNX module; an Equinox
            module (for one example: it runs under ``vmap``); or a pure function
            ``f(params, *inputs)``. A parameter named ``train`` (or ``deterministic``) is told the
            mode, one named ``key`` is given a random key in training. Modules of fdl, Flax and
            Equinox are heard by themselves, functions name intermediates by
            :func:`fdl.parity.tap`.
        batches: one or more ``(*inputs, target)``, as arrays; training goes through them in turn.
            Floats are cast to each precision. None with a recording.
        loss: ``"cross_entropy"`` or another function that both ``torch.nn.functional`` and
            ``fdl.functional`` have, or a pair ``(torch_loss, jax_loss)`` of functions
            ``(output, target) -> scalar``; with a recording the JAX one alone.
        optimizer: a pair ``(torch_factory, transform)``, as
            ``(lambda p: torch.optim.AdamW(p), fdl.optim.adamw())``; the factory may return a
            :class:`fdl.parity.TorchUpdate` with a scheduler and gradient clipping. None compares
            one step without an update. With a recording the transform alone.
        steps: training steps to compare. With a recording its own.
        precisions: ``"float64"`` for meaning, ``"float32"`` for precision, or both.
        params: the parameters of a function, a pytree of arrays or ``jax.ShapeDtypeStruct``; the
            variables of a Linen module, if its ``init`` should not be asked; an fdl Model's, for
            ``load=False``.
        buffers: buffers of a function, which is then ``f(params, buffers, *inputs)`` and returns
            ``(output, buffers)``; an fdl Model's.
        names: path of each of the candidate's arrays -> torch's key, or (key, permutation) if its
            axes are in another order; None takes equal names, or :func:`suggest_names`.
        load: whether the candidate takes over torch's tensors. False uses the arrays that it came
            with, as somebody's own conversion made them, and compares them first.
        tolerance: what counts as equal.
        factors: budgets of single tensors, by name pattern: ``{"*.running_var": 10}``.
        seed: of the dropout masks.

    Returns:
        A :class:`Report`; print it for a table, ask it whether all is ``equal`` and for the
        ``first_divergence``, or save it as a page. If one side does not run or the two do not fit,
        the report says so as its ``failure``.

    Raises:
        ImportError: without torch, if the reference is a module.
        ValueError: if an argument is out of range.

    Example:
        >>> import fdl, numpy as np, torch
        >>> twin = torch.nn.Sequential(torch.nn.Linear(4, 2))
        >>> batch = (np.ones((8, 4)), np.zeros(8, int))
        >>> fdl.parity.compare(
        ...     twin, fdl.models.mlp([4, 2]), [batch], loss="cross_entropy"
        ... ).equal
        True
    """
    _check_precisions(precisions)
    if factors is not None:
        tolerance = tolerance._replace(factors=factors)
    versions = {name: version(name) for name in ("jax", "flax", "optax")}
    setup = {"precisions": list(precisions), "seed": seed, "versions": versions}
    with TemporaryDirectory() as folder:
        try:
            if isinstance(reference, str | Path):
                source: Reference = opened(Path(reference))
                ours = (_jax_loss(loss), _transform(optimizer, source))
            else:
                plan = Plan(batches, steps, optimizer is not None, seed)
                store = Store(Path(folder, "reference"), ROOM)
                source = _live(reference, loss, optimizer, plan, store)
                ours = (_pair(loss)[1], optimizer and optimizer[1])
            setup |= {"reference": source.anatomy.name, "steps": source.plan.steps}
            versions |= source.anatomy.versions
            inputs = source.plan.batch(("eval", 0), "float32")[:-1]
            adapted = adapt(candidate, source.anatomy, inputs, params, buffers, names)
            setup["candidate"] = adapted.kind
            run = Run(source, adapted, *ours, tolerance, load=load)
            return examine(run, precisions)._replace(setup=setup)
        except CannotCompare as failure:
            return Report([], failure=str(failure), setup=setup)


def record(
    reference: torch.nn.Module,
    path: str | Path,
    batches: Sequence[Batch],
    *,
    loss: str | Callable[..., Any],
    optimizer: Callable[..., Any] | None = None,
    steps: int = 1,
    draws: int = 2,
    seed: int = 0,
) -> Path:
    """Runs a torch module and keeps all that :func:`compare` needs of it, in one file.

    The JAX side can then be compared in an environment, or on a machine, that has no torch. Causes
    that need torch to try a hypothesis are not found there; those of the optimizer are.

    Args:
        reference: the torch module; it is copied, not changed.
        path: of the file; it is about as large as all parameters, gradients and activations,
            times the steps, 8 bytes each in float64 and 4 in each float32 draw.
        batches: as in :func:`compare`.
        loss: name or torch's function.
        optimizer: torch's factory.
        steps: training steps.
        draws: float32 runs to keep; more make false alarms at kinks rarer.
        seed: of the dropout masks and the draws.

    Returns:
        The path.

    Raises:
        ImportError: without torch.
        ValueError: if an argument is out of range, or the module does not run.
    """
    if draws < 1:
        raise ValueError(f"record: draws: expected 1 or more, got {draws}.")
    pair = loss if isinstance(loss, str) else (loss, None)
    plan = Plan(batches, steps, optimizer is not None, seed)
    with replacing(path) as temporary:
        try:
            update = optimizer and (optimizer, None)
            _live(reference, pair, update, plan, Store(temporary)).record(draws)
        except CannotCompare as failure:
            raise ValueError(f"record: {failure}") from failure
    return Path(path)


def _live(reference: Any, loss: Any, optimizer: Any, plan: Plan, store: Store) -> Live:
    torch = require("torch", extra="torch", purpose="fdl.parity.compare")
    from fdl.parity._live import Live  # needs torch

    _check(plan)
    if not isinstance(reference, torch.nn.Module):
        raise CannotCompare(
            "the reference: expected a torch.nn.Module or the path of a recording, got "
            f"{type(reference).__name__}."
        )
    return Live(reference, _pair(loss)[0], optimizer[0] if optimizer else None, plan, store)


def _pair(loss: Any) -> LossPair:
    if isinstance(loss, tuple):
        return loss
    if not isinstance(loss, str):
        raise ValueError(
            "compare: loss: expected a name, or a pair (torch_loss, jax_loss), got "
            f"{getattr(loss, '__name__', loss)!r} alone: each framework needs its own."
        )
    functional = require("torch.nn.functional", extra="torch", purpose="fdl.parity.compare")
    if not (hasattr(functional, loss) and hasattr(fdl.functional, loss)):
        raise ValueError(
            f"compare: loss: expected a function of torch.nn.functional and fdl.functional, as "
            f"'cross_entropy', or a pair (torch_loss, jax_loss), got {loss!r}."
        )
    return getattr(functional, loss), getattr(fdl.functional, loss)


def _transform(optimizer: Any, source: Reference) -> optax.GradientTransformation | None:
    """The candidate's optimizer beside a recording, which has to have one too."""
    is_pair = isinstance(optimizer, tuple) and not isinstance(
        optimizer, optax.GradientTransformation
    )
    transform = optimizer[1] if is_pair else optimizer
    if (transform is not None) != source.plan.updates:
        with_or_without = "with" if source.plan.updates else "without"
        raise ValueError(
            f"compare: optimizer: the recording was made {with_or_without} an optimizer, got "
            f"{'none' if transform is None else 'one'}: compare as it was recorded."
        )
    return transform


def _jax_loss(loss: Any) -> Callable[..., Any]:
    if isinstance(loss, tuple):
        loss = loss[1]
    if isinstance(loss, str) and not hasattr(fdl.functional, loss):
        raise ValueError(f"compare: loss: expected a function of fdl.functional, got {loss!r}.")
    return getattr(fdl.functional, loss) if isinstance(loss, str) else loss


def _check(plan: Plan) -> None:
    if not plan.batches or any(len(batch) < 2 for batch in plan.batches):
        raise ValueError(
            "compare: batches: expected one or more (*inputs, target), got "
            f"{[len(batch) for batch in plan.batches]} arrays in each."
        )
    if plan.steps < 1 or (plan.steps > 1 and not plan.updates):
        raise ValueError(
            f"compare: steps: expected 1 or more, and an optimizer for more than 1, got "
            f"{plan.steps}."
        )


def _check_precisions(precisions: Sequence[str]) -> None:
    if not precisions or not set(precisions) <= {"float64", "float32"}:
        raise ValueError(
            f"compare: precisions: expected 'float64', 'float32' or both, got {precisions}."
        )
