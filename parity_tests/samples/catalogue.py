"""Every layer and function of fdl, with one sample that shows it at work."""

import inspect
from collections.abc import Iterator
from functools import cache
from importlib import import_module

import fdl
import fdl.functional
from samples.sample import Sample
from samples.table import INFOS, table_samples

FAMILIES = (
    *("activation", "loss", "conv", "pooling", "vision", "embedding", "normalization"),
    *("recurrent", "attention"),
)
"""Modules beside this one: each has ``SAMPLES`` and ``REFUSED``, some have ``GENERATED``."""


def own_samples() -> Iterator[Sample]:
    """What fdl adds to torch's table."""
    for family in FAMILIES:
        yield from import_module(f"samples.{family}").SAMPLES


def layers() -> list[str]:
    """The layers of ``fdl.nn``."""
    named = ((name, getattr(fdl.nn, name)) for name in fdl.nn.__all__)
    return [
        name
        for name, kind in named
        if inspect.isclass(kind) and issubclass(kind, fdl.nn.Module) and kind is not fdl.nn.Module
    ]


def functions() -> list[str]:
    """The functions of ``fdl.functional``."""
    return [n for n in fdl.functional.__all__ if inspect.isfunction(getattr(fdl.functional, n))]


@cache
def shown() -> dict[str, Sample]:
    """For each layer and function that has a sample, its first with something in every tensor."""
    found: dict[str, Sample] = {}
    for name in INFOS:
        if hasattr(fdl.nn, name):
            found[name] = next(s for s in table_samples(name, train=True) if _is_full(s))
    for sample in own_samples():
        if sample.name not in found and _is_full(sample):
            found[sample.name] = sample
    return found


def _is_full(sample: Sample) -> bool:
    return all(x.numel() for x in [*sample.tensors(), *sample.in_torch().parameters()])
