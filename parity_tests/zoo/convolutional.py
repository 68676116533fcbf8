"""Convolutional classifiers beside torchvision's own."""

from typing import Any

import torchvision_here  # noqa: F401
import torchvision
from zoo.case import Case, classified

import fdl


def case(name: str, size: int, batch: int = 2, *, heavy: bool = False, **kwargs: Any) -> Case:
    """A factory with torchvision's of the same name, on images of so many pixels."""
    kwargs = {"num_classes": 10, **kwargs}
    return Case(
        lambda: getattr(fdl.models, name)(**kwargs),
        lambda: getattr(torchvision.models, name)(**kwargs),
        "cross_entropy",
        classified(batch, 3, size, size),
        f"torchvision.models.{name}",
        heavy=heavy,
    )


CASES = {
    "alexnet": case("alexnet", 63),
    "resnet18": case("resnet18", 33, 3),
    "resnet34": case("resnet34", 32, 3, heavy=True),
    "resnet50": case("resnet50", 32, 3, heavy=True),
    "resnet101": case("resnet101", 32, 3, heavy=True),
    "resnet152": case("resnet152", 32, 3, heavy=True),
    "mobilenet_v2": case("mobilenet_v2", 32, 3, width_mult=0.5),
}
