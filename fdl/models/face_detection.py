"""MTCNN's cascade: three networks, each on what the one before left."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt, UInt8

from fdl._types import Params
from fdl.models.detection import greedy, nms
from fdl.models.mtcnn import onet as onet_model
from fdl.models.mtcnn import pnet as pnet_model
from fdl.models.mtcnn import rnet as rnet_model

CELL, STRIDE = 12, 2  # pixels of a window of P-Net, and from one window to the next
CROPS = 64  # that a network sees at a time: one compiled program, however many there are

Array = np.ndarray


class Faces(NamedTuple):
    """Faces of an image, in its pixels.

    Attributes:
        boxes: left, top, right and bottom, ``(K, 4)``; parts may lie outside the image.
        probabilities: ``(K,)``.
        landmarks: x and y of left eye, right eye, nose, left and right corner of the mouth,
            ``(K, 5, 2)``.
    """

    boxes: Float[Array, "K 4"]
    probabilities: Float[Array, " K"]
    landmarks: Float[Array, "K 5 2"]


def detect_faces(
    pnet: Params,
    rnet: Params,
    onet: Params,
    image: UInt8[Array, "H W 3"],
    *,
    min_face_size: float = 20,
    thresholds: tuple[float, float, float] = (0.6, 0.7, 0.7),
    factor: float = 0.709,
    select_largest: bool = True,
) -> Faces:
    """Finds faces and their landmarks in a picture.

    P-Net proposes boxes at every scale of an image pyramid, R-Net and O-Net judge and move them,
    and O-Net finds the landmarks; overlapping boxes are dropped after each. Networks, pyramid and
    crops run under jit, compiled once for each size of image; what is chosen between them is chosen
    in NumPy, because the number of candidates depends on the picture.

    Args:
        pnet: parameters of :func:`fdl.models.pnet`.
        rnet: of :func:`fdl.models.rnet`.
        onet: of :func:`fdl.models.onet`. All is computed in the dtype of the parameters.
        image: red, green and blue, from 0 to 255.
        min_face_size: side of the smallest face to look for, in pixels.
        thresholds: probability from which each network takes a box for a face.
        factor: of each scale of the pyramid to the one before.
        select_largest: whether the largest face comes first, and not the most probable one.

    Returns:
        The faces; there may be none.

    Raises:
        ValueError: if the image's shape, `min_face_size`, `thresholds` or `factor` do not fit.
        TypeError: if the image is not of dtype uint8.

    Example:
        >>> import fdl, jax, jax.numpy as jnp, numpy as np
        >>> networks = (fdl.models.pnet(), fdl.models.rnet(), fdl.models.onet())
        >>> shapes = [jax.eval_shape(network.init, jax.random.key(0))[0] for network in networks]
        >>> weights = jax.tree.map(jnp.zeros_like, shapes)  # use those of fdl.models.pretrained
        >>> image = np.zeros((16, 16, 3), np.uint8)  # smaller than any face
        >>> fdl.models.detect_faces(*weights, image).boxes.shape
        (0, 4)

    Torch: ``facenet_pytorch.MTCNN(...).detect(image, landmarks=True)``, for one image. Where it
    returns None, arrays here have length 0. Images smaller than `min_face_size`, and candidates
    wholly outside the image, are errors there and no faces here.

    Source: Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
    Convolutional Networks", 2016.
    """
    image = _checked(image, min_face_size, thresholds, factor)
    dtype = onet["conv1.weight"].dtype
    nothing = Faces(*(np.zeros((0, *shape), dtype) for shape in [(4,), (), (5, 2)]))
    sums, size = sums_of(image), image.shape[:2]

    scales = _scales(min(size), min_face_size, factor)
    proposed = [_proposals(pnet, sums, scale, thresholds[0]) for scale in scales]
    if not proposed:
        return nothing
    boxes, scores, offsets = map(np.concatenate, zip(*proposed, strict=True))
    kept = nms(boxes, scores, 0.7)
    boxes = _squared(_moved(boxes[kept], offsets[kept], edge=0))

    boxes, windows = _inside(boxes, size)
    if not len(boxes):
        return nothing
    offsets, probabilities = _judged(rnet_model, rnet, sums, windows, side=24)
    boxes, scores, offsets = _above(thresholds[1], probabilities, boxes, offsets)
    kept = nms(boxes, scores, 0.7)
    boxes = _squared(_moved(boxes[kept], offsets[kept], edge=1))

    boxes, windows = _inside(boxes, size)
    if not len(boxes):
        return nothing
    offsets, points, probabilities = _judged(onet_model, onet, sums, windows, side=48)
    boxes, scores, offsets, points = _above(thresholds[2], probabilities, boxes, offsets, points)
    landmarks = _placed(points, boxes)
    boxes = _moved(boxes, offsets, edge=1)
    kept = nms_by_smaller(boxes, scores, 0.7)
    faces = Faces(boxes[kept], scores[kept], landmarks[kept])
    if not select_largest:
        return faces
    order = np.argsort(_sizes(faces.boxes).prod(1))[::-1]
    return Faces(*(values[order] for values in faces))


def _checked(
    image: Any, min_face_size: float, thresholds: Sequence[float], factor: float
) -> UInt8[Array, "H W 3"]:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"detect_faces: image: expected shape (H, W, 3), one picture in red, green and blue, "
            f"got {image.shape}."
        )
    if image.dtype != np.uint8:
        raise TypeError(
            f"detect_faces: image: expected uint8, from 0 to 255, got {image.dtype}. Scale it and "
            "convert it with image.astype('uint8')."
        )
    if min_face_size <= 0 or not 0 < factor < 1 or len(thresholds) != 3:
        raise ValueError(
            "detect_faces: expected min_face_size above 0, factor between 0 and 1, and three "
            f"thresholds, got {min_face_size}, {factor} and {thresholds}."
        )
    return image


def _scales(side: float, min_face_size: float, factor: float) -> list[float]:
    """Scales of the pyramid, as long as a window of P-Net fits into the shorter side."""
    scale, scales = CELL / min_face_size, []
    scaled = side * scale
    while scaled >= CELL:
        scales.append(scale)
        scale, scaled = scale * factor, scaled * factor
    return scales


def sums_of(image: UInt8[Array, "H W 3"]) -> UInt[Array, "H+1 W+1 3"]:
    """Sums of all pixels above and to the left: four of them give the sum of any window.

    Sums that pass 2**32 begin again at 0; differences of them are right all the same.
    """
    sums = np.pad(image.astype(np.uint32), ((1, 0), (1, 0), (0, 0)))
    return sums.cumsum(0, dtype=np.uint32).cumsum(1, dtype=np.uint32)


@cache
def _compiled(network: Callable[[], Any]) -> Callable[..., Any]:
    """A network on windows of an image, each resized to one size."""
    model = network()

    @partial(jax.jit, static_argnames="size")
    def run(params: Params, sums: jax.Array, windows: jax.Array, *, size: tuple[int, int]) -> Any:
        means = jax.vmap(partial(area, sums, size=size, dtype=params["conv1.weight"].dtype))
        images = means(windows).transpose(0, 3, 1, 2)  # (N, 3, *size)
        return model.apply(params, {}, (images - 127.5) * 0.0078125)[0]

    return run


def area(sums: jax.Array, window: jax.Array, *, size: tuple[int, int], dtype: Any) -> jax.Array:
    """Resizes a window as ``fdl.functional.interpolate(mode="area")`` does: to means of tiles."""
    x, y = (_tiles(window[axis], window[axis + 2], size[1 - axis]) for axis in (0, 1))
    rows = sums[y[1]] - sums[y[0]]  # (H2, W + 1, 3)
    totals = rows[:, x[1]] - rows[:, x[0]]  # (H2, W2, 3)
    counts = (y[1] - y[0])[:, None] * (x[1] - x[0])
    return totals.astype(dtype) / counts[..., None].astype(dtype)


def _tiles(start: jax.Array, stop: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Where `count` tiles, as even as pixels allow, start and stop."""
    length, tile = stop - start, jnp.arange(count, dtype=start.dtype)
    return start + tile * length // count, start - (-(tile + 1) * length // count)


def _proposals(
    params: Params, sums: Array, scale: float, threshold: float
) -> tuple[Float[Array, "K 4"], Float[Array, " K"], Float[Array, "K 4"]]:
    """Boxes that P-Net proposes at one scale, with scores and offsets."""
    height, width = (length - 1 for length in sums.shape[:2])
    window = np.array([[0, 0, width, height]], np.int32)
    size = int(height * scale + 1), int(width * scale + 1)
    offsets, probabilities = map(np.asarray, _compiled(pnet_model)(params, sums, window, size=size))
    rows, columns = np.nonzero(probabilities[0, 1] >= threshold)
    corners = STRIDE * np.stack([columns, rows], 1).astype(offsets.dtype)
    boxes = np.floor(np.concatenate([corners + 1, corners + CELL], 1) / scale)
    scores = probabilities[0, 1, rows, columns]
    kept = nms(boxes, scores, 0.5)
    return boxes[kept], scores[kept], offsets[0, :, rows, columns][kept]


def _inside(
    boxes: Float[Array, "N 4"], size: tuple[int, int]
) -> tuple[Float[Array, "K 4"], Int[Array, "K 4"]]:
    """Boxes that have pixels in the image, and these as windows ``[start, stop)``."""
    height, width = size
    whole = np.trunc(boxes).astype(np.int32)
    start = np.maximum(whole[:, :2], 1) - 1  # boxes count pixels from 1
    stop = np.minimum(whole[:, 2:], np.array([width, height], np.int32))
    some = (stop > start).all(1)
    return boxes[some], np.concatenate([start, stop], 1)[some]


def _judged(
    network: Callable[[], Any], params: Params, sums: Array, windows: Array, *, side: int
) -> list[Array]:
    """What a network returns for windows of the image, `CROPS` at a time."""
    run, parts = _compiled(network), []
    for first in range(0, len(windows), CROPS):
        part = windows[first : first + CROPS]
        filled = np.pad(part, ((0, CROPS - len(part)), (0, 0)), mode="edge")
        outputs = run(params, sums, filled, size=(side, side))
        parts.append([np.asarray(output)[: len(part)] for output in outputs])
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def _above(threshold: float, probabilities: Array, boxes: Array, *values: Array) -> list[Array]:
    """Boxes of faces, their scores, and further values of them."""
    scores = probabilities[:, 1]
    passed = scores > threshold
    return [boxes[passed], scores[passed], *(value[passed] for value in values)]


def _sizes(boxes: Float[Array, "N 4"]) -> Float[Array, "N 2"]:
    return boxes[:, 2:] - boxes[:, :2]


def _moved(boxes: Array, offsets: Array, *, edge: int) -> Float[Array, "N 4"]:
    """Moves each side by its offset, in sizes of the box, last pixel included if `edge` is 1."""
    return boxes + offsets * np.tile(_sizes(boxes) + edge, 2)


def _squared(boxes: Float[Array, "N 4"]) -> Float[Array, "N 4"]:
    """Boxes about the same centres, as wide and high as the longer side."""
    sizes = _sizes(boxes)
    side = sizes.max(1, keepdims=True)
    corners = boxes[:, :2] + sizes * 0.5 - side * 0.5
    return np.concatenate([corners, corners + side], 1)


def _placed(points: Float[Array, "N 10"], boxes: Float[Array, "N 4"]) -> Float[Array, "N 5 2"]:
    """Landmarks in pixels of the image."""
    pairs = points.reshape(-1, 2, 5).transpose(0, 2, 1)
    return (_sizes(boxes) + 1)[:, None] * pairs + boxes[:, None, :2] - 1


def nms_by_smaller(boxes: Array, scores: Array, threshold: float) -> Int[Array, " K"]:
    """Drops boxes of which, or of the better one, more than `threshold` is shared.

    MTCNN's own: the last pixel counts, and among equals the last is the best.
    """
    areas = (_sizes(boxes) + 1).prod(1)

    def overlaps(best: int, others: Array) -> Array:
        low = np.maximum(boxes[best, :2], boxes[others, :2])
        high = np.minimum(boxes[best, 2:], boxes[others, 2:])
        shared = (high - low + 1).clip(0).prod(1)
        return shared / np.minimum(areas[best], areas[others]) > threshold

    return greedy(np.argsort(scores)[::-1], overlaps)
