"""The product of rows with a weight matrix, and the two maps that pull cotangents back through it.

On GPUs and TPUs they are XLA's matrix product, and on CPUs, but for the gradient of a weight over
many more rows than it has, where oneDNN's takes 0.35 to 0.8 of XLA's time alone and an LSTM's
training step with it 0.93. Where it is used for all products, perceptrons' and BERT's steps take
1.0 to 1.4 times as long: XLA works on several products at once, oneDNN on one after the other.

Few rows are multiplied from the other side, the weight first: as it is, XLA would lay the whole
weight out anew for them. Of its time 2 to 32 rows with AlexNet's 4096 x 9216 or 4096 x 4096 take
0.35 to 0.55, with 1000 x 512 or more 0.55 to 0.96 in float32, 0.56 to 0.94 in bfloat16 and 0.37 to
0.99 in float64, in float64 up to 1.3 for two rows with a smaller one. Three layers of 512 x 512 or
more take 0.39 to 0.98 in one program, a perceptron's inference 0.74 to 0.88 for 2 to 8 rows and
0.90 to 0.97 for 16. Where a weight has fewer than 2**14 numbers for each row it loses: 1.01 to 1.1
for 32 rows, 1.06 with a last layer of 10 x 512 turned too. From 48 rows on there is no more to gain
with 512 numbers in a row.

On Intel's cores oneDNN pays for gradients over as many rows as a weight has (0.92 of a perceptron's
step at 1024 rows, 0.97 of BERT's), and for few rows with a large weight: eight rows with AlexNet's
4096 x 9216 take 8.7 ms instead of 24.

Where each of many heads has a matrix of its own, oneDNN's products take 0.36 to 0.9 of XLA's time
for 64 to 512 rows of 32 to 128 numbers and 0.75 to 1.2 for 16 to 49, and what is pulled back to a
matrix 0.3 to 0.7 (0.8 to 0.9 for one row; 1.3 for two small heads, the worst of 14 shapes): with
both, BERT's inference takes 0.89 and 0.93, its training step 0.91 to 0.97. Forward, one row would
take 0.8 to 2.4 of it, 1024 rows 1.1 to 1.2. This was measured on AMD alone.
"""

from collections.abc import Callable
from math import prod

import jax
import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from fdl._processor import is_intel
from fdl.functional import _bilinear, _onednn
from fdl.functional._formulations import forced_of
from fdl.functional._primitives import bound


def project(input: jax.Array, weight: jax.Array) -> jax.Array:
    r""":math:`y = x W^\top`: ``(*shared, *rows, I)`` and ``(*shared, O, I)`` to ``(..., O)``."""
    return bound(_PROJECT, _project, input, weight)


def pull_input(output: jax.Array, weight: jax.Array) -> jax.Array:
    r"""Pulls back: ``(*shared, *rows, O)`` and ``(*shared, O, I)`` to ``(*shared, *rows, I)``."""
    return bound(_PULL_INPUT, _pull_input, output, weight)


def pull_weight(output: jax.Array, input: jax.Array, *, shared: int = 0) -> jax.Array:
    r"""Pulls back: ``(*shared, *rows, O)`` and ``(*shared, *rows, I)`` to ``(*shared, O, I)``.

    Args:
        output: a cotangent.
        input: what was projected.
        shared: how many axes in front are shared, as by heads with a weight each.
    """
    return bound(_PULL_WEIGHT, _pull_weight, output, input, shared=shared)


def _project(input: jax.Array, weight: jax.Array) -> jax.Array:
    shared = tuple(range(weight.ndim - 2))
    axes = (input.ndim - 1,), (weight.ndim - 1,)
    return lax.dot_general(input, weight, (axes, (shared, shared)))


def _pull_input(output: jax.Array, weight: jax.Array) -> jax.Array:
    shared = tuple(range(weight.ndim - 2))
    axes = (output.ndim - 1,), (weight.ndim - 2,)
    return lax.dot_general(output, weight, (axes, (shared, shared)))


def _pull_weight(output: jax.Array, input: jax.Array, *, shared: int) -> jax.Array:
    rows, lead = tuple(range(shared, input.ndim - 1)), tuple(range(shared))
    return lax.dot_general(output, input, ((rows, rows), (lead, lead)))


def _calls_onednn(*operands: jax.Array, possible: bool, preferred: bool) -> bool:
    forced = forced_of("product")
    wanted = preferred if forced is None else forced == "onednn"
    return possible and wanted and all(x.dtype == jnp.float32 and x.size > 0 for x in operands)


def _few(input: jax.Array) -> bool:
    """Whether rows are so few that the weight is what takes the time."""
    return 2 <= prod(input.shape[:-1]) <= 32


def _suits(input: jax.Array, weight: jax.Array) -> bool:
    """Whether oneDNN is faster with rows.

    With a weight for all it is on Intel's cores, if rows are few and the weight is large.
    """
    if weight.ndim == 2:
        return is_intel() and _few(input) and weight.size >= 2**21
    *shared, long, _ = weight.shape
    number = prod(input.shape[len(shared) : -1])
    return prod(shared) > 1 and number >= 16 and max(number, long) <= 512


def _suits_gradient(output: jax.Array, input: jax.Array, shared: int) -> bool:
    """Whether oneDNN is faster with a weight's gradient: with rows many beside what is in one."""
    if shared:
        return prod(input.shape[:shared]) > 1
    least = 1 if is_intel() else 2
    return prod(input.shape[:-1]) >= least * max(output.shape[-1], input.shape[-1])


def _turns(input: jax.Array, weight: jax.Array) -> bool:
    if weight.ndim > 2 or (forced := forced_of("product")) is not None:
        return weight.ndim == 2 and forced == "turned"
    enough = prod(input.shape[:-1]) <= weight.size // 2**14
    return enough and _few(input) and input.shape[-1] >= 512


def _rows(array: jax.Array, shared: int) -> jax.Array:
    """``(rows, numbers)``, behind one axis of what is shared if anything is."""
    lead = (prod(array.shape[:shared]),) if shared else ()
    return array.reshape(*lead, prod(array.shape[shared:-1]), array.shape[-1])


def _project_on_cpu(input: jax.Array, weight: jax.Array, *, onednn: bool) -> jax.Array:
    if _calls_onednn(input, weight, possible=onednn, preferred=_suits(input, weight)):
        operands = (_rows(x, weight.ndim - 2) for x in (input, weight))
        found = _onednn.product(*operands, turned=(False, True))
    elif _turns(input, weight):
        found = _turned(_rows(input, 0), weight)
    else:
        return _project(input, weight)
    return found.reshape(*input.shape[:-1], weight.shape[-2])


def _turned(rows: jax.Array, weight: jax.Array) -> jax.Array:
    """The weight times the rows; behind a barrier, or XLA would turn the product back."""
    return lax.optimization_barrier(_project(weight, rows)).T


def _pull_input_on_cpu(output: jax.Array, weight: jax.Array, *, onednn: bool) -> jax.Array:
    if not _calls_onednn(output, weight, possible=onednn, preferred=_suits(output, weight)):
        return _pull_input(output, weight)
    operands = (_rows(x, weight.ndim - 2) for x in (output, weight))
    found = _onednn.product(*operands, turned=(False, False))
    return found.reshape(*output.shape[:-1], weight.shape[-1])


def _pull_weight_on_cpu(
    output: jax.Array, input: jax.Array, *, shared: int, onednn: bool
) -> jax.Array:
    preferred = _suits_gradient(output, input, shared)
    if not _calls_onednn(output, input, possible=onednn, preferred=preferred):
        return _pull_weight(output, input, shared=shared)
    operands = (_rows(x, shared) for x in (output, input))
    found = _onednn.product(*operands, turned=(True, False))
    return found.reshape(*input.shape[:shared], output.shape[-1], input.shape[-1])


def _together(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    """With one more axis of rows in front of the first operand."""

    def together(rows: jax.Array, weight: jax.Array) -> jax.Array:
        place = weight.ndim - 2
        return jnp.moveaxis(function(jnp.moveaxis(rows, 0, place), weight), place, 0)

    return together


_PROJECT = _bilinear.primitive(
    "fdl_project",
    lambda x, w: (*x.shape[:-1], w.shape[-2]),
    library=_project,
    cpu=_project_on_cpu,
    together=_together(project),
    paired=project,
)
_PULL_INPUT = _bilinear.primitive(
    "fdl_pull_rows",
    lambda y, w: (*y.shape[:-1], w.shape[-1]),
    library=_pull_input,
    cpu=_pull_input_on_cpu,
    together=_together(pull_input),
    paired=pull_input,
)
_PULL_WEIGHT = _bilinear.primitive(
    "fdl_pull_matrix",
    lambda y, x, shared: (*y.shape[:shared], y.shape[-1], x.shape[-1]),
    library=_pull_weight,
    cpu=_pull_weight_on_cpu,
    paired=lambda y, x, shared: pull_weight(y, x, shared=shared + 1),
    static=("shared",),
)


ad.defbilinear(
    _PROJECT,
    lambda ct, x, w: pull_input(ct, w),
    lambda ct, x, w: pull_weight(ct, x, shared=w.aval.ndim - 2),
)
ad.defbilinear(
    _PULL_INPUT,
    lambda ct, y, w: project(ct, w),
    lambda ct, y, w: pull_weight(y, ct, shared=w.aval.ndim - 2),
)
ad.defbilinear(
    _PULL_WEIGHT,
    lambda ct, y, x, shared: project(x, ct),
    lambda ct, y, x, shared: pull_input(y, ct),
)
