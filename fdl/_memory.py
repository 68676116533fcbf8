"""The allocator of the whole process, for programs that allocate the same again and again."""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # glibc's malloc.h
_NEVER = 2**31 - 1
_PAD = 64 * 2**20

in_effect = False
"""Whether :func:`keep_memory` has been called, with effect."""


def keep_memory() -> bool:
    """Lets the process keep the memory that it frees, for its next allocation.

    On a CPU, XLA allocates the temporaries of a program at each call, and PyTorch its tensors. The
    C library returns large blocks to the system when they are freed, so that each step waits for
    the system to map and clear the same pages again. After this call it keeps them: steps of
    networks with large activations become faster, and resident memory stays at its peak.

    It holds for the whole process, whatever allocates in it. Call it first, before JAX or PyTorch
    are imported and threads are started: later, they may have made heaps of their own. ``fdl`` on
    the command line and the benchmarks do so; a program that imports fdl decides for itself.

    Returns:
        Whether it is in effect. With another C library than glibc (macOS, Windows, musl) nothing is
        changed, and this is False.

    Example:
        >>> import fdl
        >>> kept = fdl.keep_memory()  # first of all

    Torch: none; the usual way is to start Python with jemalloc or tcmalloc preloaded, which has the
    same effect on both frameworks.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    global in_effect
    mallopt = ctypes.CDLL(None).mallopt
    wanted = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _PAD))
    taken = [mallopt(option, value) == 1 for option, value in wanted]
    in_effect = all(taken)
    return in_effect
