"""Importing this makes torchvision importable where its compiled operators do not load.

So it is beside a CPU build of torch. torchvision's models are plain Python, and only need the
schemas of two operators to be known.
"""

import torch
from inside import inside


def _loads() -> bool:
    try:
        torch.ops.load_library(inside("torchvision", "_C.so"))
    except OSError:
        return False
    return True


if not _loads():
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
