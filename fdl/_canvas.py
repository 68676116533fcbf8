"""The figures that plots are drawn on: their style, their panels, and the file they end in."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from fdl._checks import require
from fdl._files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FilePath = str | os.PathLike[str]

DPI = 120


@contextmanager
def saved(path: FilePath, function: str, size: tuple[float, float]) -> Generator[Figure]:
    """Yields a figure in the house's style, `size` in inches, and saves it after the block."""
    if not Path(path).suffix:
        raise ValueError(
            f"{function}: path: expected a file name with a suffix such as .png, got {str(path)!r}."
        )
    names = ("matplotlib", "seaborn", "matplotlib.figure")
    matplotlib, seaborn, shapes = (require(n, extra="plots", purpose=function) for n in names)
    style = {**seaborn.axes_style("whitegrid"), **seaborn.plotting_context("notebook", 0.85)}
    style |= {f"figure.constrained_layout.{side}_pad": 0.08 for side in "wh"}  # inches
    with matplotlib.rc_context(style):
        figure = shapes.Figure(figsize=size, dpi=DPI, layout="constrained")
        yield figure
        with replacing(path) as temporary:
            figure.savefig(temporary)


def grid(figure: Figure, rows: int, columns: int) -> list[Axes]:
    return list(figure.subplots(rows, columns, squeeze=False).flat)


def pictures(function: str, images: Shaped[np.ndarray, "N C H W"]) -> np.ndarray:
    """Returns the pictures with channels last, as matplotlib wants them."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"{function}: images: expected shape (N, 1, H, W) or (N, 3, H, W), got {images.shape}."
        )
    return images.transpose(0, 2, 3, 1)


def show(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture.clip(0, 1), cmap="gray_r", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
