"""The three names that everything in fdl is written against."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax.core import FrozenDict
from jaxtyping import Array, Key

Params = dict[str, jax.Array]
"""Learnable tensors, keyed as in torch's ``state_dict``: ``{"layer1.0.conv1.weight": ...}``."""

Buffers = dict[str, jax.Array]
"""Tensors that a forward pass may update: ``{"layer1.0.bn1.running_mean": ...}``."""


class Model(NamedTuple):
    """A network as three pure functions.

    Attributes:
        init: ``init(key) -> (params, buffers)``: fresh tensors in PyTorch's default
            initialisation (equal in distribution, not in seed).
        apply: ``apply(params, buffers, *inputs, train=False, key=None) -> (output, buffers)``.
            ``output`` is whatever the network returns; ``buffers`` are the updated ones. ``key``
            feeds dropout and is required when ``train`` is true and the network draws random
            numbers. Further named arguments go to the network. A parameter that the forward pass
            itself rewrites (an embedding's with ``max_norm``) comes back among the buffers, for
            :func:`fdl.put_back`.
        trace: same arguments as ``apply``, returns ``{module name: output}``. The network itself is
            ``""``; the k-th call of one module (k > 1) is ``"name#k"``.
        tied: further names that torch's ``state_dict`` has for a tensor that the network uses
            twice, with the name that it has here: ``{"fc.weight": "embedding.weight"}``.

    Torch: ``torch.func.functional_call``, made functional in its buffers too.
    """

    init: Callable[[Key[Array, ""]], tuple[Params, Buffers]]
    apply: Callable[..., tuple[Any, Buffers]]
    trace: Callable[..., dict[str, Any]]
    tied: Mapping[str, str] = FrozenDict({})
