"""Programs that are compiled without JAX's persistent compilation cache."""

import jax
import jax.numpy as jnp
import pytest

from fdl._compilation import uncached


def compiled(number):
    """Compiles a program, the same for the same number, though Python has not seen it before."""
    return float(jax.jit(lambda x: x * number)(jnp.float32(2)))


def programs(folder):
    return {*folder.glob("*-cache")}


def test_nothing_is_written_meanwhile(kept_on_disk):
    compiled(3)
    before = programs(kept_on_disk)
    with uncached():
        assert compiled(5) == 10
    assert programs(kept_on_disk) == before
    compiled(7)
    assert programs(kept_on_disk) > before > set()


def test_nothing_is_read_meanwhile(kept_on_disk):
    compiled(3)
    for path in programs(kept_on_disk):
        path.write_bytes(b"no program")
    with uncached():
        assert compiled(3) == 6
    with pytest.warns(UserWarning, match="Error reading persistent compilation cache"):
        compiled(3)


def test_a_cache_that_was_off_stays_off(kept_on_disk):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        with uncached():
            pass
        compiled(3)
        assert not programs(kept_on_disk)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
