"""Torch's weights under the names and in the layouts of Flax."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
"""Flax's name of a leaf, and torch's."""

BERT = {
    "words": "bert.embeddings.word_embeddings",
    "positions": "bert.embeddings.position_embeddings",
    "types": "bert.embeddings.token_type_embeddings",
    "norm": "bert.embeddings.LayerNorm",
    "pooler": "bert.pooler.dense",
    r"blocks\.(\d+)\.attention\.(query|key|value)": r"bert.encoder.layer.\1.attention.self.\2",
    r"blocks\.(\d+)\.attention\.out": r"bert.encoder.layer.\1.attention.output.dense",
    r"blocks\.(\d+)\.attention_norm": r"bert.encoder.layer.\1.attention.output.LayerNorm",
    r"blocks\.(\d+)\.intermediate": r"bert.encoder.layer.\1.intermediate.dense",
    r"blocks\.(\d+)\.output": r"bert.encoder.layer.\1.output.dense",
    r"blocks\.(\d+)\.output_norm": r"bert.encoder.layer.\1.output.LayerNorm",
}
"""Names of modules that differ."""

GATES = {"rnn": [""], "gru": ["r", "z", "n"], "lstm": ["i", "f", "g", "o"]}
"""In the order in which torch stacks them."""


class Layout(NamedTuple):
    """How one network's weights differ from torch's.

    Attributes:
        renamed: patterns of modules' names, and torch's name.
        flattened: dense layers that read flattened maps, and the maps' shape (C, H, W).
        transposed: beginning of the names of transposed convolutions.
    """

    renamed: Mapping[str, str] = {}
    flattened: Mapping[str, tuple[int, int, int]] = {}
    transposed: str = "-"


LAYOUTS = {
    "cnn": Layout(flattened={"classifier.1": (64, 7, 7)}),
    "alexnet": Layout(flattened={"classifier.1": (256, 6, 6)}),
    "conv_autoencoder": Layout(transposed="decoder."),
    "bert": Layout(renamed=BERT),
}


def initial(network: str, paths: Mapping[str, Any], weights: Arrays) -> Arrays:
    """Finds each leaf's initial value in torch's.

    Args:
        network: name of the network.
        paths: names of the leaves, parts joined by dots and numbers apart, to anything with a
            shape.
        weights: torch's tensors by key.

    Returns:
        The leaves by the same names.
    """
    layout = LAYOUTS.get(network, Layout())
    return {path: _leaf(layout, path, like.shape, weights) for path, like in paths.items()}


def recurrent(cell: str, library: str, weights: Arrays) -> Arrays:
    """A recurrent network's tensors, one for each that Flax's cells have.

    Flax has one bias where torch has two that are only ever added: it is their sum.
    """
    layers = sum(key.startswith(f"{cell}.weight_ih") for key in weights)
    found = {name: weights[name] for name in ("fc.weight", "fc.bias")}
    for layer in range(layers):
        tensors = [
            weights[f"{cell}.{kind}_{side}_l{layer}"]
            for kind in ("weight", "bias")
            for side in ("ih", "hh")
        ]
        make = _joined_gates if library == "nnx" else _single_gates
        prefix = f"stack.{layer}.cell" if library == "nnx" else f"stack.{layer}"
        found |= {f"{prefix}.{name}": value for name, value in make(cell, *tensors).items()}
    return found


def name_of(path: tuple[Any, ...]) -> str:
    """A path in a tree of Flax as torch writes names: dots, and numbers apart."""
    joined = ".".join(str(part) for part in path if part != "layers")  # nnx.Sequential's
    return re.sub(r"_(\d+)(?=\.|$)", r".\1", joined).replace("..", ".").strip(".")


def _joined_gates(cell: str, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Arrays:
    """NNX: one product for all gates."""
    side = "dense_h" if cell == "lstm" else "dense_i"
    return {"dense_i.weight": w_ih, "dense_h.weight": w_hh, f"{side}.bias": b_ih + b_hh}


def _single_gates(cell: str, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Arrays:
    """Linen: a product for each gate."""
    gates = GATES[cell]
    found: Arrays = {}
    parts = (np.split(tensor, len(gates)) for tensor in (w_ih, w_hh, b_ih, b_hh))
    for gate, wi, wh, bi, bh in zip(gates, *parts, strict=True):
        found |= {f"i{gate}.weight": wi, f"h{gate}.weight": wh}
        if (cell, gate) == ("gru", "n"):
            found |= {"in.bias": bi, "hn.bias": bh}
        else:
            found[f"{'h' if cell == 'lstm' else 'i'}{gate}.bias"] = bi + bh
    return found


def summed(path: str, cell: str) -> bool:
    """Whether a bias of a recurrent network stands for two of torch's."""
    return path.endswith("bias") and "fc" not in path and not (cell == "gru" and "n.bias" in path)


def _leaf(layout: Layout, path: str, shape: tuple[int, ...], weights: Arrays) -> np.ndarray:
    module, _, leaf = path.rpartition(".")
    for pattern, name in layout.renamed.items():
        if re.fullmatch(pattern, module):
            module = re.sub(pattern, name, module)
            break
    found = weights[f"{module}.{LEAVES[leaf]}"]
    if leaf != "kernel":
        return found.reshape(shape)
    if path.startswith(layout.transposed):
        return found.transpose(2, 3, 0, 1)[::-1, ::-1]
    if module in layout.flattened:
        maps = found.reshape(-1, *layout.flattened[module])
        found = maps.transpose(0, 2, 3, 1).reshape(found.shape)
    return found.transpose(2, 3, 1, 0) if found.ndim == 4 else found.T.reshape(shape)
