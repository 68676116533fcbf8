"""The networks of :mod:`fdl.models` written in plain PyTorch: references, and how to read them."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

Activation = Callable[[], nn.Module]


def mlp(
    sizes: Sequence[int], *, activation: Activation = nn.ReLU, dropout: float = 0.0
) -> nn.Sequential:
    """Counterpart of :func:`fdl.models.mlp`."""
    layers: list[nn.Module] = []
    for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
        if depth > 0:
            layers.append(activation())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


class CNN(nn.Module):
    """Counterpart of :class:`fdl.models.cnn.CNN`."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        channels: Sequence[int],
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for inputs, outputs in pairwise([in_channels, *channels]):
            blocks += [
                nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(kernel_size=2),
            ]
        height, width = (size // 2 ** len(channels) for size in image_size)
        self.features = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[-1] * height * width, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the logits of a batch of images."""
        return self.classifier(self.features(images))


def cnn(
    in_channels: int = 1,
    num_classes: int = 10,
    *,
    image_size: tuple[int, int] = (28, 28),
    channels: Sequence[int] = (32, 64),
    hidden: int = 128,
    dropout: float = 0.25,
) -> CNN:
    """Counterpart of :func:`fdl.models.cnn`."""
    return CNN(in_channels, num_classes, image_size, channels, hidden, dropout)


class SequenceLSTM(nn.Module):
    """Counterpart of :class:`fdl.models.lstm.SequenceLSTM`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True, dropout=dropout)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """Returns one output for each sequence."""
        outputs, _ = self.lstm(sequences)
        return self.fc(outputs[:, -1])


def lstm(
    input_size: int,
    hidden_size: int,
    output_size: int,
    *,
    num_layers: int = 1,
    dropout: float = 0.0,
) -> SequenceLSTM:
    """Counterpart of :func:`fdl.models.lstm`."""
    return SequenceLSTM(input_size, hidden_size, output_size, num_layers, dropout)


class Autoencoder(nn.Module):
    """Counterpart of :class:`fdl.models.autoencoder.Autoencoder`."""

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Activation,
        output_activation: Activation | None,
    ) -> None:
        super().__init__()
        last = [] if output_activation is None else [output_activation()]
        self.encoder = mlp(sizes, activation=activation)
        self.decoder = nn.Sequential(*mlp(sizes[::-1], activation=activation), *last)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Returns the reconstruction."""
        return self.decoder(self.encoder(input))


def autoencoder(
    sizes: Sequence[int],
    *,
    activation: Activation = nn.ReLU,
    output_activation: Activation | None = nn.Sigmoid,
) -> Autoencoder:
    """Counterpart of :func:`fdl.models.autoencoder`."""
    return Autoencoder(sizes, activation, output_activation)


def outputs_of_file(
    module: nn.Module, path: str | os.PathLike[str], inputs: np.ndarray
) -> np.ndarray:
    """Loads a safetensors file into a torch module and runs it in evaluation mode.

    Args:
        module: the module; it takes the file's tensors over.
        path: as :func:`fdl.interop.save_safetensors` or torch's world writes it.
        inputs: for the module, rows first.

    Returns:
        Its output.

    Raises:
        RuntimeError: torch's, if a key or shape differs (``strict=True``).
    """
    module.load_state_dict(load_file(path), strict=True)
    with torch.inference_mode():
        return module.eval()(torch.from_numpy(inputs)).numpy()
