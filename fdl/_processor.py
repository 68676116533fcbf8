"""Which CPU this is, as far as Linux says."""

from functools import cache
from pathlib import Path

_INFO = Path("/proc/cpuinfo")


def described(field: str) -> str:
    """A field of the first processor in ``/proc/cpuinfo``, or ``""``."""
    if _INFO.is_file():
        for line in _INFO.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""


@cache
def is_intel() -> bool:
    """Whether it is one of Intel's, on which other formulations are fast than on AMD's."""
    return described("vendor_id") == "GenuineIntel"
