"""Facenet-pytorch's networks and cascade, and torchvision's NMS written out in torch.

The package's own `__init__` needs what these do not, so only its modules are imported; and where
torchvision's compiled operators do not load, the NMS below stands for theirs.
"""

import sys
from importlib.util import find_spec, module_from_spec

import torch
import torchvision_here  # noqa: F401
from torchvision import extension

spec = find_spec("facenet_pytorch")
assert spec is not None, "facenet_pytorch is not installed: make test installs it"
sys.modules.setdefault(spec.name, module_from_spec(spec))

from facenet_pytorch.models.mtcnn import MTCNN, ONet, PNet, RNet  # noqa: E402
from facenet_pytorch.models.utils.detect_face import nms_numpy  # noqa: E402

__all__ = ["MTCNN", "ONet", "PNet", "RNet", "nms", "nms_numpy"]


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Numbers of the boxes that overlap with no better one that is kept, best first."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    order = scores.sort(stable=True, descending=True).indices.tolist()
    dropped = torch.zeros(len(boxes), dtype=torch.bool)
    kept = []
    for best in order:
        if not dropped[best]:
            kept.append(best)
            low = torch.maximum(boxes[best, :2], boxes[:, :2])
            high = torch.minimum(boxes[best, 2:], boxes[:, 2:])
            shared = (high - low).clamp(min=0).prod(1)
            overlap = shared / (areas[best] + areas - shared)
            dropped |= overlap.double() > iou_threshold
    return torch.tensor(kept, dtype=torch.int64)


if not extension._has_ops():
    torch.library.impl("torchvision::nms", "CPU")(nms)
    extension._has_ops = lambda: True
