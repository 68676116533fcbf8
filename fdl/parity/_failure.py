"""When two networks cannot be compared at all."""

import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import jax

HERE = Path(__file__).parent.parent
LIBRARIES = ("site-packages", "dist-packages")

NO_LBFGS = (
    "expected an optimizer whose step takes the gradients as they are, got L-BFGS, which runs the "
    "network again within a step. Compare outputs, loss and gradients without an optimizer, and "
    "trajectories in a loop of your own."
)


class CannotCompare(Exception):  # noqa: N818  (a verdict, not a fault of ours)
    """One side does not run, or the two do not fit; the message is the verdict."""


@contextmanager
def blamed(who: str) -> Generator[None]:
    """Turns whatever somebody else's code raises into a verdict that says where it was."""
    try:
        yield
    except CannotCompare:
        raise
    except Exception as error:
        first, *_ = str(error).strip().splitlines() or [""]
        place = _place(error)
        raise CannotCompare(f"{who} raised {type(error).__name__}{place}: {first}") from error


def _place(error: BaseException) -> str:
    """The last line of the user's own code in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        frame
        for frame in frames
        if HERE not in Path(frame.filename).parents
        and not any(library in frame.filename for library in LIBRARIES)
        and not frame.filename.startswith("<")
        and Path(jax.__file__).parent not in Path(frame.filename).parents
    ]
    return f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
