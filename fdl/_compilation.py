"""JAX's persistent compilation cache, which is not for every program."""

from collections.abc import Generator
from contextlib import contextmanager

import jax
from jax.experimental.compilation_cache import compilation_cache


@contextmanager
def uncached() -> Generator[None]:
    """Compiles what is called meanwhile anew, without reading from disk or writing to it.

    So a time to compile is one, and on CPUs programs may call oneDNN, which jaxlib cannot write:
    what is computed many times, as a step of training, gains far more by that than compiling it
    again takes.

    JAX asks once in a process whether the cache is on, so it is made to ask again.
    """
    was_on = jax.config.values["jax_enable_compilation_cache"]
    _turn(on=False)
    try:
        yield
    finally:
        _turn(on=was_on)


def _turn(*, on: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", on)
    compilation_cache.reset_cache()
