"""A user's own function, jitted against eager."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from fdl._compilation import uncached
from fdl.bench._tables import milliseconds, table
from fdl.bench._workload import SEED
from fdl.bench.gate import UnequalError
from fdl.bench.timing import Timing, interleaved, timed
from fdl.parity._inputs import parse
from fdl.parity._named import import_from_here, located
from fdl.parity.tolerance import TOLERANCE

ROLE = "--mine"


def mine(text: str, inputs: Sequence[str] = (), *, blocks: int = 9) -> dict[str, Timing]:
    """Times a function under ``jax.jit`` against the same function op by op, in turns.

    Both are compiled anew, whatever JAX's persistent compilation cache has.

    Args:
        text: ``pkg.mod:name``, found from the current directory or installed.
        inputs: an array for each argument, as ``f32[8,3,32,32]`` or ``i64[8]<10``, drawn once.
            Without any, the named function is called once, without arguments, and has to return
            ``(function, *arguments)``: any pytrees of arrays.
        blocks: as in :func:`fdl.bench.interleaved`.

    Returns:
        ``"jax eager"`` and ``"jax jit"`` to their timings.

    Raises:
        ValueError: if there is no such function, or jitted and eager results are further apart
            than rounding explains.
    """
    import_from_here()
    function, arguments = _case(located(ROLE, text), text, inputs)
    jitted = jax.jit(function)

    def eager() -> Any:
        with jax.disable_jit():
            return function(*arguments)

    calls: dict[str, Callable[[], Any]] = {
        "jax eager": eager,
        "jax jit": lambda: jitted(*arguments),
    }
    with uncached():
        firsts, results = zip(*(timed(call) for call in calls.values()), strict=True)
        _check(text, *results)
        return interleaved(calls, blocks=blocks, first_calls=dict(zip(calls, firsts, strict=True)))


def shown(text: str, timings: dict[str, Timing]) -> Table:
    """The timings as a table."""
    found = table(f"{text}: ms a call on {jax.devices()[0].device_kind}", [])
    for heading in ("variant", "compile", "median", "quartiles", "jit gain"):
        found.add_column(heading, justify="left" if heading == "variant" else "right")
    jit = timings["jax jit"].median
    for name, timing in timings.items():
        low, median, high = (milliseconds(seconds) for seconds in timing[1:4])
        cells = (f"{timing.compile:.2f} s", median, f"{low}-{high}", f"{timing.median / jit:.2f}x")
        found.add_row(name, *cells)
    return found


def _case(found: Any, text: str, inputs: Sequence[str]) -> tuple[Callable[..., Any], list[Any]]:
    """The function and its arguments."""
    if inputs:
        generator = np.random.default_rng(SEED)
        return found, [jnp.asarray(parse("--input", spec).draw(generator)) for spec in inputs]
    try:
        made = found()
    except TypeError as error:
        raise ValueError(
            f"{ROLE} {text}: expected a function without arguments that returns (function, "
            f"*arguments), got {error}. Or describe its arguments: --input 'f32[8,32]' for each."
        ) from error
    if not isinstance(made, tuple) or not made or not callable(made[0]):
        raise ValueError(
            f"{ROLE} {text}: expected (function, *arguments) from it, got {type(made).__name__}. "
            "Or describe its arguments: --input 'f32[8,32]' for each."
        )
    return made[0], list(made[1:])


def _check(text: str, eager: Any, jitted: Any) -> None:
    """Jitted and eager may differ by rounding alone, which deep functions magnify."""
    for one, other in zip(jax.tree.leaves(eager), jax.tree.leaves(jitted), strict=True):
        floating = jnp.issubdtype(jnp.asarray(one).dtype, jnp.inexact)
        eps = float(jnp.finfo(jnp.asarray(one).dtype).eps) if floating else 0.0
        one, other = (
            np.asarray(x, complex if jnp.iscomplexobj(x) else float) for x in (one, other)
        )
        largest = float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
        bound = TOLERANCE.floor**2 * eps * largest
        if not np.allclose(other, one, rtol=0.0, atol=bound, equal_nan=True):
            raise UnequalError(
                f"{ROLE} {text}: expected the same from the jitted and the eager function, got "
                f"{np.abs(one - other).max():.1e} of {largest:.1e}. Does it keep state, or draw "
                "random numbers outside of jax.random?"
            )
