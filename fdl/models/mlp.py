"""Multilayer perceptron."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from flax import nnx

from fdl import nn
from fdl._model import as_model
from fdl._types import Model

Activation = Callable[[], nnx.Module]
Norm = Callable[[int], nnx.Module]


def mlp(
    sizes: Sequence[int],
    *,
    activation: Activation = nn.ReLU,
    dropout: float = 0.0,
    norm: Norm | None = None,
) -> Model:
    """Builds a multilayer perceptron.

    Args:
        sizes: features of the input, of each hidden layer, and of the output; two at least.
        activation: makes the activation after each hidden layer.
        dropout: probability of zeroing a hidden feature in training, after the activation.
        norm: makes what normalises each hidden layer before the activation, given its features,
            as ``fdl.nn.BatchNorm1d`` or ``fdl.nn.LayerNorm``; None for nothing.

    Returns:
        A model from ``(N, sizes[0])`` to ``(N, sizes[-1])``.

    Raises:
        ValueError: if fewer than two sizes are given.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.mlp([784, 256, 10])
        >>> params, buffers = model.init(jax.random.key(0))
        >>> {name: tensor.shape for name, tensor in sorted(params.items())}
        {'0.bias': (256,), '0.weight': (256, 784), '2.bias': (10,), '2.weight': (10, 256)}

    Torch: ``nn.Sequential(Linear, [norm,] ReLU, [Dropout,] ..., Linear)``.
    """
    check_sizes("mlp", sizes)
    return as_model(lambda rngs: nn.Sequential(*dense(sizes, activation, dropout, norm, rngs=rngs)))


def dense(
    sizes: Sequence[int],
    activation: Activation,
    dropout: float = 0.0,
    norm: Norm | None = None,
    *,
    rngs: nnx.Rngs,
) -> Iterator[nnx.Module]:
    """Linear layers through `sizes`; norm and dropout, if any, around an activation between."""
    for depth, (inputs, outputs) in enumerate(pairwise(sizes)):
        if depth > 0:
            if norm is not None:
                yield norm(inputs)
            yield activation()
            if dropout > 0:
                yield nn.Dropout(dropout, rngs=rngs)
        yield nn.Linear(inputs, outputs, rngs=rngs)


def check_sizes(
    factory: str, sizes: Sequence[int], example: Sequence[int] = (784, 256, 10), least: int = 2
) -> None:
    """Checks that `sizes` names `least` layers or more, an input and an output among them."""
    if len(sizes) < least or min(sizes) < 1:
        number = {2: "two", 3: "three"}[least]
        raise ValueError(
            f"{factory}: sizes: expected {number} or more positive numbers, as in {[*example]}, "
            f"got {list(sizes)}."
        )
