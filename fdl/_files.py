"""Writing files so that a failure leaves the earlier file whole."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path]:
    """Yields a temporary path beside `path`, renamed to `path` if the block succeeds.

    Parent folders are made, and the temporary name keeps the suffix. If the block raises, the
    temporary file is deleted and an earlier file at `path` stays as it was.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent, prefix=f".{final.name}.") as folder:
        temporary = Path(folder, final.name)
        yield temporary
        temporary.replace(final)
