"""Convolutional classifiers beside torchvision's own, and LeNet-5 and EfficientNet-Lite."""

from collections.abc import Iterator
from typing import Any

import efficientnet_lite_pytorch.model as lite
import torch
from flax import nnx
from torchvision import models

import fdl
from fdl.models.alexnet import AlexNet
from fdl.models.vgg import VGG, Features
from fdl.parity import twins
from zoo.case import Case, classified, sgd


def case(
    name: str, size: int, batch: int, *, heavy: bool = False, rate: float = 1e-3, **kwargs: Any
) -> Case:
    """A factory with torchvision's of the same name, on images of so many pixels."""
    kwargs = {"num_classes": 10, **kwargs}
    ours = {key: kwargs.pop(key) for key in ("remat",) if key in kwargs}
    return Case(
        lambda: getattr(fdl.models, name)(**kwargs, **ours),
        lambda: getattr(models, name)(**kwargs),
        "cross_entropy",
        classified(batch, 3, size, size),
        f"torchvision.models.{name}",
        optimizer=sgd(rate),
        heavy=heavy,
    )


def lenet(size: int, **kwargs: Any) -> Case:
    return Case(
        lambda: fdl.models.lenet5(**kwargs),
        lambda: twins.lenet5(**kwargs),
        "cross_entropy",
        classified(8, 1, size, size),
        "fdl.parity.twins.lenet5",
    )


def drop_connect(inputs: torch.Tensor, p: float, training: bool) -> torch.Tensor:
    """The package's, drawn by torch's dropout, whose masks the comparison knows."""
    whole = torch.ones(len(inputs), 1, 1, 1, dtype=inputs.dtype)
    return inputs * torch.nn.functional.dropout(whole, p, training)


lite.drop_connect = drop_connect


def efficientnet_lite(
    size: int, batch: int, *, heavy: bool = False, rate: float = 1e-3, **kwargs: Any
) -> Case:
    """Lite0 with the package's network, padded by the size of the image at hand."""
    kwargs = {"num_classes": 10, **kwargs}
    return Case(
        lambda: fdl.models.efficientnet_lite0(**kwargs),
        lambda: lite.EfficientNet.from_name("efficientnet-lite0", image_size=None, **kwargs),
        "cross_entropy",
        classified(batch, 3, size, size),
        'efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0")',
        optimizer=sgd(rate),
        heavy=heavy,
    )


STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions in each stage of a VGG, by its depth."""
NARROW, CLASSES = 16, 10


def narrowed(case: Case, build: Any, features: int, *, heavy: bool) -> Case:
    """A case whose wide classifier, nearly all of its parameters, is a narrow one on both sides.

    So all training steps of all convolutions fit into memory and time.
    """

    def ours(rngs: nnx.Rngs) -> nnx.Module:
        network = build(rngs)
        network.classifier = fdl.nn.Sequential(
            fdl.nn.Linear(features, NARROW, rngs=rngs),
            fdl.nn.ReLU(),
            fdl.nn.Dropout(0.5, rngs=rngs),
            fdl.nn.Linear(NARROW, CLASSES, rngs=rngs),
        )
        return network

    def twin() -> torch.nn.Module:
        network = case.twin()
        network.classifier = torch.nn.Sequential(
            torch.nn.Linear(features, NARROW),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(NARROW, CLASSES),
        )
        return network

    return case._replace(model=lambda: fdl.as_model(ours), twin=twin, steps=20, heavy=heavy)


def vggs() -> Iterator[tuple[str, Case]]:
    """Each VGG whole for a few steps, which hold gigabytes, and narrowed for all."""
    for depth, stages in STAGES.items():
        for norm in (False, True):

            def build(rngs: nnx.Rngs, stages: Any = stages, norm: bool = norm) -> nnx.Module:
                features = Features(stages, batch_norm=norm, remat=False, rngs=rngs)
                return VGG(features, CLASSES, 0.5, rngs=rngs)

            name = f"vgg{depth}_bn" if norm else f"vgg{depth}"
            whole = case(name, 32, 4, heavy=True)._replace(steps=2)
            yield name, whole
            yield f"{name}, narrow", narrowed(whole, build, 512 * 7 * 7, heavy=True)


ALEXNET = case("alexnet", 63, 4, heavy=True)._replace(steps=2)
CASES = {
    "lenet5": lenet(28),
    "lenet5, 32x32, tanh": lenet(32, padding=0),
    "alexnet": ALEXNET,
    "alexnet, narrow": narrowed(
        ALEXNET, lambda rngs: AlexNet(CLASSES, 0.5, rngs=rngs), 256 * 6 * 6, heavy=False
    ),
    "resnet18": case("resnet18", 33, 4),
    "mobilenet_v2": case(
        *("mobilenet_v2", 32, 4),
        width_mult=0.5,
        inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]],
    ),
    "mobilenet_v2, narrow": case(*("mobilenet_v2", 64, 4), width_mult=0.25, heavy=True, rate=1e-5),
    "efficientnet_lite0": efficientnet_lite(
        65, 4, rate=1e-5, width_coefficient=0.25, depth_coefficient=0.5
    ),
    "resnet34": case("resnet34", 64, 8, heavy=True),
    "resnet50": case("resnet50", 64, 8, heavy=True, rate=1e-6),
    "resnet50, grouped, dilated": case(
        "resnet50",
        64,
        3,
        heavy=True,
        groups=4,
        width_per_group=16,
        replace_stride_with_dilation=(False, True, True),
        zero_init_residual=True,
        remat=True,
    ),
    "resnet101": case("resnet101", 64, 8, heavy=True, rate=1e-7),
    "resnet152": case("resnet152", 64, 8, heavy=True, rate=1e-8),
    "mobilenet_v2, full width": case("mobilenet_v2", 64, 4, heavy=True, rate=1e-5),
    "efficientnet_lite0, full depth": efficientnet_lite(
        65, 4, heavy=True, rate=1e-5, width_coefficient=0.25
    ),
    "efficientnet_lite0, full width": efficientnet_lite(64, 4, heavy=True, rate=1e-5),
    **dict(vggs()),
}
