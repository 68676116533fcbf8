"""Boxes: how much they overlap, and the best of those that overlap."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

Boxes = Float[np.ndarray, "N 4"]


def box_iou(boxes1: Boxes, boxes2: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "N M"]:
    r"""Computes how much each of some boxes overlaps with each of others.

    :math:`\mathrm{IoU}(a, b) = |a \cap b| \,/\, |a \cup b|`, in areas.

    Args:
        boxes1: left, top, right and bottom of each box, ``(N, 4)``.
        boxes2: likewise, ``(M, 4)``.

    Returns:
        Overlaps from 0 to 1, ``(N, M)``; NaN between two boxes without area.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> import numpy as np
        >>> from fdl.models.detection import box_iou
        >>> box_iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])).round(3)
        array([[0.333, 0.   ]])

    Torch: ``torchvision.ops.box_iou``, for floats, in NumPy.
    """
    boxes1 = _boxes("box_iou", "boxes1", boxes1)
    boxes2 = _boxes("box_iou", "boxes2", boxes2)
    low = np.maximum(boxes1[:, None, :2], boxes2[:, :2])
    high = np.minimum(boxes1[:, None, 2:], boxes2[:, 2:])
    shared = (high - low).clip(0).prod(-1)
    area1, area2 = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (boxes1, boxes2))
    with np.errstate(invalid="ignore"):
        return shared / (area1[:, None] + area2 - shared)


def nms(
    boxes: Boxes, scores: Float[np.ndarray, " N"], iou_threshold: float
) -> Int[np.ndarray, " K"]:
    """Keeps the best of the boxes that overlap: non-maximum suppression.

    The box of the highest score is kept, and all that overlap with it by more than the threshold
    are dropped; so on with the best of what is left. It runs in NumPy, because how many boxes are
    kept depends on their values.

    Args:
        boxes: left, top, right and bottom of each box, ``(N, 4)``.
        scores: of each box.
        iou_threshold: the largest overlap of two boxes that are both kept, as in :func:`box_iou`.

    Returns:
        Numbers of the boxes that are kept, highest score first; among equals the first.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> import numpy as np
        >>> from fdl.models.detection import nms
        >>> boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
        >>> nms(boxes, np.array([0.6, 0.9, 0.7]), 0.5).tolist()
        [1, 2]

    Torch: ``torchvision.ops.nms``, in NumPy.
    """
    boxes, scores = _boxes("nms", "boxes", boxes), np.asarray(scores)
    if scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"nms: scores: expected one for each of {len(boxes)} boxes, got shape {scores.shape}."
        )
    threshold = np.float64(iou_threshold)  # compared in double precision, as torchvision's kernel

    def overlaps(best: int, others: np.ndarray) -> np.ndarray:
        return box_iou(boxes[best, None], boxes[others])[0] > threshold

    return greedy(np.argsort(-scores, kind="stable"), overlaps)


def greedy(
    order: Int[np.ndarray, " N"],
    overlaps: Callable[[int, Int[np.ndarray, " M"]], Bool[np.ndarray, " M"]],
) -> Int[np.ndarray, " K"]:
    """Keeps the first of `order`, drops what overlaps with it, and goes on with what is left."""
    kept = []
    while len(order):
        best, others = order[0], order[1:]
        kept.append(best)
        order = others[~overlaps(best, others)]
    return np.array(kept, dtype=int)


def _boxes(function: str, name: str, boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"{function}: {name}: expected shape (N, 4), left, top, right and bottom of each box, "
            f"got {boxes.shape}."
        )
    return boxes
