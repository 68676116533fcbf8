"""Loops over time in which parts of a batch advance side by side.

A step is a small product and then work on single elements, each waiting for the one before. On a
CPU, where one product is too small for all cores, half a batch can multiply while the other half
does the rest: a forward pass of 64 steps of 256 units and 32 sequences takes 0.80 (LSTM) and 0.64
(GRU) of the time, their gradients 0.86; of a plain RNN's, with less to do between the products,
1.0 to 1.3 and at 128 sequences 1.7. On GPUs and TPUs there is one loop over the whole batch.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from fdl.functional._formulations import by_platform, forced_of, is_known
from fdl.functional._primitives import says_more

CHAINS = 2
"""Parts of a batch."""


def scan(
    body: Callable,
    init: Any,
    steps: Any,
    *,
    split: bool,
    kept: tuple[Any, ...] = (None,),
    **options: Any,
) -> tuple[Any, Any, tuple[Any, ...]]:
    """``lax.scan`` that also keeps something for a loop to come, on CPUs in chains if wanted.

    What is kept stays in parts of the batch. A loop that had to take it apart again would do so in
    a loop before it, as that does not wait for what is being derived.

    Args:
        body: ``(carry, step, kept) -> (carry, output, kept)``, each sequence of the batch for
            itself.
        init: the first carry, the batch on its arrays' first axis.
        steps: arrays ``(L, N, ...)``.
        split: whether chains are faster here.
        kept: what a loop over the same batch returned last.
        options: of ``lax.scan``.

    Returns:
        The last carry, the outputs ``(L, N, ...)``, and what is kept.
    """
    arrays = jax.tree.leaves((init, steps))
    first = arrays[0].shape
    possible = is_known(first) and first[0] >= CHAINS and not any(map(says_more, arrays))
    chains = possible and (split or forced_of("recurrence") == "chains")
    if chains and len(kept) == 1:
        kept = _parts(kept[0], axis=1)
    whole = partial(_whole, body, parts=CHAINS if chains else 1, **options)
    if not chains:
        return whole(init, steps, kept)
    in_chains = partial(_in_chains, body, **options)
    return by_platform("recurrence", init, steps, kept, library=whole, cpu=in_chains)


def _whole(
    body: Callable, init: Any, steps: Any, kept: tuple[Any, ...], *, parts: int, **options: Any
) -> Any:
    def advanced(carry, now):
        carry, output, left = body(carry, *now)
        return carry, (output, left)

    carry, (outputs, left) = lax.scan(advanced, init, (steps, _joined(kept, axis=1)), **options)
    return carry, outputs, _parts(left, parts, axis=1)


def _in_chains(body: Callable, init: Any, steps: Any, kept: tuple[Any, ...], **options: Any) -> Any:
    def advanced(carries, now):
        step, kept = now
        carries, outputs, left = zip(*map(body, carries, _parts(step), kept), strict=True)
        return carries, (_joined(outputs), left)

    carries, (outputs, left) = lax.scan(advanced, _parts(init), (steps, kept), **options)
    return _joined(carries), outputs, left


def _parts(tree: Any, parts: int = CHAINS, *, axis: int = 0) -> tuple[Any, ...]:
    """Trees of parts of the batch; the same tree for each where it has no arrays, as None."""
    leaves, structure = jax.tree.flatten(tree)
    cut = [jnp.array_split(leaf, parts, axis) for leaf in leaves]
    return tuple(structure.unflatten(part) for part in zip(*cut, strict=True)) or (tree,) * parts


def _joined(trees: tuple[Any, ...], *, axis: int = 0) -> Any:
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis), *trees)
