"""docs/models.md: what the tests of the networks found, as a table.

The figures are kept beside it in models.json, so that long runs may be made in parts.
"""

import inspect
import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax

import fdl
from fdl._files import replacing
from zoo.catalogue import CASES, factories, factory_of

HEAD = """# Networks

Every factory of `fdl.models`, its counterpart in PyTorch, and how far the two are apart. Keys and
shapes of parameters and buffers are the counterpart's, so its published weights load with nothing
in between: `fdl.models.pretrained(path, like=model)`. This table is written by the tests that
compare the networks: `make models`, or a part of it after another, `make models ONLY=resnet`.

*Parameters* are those of the factory without arguments, where it needs none. *Cases* is the number
of networks compared, of those that there are, each in evaluation and through steps of AdamW in
training (deep networks with batch norm: of SGD with momentum), dropout included, in all outputs,
activations, gradients, buffers and parameters. *Worst error* is the largest relative error of any
of these tensors at any step, against PyTorch in float64 ([equality.md](equality.md)):
in float64, where 1e-10 is allowed, and in float32, where PyTorch's own float32 error decides.
Float32 errors are large where a network is deep or has kinks: PyTorch's own are as large. The
ordinary tests take three steps of small networks, the nightly ones all steps of all; *steps* says
how many the runs behind this page took.{found}

"""
TABLE = """| factory | parameters | counterpart | cases | steps | float64 | float32 | weights |
|---|---:|---|---:|---:|---:|---:|---|
"""


class Compared(NamedTuple):
    """One comparison of one case."""

    name: str
    precision: str
    steps: int
    worst: float


def compared(properties: Iterable[tuple[str, object]]) -> list[Compared]:
    """The comparisons among the properties that tests have recorded."""
    return [Compared(*value) for key, value in properties if key == "network"]


def line(found: list[Compared]) -> str:
    """The counts, for the end of a run."""
    parts = []
    for precision in ("float64", "float32"):
        rows = [row for row in found if row.precision == precision]
        if rows:
            names = {factory_of(row.name) for row in rows}
            parts.append(
                f"{precision}: {len(rows)} networks of {len(names)} of {len(factories())} "
                f"factories equal over training, worst error {max(row.worst for row in rows):.1e}"
            )
    return "\n".join(parts)


def write(path: Path, properties: list[tuple[str, object]]) -> None:
    """Writes the page, and the figures beside it: those just found and, else, those known before.

    Args:
        path: of the page.
        properties: what tests have recorded.
    """
    figures = path.with_suffix(".json")
    known = json.loads(figures.read_text()) if figures.exists() else {"networks": [], "weights": []}
    merged = merge(known, properties, str(date.today()))
    with replacing(figures) as written:
        written.write_text(json.dumps(merged, indent=1) + "\n")
    with replacing(path) as written:
        written.write_text(page(merged))


def merge(known: dict[str, Any], properties: list[tuple[str, object]], today: str) -> dict:
    """Figures with those that tests have just found in place of earlier ones.

    Of two comparisons of one run the one over more steps counts. Cases that are no more are left
    out.
    """
    new: dict[tuple[str, str], Compared] = {}
    for row in sorted(compared(properties), key=lambda row: row.steps):
        new[row.name, row.precision] = row
    networks = {(row["name"], row["precision"]): row for row in known["networks"]}
    networks |= {key: {**row._asdict(), "date": today} for key, row in new.items()}
    weights = {tuple(pair) for pair in known["weights"]}
    weights |= {tuple(value) for key, value in properties if key == "weights"}  # pyrefly: ignore
    return {
        "networks": [row for key, row in sorted(networks.items()) if row["name"] in CASES],
        "weights": sorted(map(list, weights)),
    }


def page(figures: dict[str, Any]) -> str:
    """The page, from the merged figures."""
    found, weights = defaultdict(list), defaultdict(list)
    for row in figures["networks"]:
        found[factory_of(row["name"])].append(row)
    for factory, source in figures["weights"]:
        weights[factory].append(source)
    days = sorted({row["date"] for row in figures["networks"]})
    when = f" The figures were found from {days[0]} to {days[-1]}." if days else ""
    head = HEAD.replace("{found}", when)
    rows = [_row(name, found[name], weights[name]) for name in sorted(factories())]
    return "".join([head, TABLE, *rows])


def _row(factory: str, found: list[dict[str, Any]], weights: list[str]) -> str:
    cases = {name: case.counterpart for name, case in CASES.items() if factory_of(name) == factory}
    worst = [
        max(
            (f"{row['worst']:.1e}" for row in found if row["precision"] == precision),
            key=float,
            default="",
        )
        for precision in ("float64", "float32")
    ]
    steps = [row["steps"] for row in found]
    cells = [
        f"`{factory}`",
        _parameters(factory),
        ", ".join(dict.fromkeys(cases.values())),
        f"{len({row['name'] for row in found})} of {len(cases)}",
        " to ".join(dict.fromkeys(map(str, (min(steps), max(steps))))) if steps else "",
        *worst,
        "; ".join(weights),
    ]
    return f"| {' | '.join(cells)} |\n"


@cache
def _parameters(factory: str) -> str:
    """The number of parameters of the factory's defaults."""
    make = getattr(fdl.models, factory)
    needed = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
    if needed:
        return ""
    params, _ = jax.eval_shape(make().init, jax.random.key(0))
    return f"{sum(x.size for x in params.values()):,}"
