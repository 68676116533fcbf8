"""``python -m benchmarks``: see :mod:`benchmarks.command`."""

from fdl import keep_memory

keep_memory()

from benchmarks.command import main  # noqa: E402  the allocator is set up before JAX is imported

main()
