"""The networks of :mod:`fdl.models` written in plain PyTorch: references, and how to read them."""

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

Activation = Callable[[], nn.Module]
Lengths = torch.Tensor | None


def mlp(
    sizes: Sequence[int],
    *,
    activation: Activation = nn.ReLU,
    dropout: float = 0.0,
    norm: Callable[[int], nn.Module] | None = None,
) -> nn.Sequential:
    """Counterpart of :func:`fdl.models.mlp`."""
    layers: list[nn.Module] = []
    for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
        if depth > 0:
            if norm is not None:
                layers.append(norm(inputs))
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


class LeNet5(nn.Module):
    """Counterpart of :class:`fdl.models.lenet.LeNet5`."""

    def __init__(
        self, in_channels: int, num_classes: int, padding: int, activation: Activation
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 6, kernel_size=5, padding=padding),
            activation(),
            nn.MaxPool2d(kernel_size=2),
            nn.Conv2d(6, 16, kernel_size=5),
            activation(),
            nn.MaxPool2d(kernel_size=2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            activation(),
            nn.Linear(120, 84),
            activation(),
            nn.Linear(84, num_classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the logits of a batch of images."""
        return self.classifier(self.features(images))


def lenet5(
    in_channels: int = 1,
    num_classes: int = 10,
    *,
    padding: int = 2,
    activation: Activation = nn.ReLU,
) -> LeNet5:
    """Counterpart of :func:`fdl.models.lenet5`."""
    return LeNet5(in_channels, num_classes, padding, activation)


class SequenceRNN(nn.Module):
    """Counterpart of :class:`fdl.models.recurrent.SequenceRNN`."""

    def __init__(self, rnn: nn.RNN, output_size: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.fc = _head(rnn, output_size)

    def forward(self, sequences: torch.Tensor, lengths: Lengths = None) -> torch.Tensor:
        """Returns one output for each sequence."""
        _, h_n = self.rnn(_packed(sequences, lengths))
        return self.fc(_last(self.rnn, h_n))


class SequenceLSTM(nn.Module):
    """Counterpart of :class:`fdl.models.recurrent.SequenceLSTM`."""

    def __init__(self, lstm: nn.LSTM, output_size: int) -> None:
        super().__init__()
        self.lstm = lstm
        self.fc = _head(lstm, output_size)

    def forward(self, sequences: torch.Tensor, lengths: Lengths = None) -> torch.Tensor:
        """Returns one output for each sequence."""
        _, (h_n, _) = self.lstm(_packed(sequences, lengths))
        return self.fc(_last(self.lstm, h_n))


class SequenceGRU(nn.Module):
    """Counterpart of :class:`fdl.models.recurrent.SequenceGRU`."""

    def __init__(self, gru: nn.GRU, output_size: int) -> None:
        super().__init__()
        self.gru = gru
        self.fc = _head(gru, output_size)

    def forward(self, sequences: torch.Tensor, lengths: Lengths = None) -> torch.Tensor:
        """Returns one output for each sequence."""
        _, h_n = self.gru(_packed(sequences, lengths))
        return self.fc(_last(self.gru, h_n))


def _head(layer: nn.RNNBase, output_size: int) -> nn.Linear:
    return nn.Linear(layer.hidden_size * _directions(layer), output_size)


def _packed(sequences: torch.Tensor, lengths: Lengths) -> Any:
    if lengths is None:
        return sequences
    return pack_padded_sequence(sequences, lengths, batch_first=True, enforce_sorted=False)


def _last(layer: nn.RNNBase, h_n: torch.Tensor) -> torch.Tensor:
    """The last layer's states at the end of what each direction reads, side by side."""
    return torch.cat([*h_n[-_directions(layer) :]], dim=-1)


def _directions(layer: nn.RNNBase) -> int:
    return 2 if layer.bidirectional else 1


def rnn(input_size: int, hidden_size: int, output_size: int, **options: Any) -> SequenceRNN:
    """Counterpart of :func:`fdl.models.rnn`; options are those of ``nn.RNN``."""
    return SequenceRNN(nn.RNN(input_size, hidden_size, batch_first=True, **options), output_size)


def lstm(input_size: int, hidden_size: int, output_size: int, **options: Any) -> SequenceLSTM:
    """Counterpart of :func:`fdl.models.lstm`; options are those of ``nn.LSTM``."""
    return SequenceLSTM(nn.LSTM(input_size, hidden_size, batch_first=True, **options), output_size)


def gru(input_size: int, hidden_size: int, output_size: int, **options: Any) -> SequenceGRU:
    """Counterpart of :func:`fdl.models.gru`; options are those of ``nn.GRU``."""
    return SequenceGRU(nn.GRU(input_size, hidden_size, batch_first=True, **options), output_size)


class LanguageModel(nn.Module):
    """Counterpart of :class:`fdl.models.language_model.LanguageModel`."""

    def __init__(
        self, embedding: nn.Embedding, rnn: nn.RNNBase, dropout: float, *, tied: bool
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.rnn = rnn
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(rnn.hidden_size, embedding.num_embeddings)
        if tied:
            self.fc.weight = embedding.weight

    def forward(self, ids: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        """Returns the logits of the token after each, and the state after the last."""
        outputs, state = self.rnn(self.drop(self.embedding(ids)), state)
        return self.fc(self.drop(outputs)), state


def language_model(
    vocab_size: int,
    embedding_dim: int,
    hidden_size: int,
    *,
    cell: str = "lstm",
    num_layers: int = 1,
    dropout: float = 0.0,
    tied: bool = False,
) -> LanguageModel:
    """Counterpart of :func:`fdl.models.language_model`."""
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
    rnn = kind(embedding_dim, hidden_size, num_layers, batch_first=True, dropout=dropout)
    return LanguageModel(nn.Embedding(vocab_size, embedding_dim), rnn, dropout, tied=tied)


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
