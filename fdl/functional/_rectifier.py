"""The rectifier, which on CPUs works behind a dense layer on one half of its rows after the other.

XLA cuts a loop over elements in two for two threads wherever it writes 256 KiB or more, and waking
the other thread takes longer than up to 2 MiB in one go: a bias and a rectifier over 128 x 512
numbers take 0.076 ms that way and 0.024 in one piece, 1024 x 512 take 0.087 and 0.060, 4 MiB are
alike. A loop over halves, in place, is not cut. With it a perceptron's inference takes 0.88 to 0.94
of the time for 128 rows and 0.82 to 0.88 for 1024. Its training step would take 1.02 to 1.06 and
0.99 to 1.0 of it: what is differentiated is left to XLA.

Elsewhere XLA makes one loop of a rectifier and what is before it, a batch norm or a sum, which
would be two with it. So what is rectified is looked at when a program is lowered: it has to be a
bias that was added to a product.
"""

from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad, batching, mlir

from fdl.functional._formulations import forced_of, is_known
from fdl.functional._primitives import bound, named, on_one_device

_CUT, _ALIKE = 2**18, 2**22
"""Bytes from which XLA cuts a loop, and from which that takes no longer."""
_PRODUCTS = {"stablehlo.dot_general", "stablehlo.custom_call"}


def rectify(input: jax.Array) -> jax.Array:
    """``max(x, 0)``, which passes NaN on; its derivative is 0 at 0."""
    return bound(_RECTIFY, _rectify, input)


def _rectify(input: jax.Array) -> jax.Array:
    return jnp.where(input <= 0, 0, input)


def _rectify_halves(product: jax.Array, bias: jax.Array) -> jax.Array:
    """Of a product plus a bias."""
    rows = len(product) // 2

    def half(index: jax.Array, found: jax.Array) -> jax.Array:
        part = lax.dynamic_slice_in_dim(found, index * rows, rows)
        return lax.dynamic_update_slice_in_dim(found, _rectify(part + bias), index * rows, 0)

    return lax.fori_loop(0, 2, half, product)


def _lowered(context: Any, operand: Any) -> Any:
    (aval,) = context.avals_in
    if _is_for_one_cpu(context) and _suits(aval) and (parts := _bias_and_product(operand)):
        avals = [aval, aval.update(shape=aval.shape[-1:])]
        lowered = mlir.lower_fun(_rectify_halves, multiple_results=False)
        return lowered(context.replace(avals_in=avals), *parts)
    return mlir.lower_fun(_rectify, multiple_results=False)(context, operand)


def _is_for_one_cpu(context: Any) -> bool:
    platforms = context.platforms or context.module_context.platforms
    return [*platforms] == ["cpu"] and on_one_device(context)


def _suits(aval: Any) -> bool:
    forced = forced_of("rectifier")
    if not is_known(aval.shape) or aval.ndim < 2 or aval.shape[0] % 2 or forced == "library":
        return False
    return forced == "halves" or _CUT <= prod(aval.shape) * aval.dtype.itemsize < _ALIKE


def _bias_and_product(value: Any) -> tuple[Any, Any] | None:
    """The product ``(*rows, O)`` and the bias ``(O,)`` whose sum it is."""
    if not _is(value, "stablehlo.add"):
        return None
    product, bias = value.owner.operands
    made = product
    while _is(made, "stablehlo.reshape"):
        made = made.owner.operands[0]
    while _is_in_every_row(bias):
        bias = bias.owner.operands[0]
    vector = bias.type.shape == value.type.shape[-1:]
    return (product, bias) if vector and _is(made, *_PRODUCTS) else None


def _is_in_every_row(value: Any) -> bool:
    """Whether it repeats something along axes in front."""
    if not _is(value, "stablehlo.broadcast_in_dim"):
        return False
    dims, inside = (len(x.type.shape) for x in (value, value.owner.operands[0]))
    return [*value.owner.attributes["broadcast_dimensions"]] == [*range(dims - inside, dims)]


def _is(value: Any, *names: str) -> bool:
    """Whether an operation of one of these names has this result; arguments have no name."""
    return getattr(value.owner, "name", None) in names


_RECTIFY = named("fdl_rectify", lambda aval: aval)
mlir.register_lowering(_RECTIFY, _lowered, cacheable=False)
batching.defvectorized(_RECTIFY)
ad.primitive_jvps[_RECTIFY] = partial(jax.jvp, _rectify)
