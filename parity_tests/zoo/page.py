"""docs/models.md: what the tests of the networks found, as a table."""

import inspect
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import jax

import fdl
from zoo.catalogue import CASES, factories, factory_of

HEAD = """# Networks

Every factory of `fdl.models`, its counterpart in PyTorch, and how far the two are apart. Keys and
shapes of parameters and buffers are the counterpart's, so its published weights load with nothing
in between: `fdl.models.pretrained(path, like=model)`. This table is written by the tests that
compare the networks: `make models`.

*Parameters* are those of the factory without arguments, where it needs none. *Cases* is the number
of networks compared, each in evaluation and through steps of AdamW in training (deep networks with
batch norm: of SGD with momentum), dropout included, in all outputs, activations, gradients, buffers
and parameters. *Worst error* is the largest relative
error of any of these tensors at any step, against PyTorch in float64 ([equality.md](equality.md)):
in float64, where 1e-10 is allowed, and in float32, where PyTorch's own float32 error decides.
Float32 errors are large where a network is deep or has kinks: PyTorch's own are as large. The
ordinary tests take three steps of small networks, the nightly ones all steps of all; *steps* says
how many the run that wrote this page took, and a row without figures was not part of it.

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


def page(properties: list[tuple[str, object]]) -> str:
    """The page, from the properties that tests have recorded."""
    found, weights = defaultdict(list), defaultdict(list)
    for row in compared(properties):
        found[factory_of(row.name)].append(row)
    for key, value in properties:
        if key == "weights":
            factory, source = value  # pyrefly: ignore
            weights[factory].append(source)
    rows = [_row(name, found[name], sorted({*weights[name]})) for name in sorted(factories())]
    return "".join([HEAD, TABLE, *rows])


def _row(factory: str, found: list[Compared], weights: list[str]) -> str:
    counterparts = {c.counterpart: None for n, c in CASES.items() if factory_of(n) == factory}
    worst = [
        max(
            (f"{row.worst:.1e}" for row in found if row.precision == precision),
            key=float,
            default="",
        )
        for precision in ("float64", "float32")
    ]
    cells = [
        f"`{factory}`",
        _parameters(factory),
        ", ".join(counterparts),
        str(len({row.name for row in found}) or ""),
        str(max((row.steps for row in found), default="")),
        *worst,
        "; ".join(weights),
    ]
    return f"| {' | '.join(cells)} |\n"


def _parameters(factory: str) -> str:
    """The number of parameters of the factory's defaults."""
    make = getattr(fdl.models, factory)
    needed = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
    if needed:
        return ""
    params, _ = jax.eval_shape(make().init, jax.random.key(0))
    return f"{sum(x.size for x in params.values()):,}"
