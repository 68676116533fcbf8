"""What the sample tests found, counted: for the terminal, and as the table of docs/layers.md."""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import fdl
import fdl.functional
from samples.table import EXCLUDED, INFOS

HEAD = """# Layers and functions

Every layer of `fdl.nn` and every function of `fdl.functional` that PyTorch has too, and how far it
is from PyTorch. This table is written by the tests that compare them: `make layers`.

*PyTorch's samples* are those of `torch.testing._internal.common_modules.module_db`, in training and
evaluation mode; *own samples* are fdl's, for what that table lacks: other layers, kinks and ties,
options. Each is compared in its outputs, the gradients of all parameters and inputs, and its
buffers. *Worst error* is the largest relative error of any of these tensors, against PyTorch in
float64 ([equality.md](equality.md)): in float64, where 1e-10 is allowed, and in float32, where
PyTorch's own float32 error decides.

"""


class Result(NamedTuple):
    """One test of samples of one layer or function."""

    name: str
    precision: str
    source: str
    passed: int
    worst: float


def results(properties: Iterable[tuple[str, object]]) -> list[Result]:
    """The results among the properties that tests have recorded."""
    return [Result(*value) for key, value in properties if key == "samples"]


def lines(found: list[Result]) -> list[str]:
    """The counts, for the end of a run."""
    text = []
    for precision in ("float64", "float32"):
        table = [r for r in found if r.precision == precision and r.source == "torch"]
        if table:
            names, passed = {r.name for r in table}, sum(r.passed for r in table)
            text.append(
                f"{precision}: {len(names)} of {len(INFOS)} modules of torch's table, {passed} "
                f"samples in train or eval passed, worst error {max(r.worst for r in table):.1e}"
            )
        for source in ("own", "generated"):
            others = [r for r in found if r.precision == precision and r.source == source]
            if others:
                text.append(
                    f"{precision}: {sum(r.passed for r in others)} {source} samples passed, "
                    f"worst error {max(r.worst for r in others):.1e}"
                )
    if any(r.source == "torch" for r in found):
        text += [f"excluded: {name}: {reason}" for name, reason in EXCLUDED.items()]
    return text


def page(found: list[Result]) -> str:
    """The page of all layers and functions that were tested."""
    rows: dict[str, list[Result]] = defaultdict(list)
    for result in found:
        if result.source != "generated":
            rows[result.name].append(result)
    head = "| | PyTorch's samples | own samples | worst, float64 | worst, float32 | deviations |\n"
    body = [_row(name, rows[name]) for name in sorted(rows, key=_order)]
    excluded = [f"- `{name}`: {reason}.\n" for name, reason in EXCLUDED.items()]
    left_out = "\nOf PyTorch's table fdl leaves out:\n\n"
    return "".join([HEAD, head, "|---|---:|---:|---:|---:|---|\n", *body, left_out, *excluded])


def deviations(name: str) -> str:
    """What a docstring says after ``Torch:``, but for the counterpart's name."""
    place = fdl.functional if name[0].islower() else fdl.nn
    text = inspect.getdoc(getattr(place, name, None)) or ""
    said = re.search(r"^Torch: (.*?)(?:\n\n|\Z)", text, re.DOTALL | re.MULTILINE)
    if said is None:
        return ""
    words = " ".join(said[1].split())
    _, _, rest = words.partition(";") if ";" in words else words.partition(". ")
    rest = rest.strip().rstrip(".").replace("``", "`").replace("|", "\\|")
    return "" if rest == "no deviation" else rest


def _order(name: str) -> tuple[bool, str]:
    return name[0].islower(), name


def _row(name: str, found: list[Result]) -> str:
    counts = [
        sum(r.passed for r in found if r.source == source and r.precision == "float64")
        for source in ("torch", "own")
    ]
    worst = [
        max((f"{r.worst:.1e}" for r in found if r.precision == precision), key=float, default="")
        for precision in ("float64", "float32")
    ]
    cells = [f"`{name}`", *(str(count or "") for count in counts), *worst, deviations(name)]
    return f"| {' | '.join(cells)} |\n"
