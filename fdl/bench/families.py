"""The families of workloads: fdl's network, its torch twin, a loss and a batch, in any size.

Dropout is off: masks differ between frameworks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fdl import models
from fdl._checks import require
from fdl.bench._workload import SEED, Workload

if TYPE_CHECKING:
    import torch

Family = Callable[..., Workload]
CLASSES = 10


def mlp(*, batch: int = 128, sizes: Sequence[int] = (784, 512, 512, 10)) -> Workload:
    """A perceptron that classifies."""
    sizes, generator = tuple(sizes), _generator()
    data = _normal(generator, batch, sizes[0]), _labels(generator, batch, sizes[-1])
    described = f"{'-'.join(map(str, sizes))}, batch {batch}"
    twin = _own("mlp", sizes)
    flax = ("mlp", {"sizes": sizes})
    return Workload("mlp", described, models.mlp(sizes), twin, "cross_entropy", data, flax)


def autoencoder(*, batch: int = 128, sizes: Sequence[int] = (784, 256, 64)) -> Workload:
    """A dense autoencoder."""
    sizes = tuple(sizes)
    images = _generator().random((batch, sizes[0]), np.float32)
    model, twin = models.autoencoder(sizes), _own("autoencoder", sizes)
    described = f"{'-'.join(map(str, sizes))} and back, batch {batch}"
    flax = ("autoencoder", {"sizes": sizes})
    return Workload("autoencoder", described, model, twin, "mse_loss", (images, images), flax)


def conv_autoencoder(*, batch: int = 64) -> Workload:
    """Strided convolutions down, transposed ones up."""
    images = _generator().random((batch, 1, 28, 28), np.float32)

    def twin() -> torch.nn.Module:
        require("torch", extra="torch", purpose="the torch side of fdl.bench")
        from fdl.bench._torch_networks import ConvAutoencoder  # needs torch

        return ConvAutoencoder()

    model = models.conv_autoencoder()
    described = f"16 and 32 channels and back, 28x28, batch {batch}"
    flax = ("conv_autoencoder", {})
    return Workload("conv_autoencoder", described, model, twin, "mse_loss", (images, images), flax)


def cnn(*, batch: int = 64) -> Workload:
    """Two blocks of convolution, batch norm, ReLU and pooling, then two dense layers."""
    model, twin = models.cnn(dropout=0.0), _own("cnn", dropout=0.0)
    described = f"two convolutions, 28x28, batch {batch}"
    data = _images(batch, 1, 28, CLASSES)
    return Workload("cnn", described, model, twin, "cross_entropy", data, ("cnn", {}))


def alexnet(*, batch: int = 8) -> Workload:
    """AlexNet for ImageNet."""
    model, twin = models.alexnet(dropout=0.0), _torchvision("alexnet", dropout=0.0)
    data = _images(batch, 3, 224, 1000)
    described = f"224x224, batch {batch}"
    return Workload("alexnet", described, model, twin, "cross_entropy", data, ("alexnet", {}))


def resnet18(*, batch: int = 16, image: int = 64) -> Workload:
    """ResNet-18 for ImageNet."""
    model, twin = models.resnet18(), _torchvision("resnet18")
    data = _images(batch, 3, image, 1000)
    described = f"{image}x{image}, batch {batch}"
    name = f"resnet18_{image}"
    return Workload(name, described, model, twin, "cross_entropy", data, ("resnet18", {}))


def mobilenet_v2(*, batch: int = 16, image: int = 96) -> Workload:
    """MobileNetV2 for ImageNet."""
    model, twin = models.mobilenet_v2(dropout=0.0), _torchvision("mobilenet_v2", dropout=0.0)
    data = _images(batch, 3, image, 1000)
    described, flax = f"{image}x{image}, batch {batch}", ("mobilenet_v2", {})
    return Workload("mobilenet_v2", described, model, twin, "cross_entropy", data, flax)


def recurrent(
    cell: str,
    *,
    batch: int = 32,
    steps: int = 64,
    features: int = 64,
    hidden: int = 256,
    layers: int = 2,
) -> Workload:
    """Recurrent layers that read sequences, then a linear classifier."""
    generator = _generator()
    data = _normal(generator, batch, steps, features), _labels(generator, batch, CLASSES)
    model = getattr(models, cell)(features, hidden, CLASSES, num_layers=layers)
    twin = _own(cell, features, hidden, CLASSES, num_layers=layers)
    described = f"{layers} x {hidden}, {steps} steps of {features}, batch {batch}"
    sizes = {"cell": cell, "features": features, "hidden": hidden, "layers": layers}
    return Workload(cell, described, model, twin, "cross_entropy", data, ("recurrent", sizes))


def bert(
    *, batch: int = 8, tokens: int = 128, layers: int = 4, hidden: int = 256, heads: int = 4
) -> Workload:
    """BERT that classifies sequences."""
    config = models.BertConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    generator = _generator()
    data = (
        generator.integers(1, config.vocab_size, (batch, tokens)),
        _labels(generator, batch, config.num_labels),
    )

    def twin() -> torch.nn.Module:
        transformers = _beside_torch("transformers")
        theirs = transformers.BertConfig(**config._asdict())
        return transformers.BertForSequenceClassification(theirs)

    model = models.bert_for_sequence_classification(config)
    described = f"{layers} x {hidden}, {tokens} tokens, batch {batch}"
    flax = ("bert", {"config": config})
    return Workload("bert", described, model, twin, "cross_entropy", data, flax, output="logits")


def adamw_alone() -> Workload:
    """AdamW over ResNet-18's parameters, without the network."""
    described = "over resnet18's 62 parameters, 11.7 million numbers"
    model, twin = models.resnet18(), _torchvision("resnet18")
    return Workload("adamw", described, model, twin, None, (), ("resnet18", {}))


def _generator() -> np.random.Generator:
    return np.random.default_rng(SEED)


def _normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape, np.float32)


def _labels(generator: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    return generator.integers(0, classes, rows)


def _images(rows: int, channels: int, size: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = _generator()
    return _normal(generator, rows, channels, size, size), _labels(generator, rows, classes)


def _own(family: str, *args: Any, **kwargs: Any) -> Callable[[], torch.nn.Module]:
    """Makes a twin of :mod:`fdl.parity.twins`."""

    def make() -> torch.nn.Module:
        twins = require("fdl.parity.twins", extra="torch", purpose="the torch side of fdl.bench")
        return getattr(twins, family)(*args, **kwargs)

    return make


def _torchvision(name: str, **kwargs: Any) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        return getattr(_beside_torch("torchvision").models, name)(**kwargs)

    return make


def _beside_torch(package: str) -> Any:
    require("torch", extra="torch", purpose="the torch side of fdl.bench")
    from fdl.bench import _torchvision  # needs torch

    _torchvision.prepare()
    return require(package, extra="bench", purpose=f"torch's side of a workload of {package}")
