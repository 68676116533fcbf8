"""What is looked at before two networks are compared."""

import sys
from collections.abc import Sequence

import jax
import numpy as np

from fdl.parity._jax_side import JaxSide
from fdl.parity._record import module_of
from fdl.parity._reference import Anatomy, Reference
from fdl.parity.report import Check


def preflight(reference: Reference, side: JaxSide) -> tuple[Check, ...]:
    """Looks at dtypes, precision flags, modes, parameters, ties and taps.

    Args:
        reference: torch.
        side: the candidate in float64, started.
    """
    batch = reference.plan.batch(("eval", 0), "float64")
    heard = side.heard(batch, train=False)
    outputs = side.shapes(batch, train=False)
    dtypes = {f"output {name}".strip(): like.dtype for name, like in outputs.items()}
    dtypes |= {mark.name: like.dtype for mark, like in heard.marks if mark.keep is None}
    anatomy = reference.anatomy
    return (
        _x64(dtypes),
        _precision(),
        _mode(side, anatomy),
        _parameters(anatomy, side),
        _ties(anatomy),
        _taps(anatomy, list(side.layouts(heard)), heard.hidden),
    )


def _x64(dtypes: dict[str, np.dtype]) -> Check:
    low = [
        f"{name!r} is {dtype}" for name, dtype in dtypes.items() if dtype in ("float32", "bfloat16")
    ]
    if not low:
        return Check("x64", "ok", "the candidate computes in float64 where it is given float64")
    return Check(
        "x64",
        "wrong",
        f"given float64, {_some(low)}: a cast or a constant of fixed dtype. The meaning is only "
        "compared to the precision of that dtype; compute in the dtype of inputs and parameters",
    )


def _precision() -> Check:
    """Flags that would let products be rounded; both are overruled while comparing."""
    stands = []
    ours = jax.config.values.get("jax_default_matmul_precision")
    if ours not in (None, "highest", "float32"):
        stands.append(f"jax_default_matmul_precision is {ours!r}")
    if (torch := sys.modules.get("torch")) is not None:
        if (theirs := torch.get_float32_matmul_precision()) != "highest":
            stands.append(f"torch's float32 matmul precision is {theirs!r}")
        if torch.backends.cuda.matmul.allow_tf32:
            stands.append("torch.backends.cuda.matmul.allow_tf32 is on")
    if not stands:
        return Check("matmul precision", "ok", "JAX and torch highest, no TF32")
    return Check("matmul precision", "note", f"{_some(stands)}: overruled while comparing")


def _mode(side: JaxSide, anatomy: Anatomy) -> Check:
    modal = any("Dropout" in kind or "BatchNorm" in kind for kind in anatomy.calls.values())
    if side.candidate.told or not modal:
        return Check("mode", "ok", "train and eval are told apart on both sides")
    return Check(
        "mode",
        "note",
        "torch's network behaves otherwise in training than in evaluation, and the candidate "
        "takes no train flag: give it a parameter train=",
    )


def _parameters(anatomy: Anatomy, side: JaxSide) -> Check:
    count = sum(int(np.prod(anatomy.shapes[key])) for key in anatomy.parameters)
    here = f"{count} parameters in {len(anatomy.parameters)} tensors"
    return Check("parameters", "ok", f"{here}, {side.candidate.kind}")


def _ties(anatomy: Anatomy) -> Check:
    if not anatomy.aliases:
        return Check("tied weights", "ok", "none")
    ties = [f"{alias!r} is {key!r}" for alias, key in anatomy.aliases.items()]
    return Check("tied weights", "ok", f"one tensor on both sides: {_some(ties)}")


def _taps(anatomy: Anatomy, listened: Sequence[str], hidden: Sequence[str]) -> Check:
    modules = {module_of(call) for call in anatomy.calls} - {""}
    heard = {module_of(name) for name in listened}
    if hidden:
        where = f"inside a loop or branch, where they are not heard: {_some(list(hidden))}"
        return Check("taps", "note", f"taps stand {where}; put them outside")
    if modules <= heard:
        return Check("taps", "ok", f"all {len(modules)} modules are compared")
    silent = [name for name in dict.fromkeys(map(module_of, anatomy.calls)) if name]
    silent = [repr(name) for name in silent if name not in heard]
    return Check(
        "taps",
        "note",
        f"{len(heard)} of {len(modules)} modules are compared; not {_some(silent)}. Name "
        "intermediates by fdl.parity.tap to see inside",
    )


def _some(items: Sequence[str], most: int = 5) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
