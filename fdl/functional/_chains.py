"""Loops over time in which parts of a batch advance side by side.

A step is a small product and then work on single elements, each waiting for the one before. On a
CPU, where one product is too small for all cores, half a batch can multiply while the other half
does the rest: a forward pass of 64 steps of 256 units and 32 sequences takes 0.83 (LSTM) and 0.65
(GRU) of the time, an LSTM's gradient 0.9; of a plain RNN's, with less to do between the products,
1.0 to 1.3 and at 128 sequences 1.7. On GPUs and TPUs there is one loop over the whole batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fdl.functional._bilinear import says_more
from fdl.functional._formulations import by_platform, forced_of

CHAINS = 2
"""Parts of a batch."""


def scan(body: Callable, init: Any, steps: Any, *, split: bool, **options: Any) -> tuple[Any, Any]:
    """``lax.scan``, on CPUs in chains if wanted.

    Args:
        body: ``(carry, step) -> (carry, output)``, each sequence of the batch for itself.
        init: the first carry, the batch on its arrays' first axis.
        steps: arrays ``(L, N, ...)``.
        split: whether chains are faster here.
        options: of ``lax.scan``.
    """
    whole = partial(lax.scan, body, **options)
    arrays = jax.tree.leaves((init, steps))
    possible = len(arrays[0]) >= CHAINS and not any(map(says_more, arrays))
    if not possible or not (split or forced_of("recurrence") == "chains"):
        return whole(init, steps)
    return by_platform(
        "recurrence", init, steps, library=whole, cpu=partial(_in_chains, body, **options)
    )


def _in_chains(body: Callable, init: Any, steps: Any, **options: Any) -> tuple[Any, Any]:
    def advanced(carries, now):
        both = map(body, carries, _parts(now))
        carries, outputs = zip(*both, strict=True)
        return carries, _joined(outputs)

    carries, outputs = lax.scan(advanced, _parts(init), steps, **options)
    return _joined(carries), outputs


def _parts(tree: Any) -> tuple[Any, ...]:
    leaves, structure = jax.tree.flatten(tree)
    cut = [jnp.array_split(leaf, CHAINS) for leaf in leaves]
    return tuple(structure.unflatten(part) for part in zip(*cut, strict=True))


def _joined(trees: Any) -> Any:
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *trees)
