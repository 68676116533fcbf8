"""Makes torchvision importable where its compiled operators do not load; this file needs torch.

So it is beside a CPU build of torch. torchvision's models are plain Python, and only need the
schemas of two operators to be known.
"""

from importlib.util import find_spec
from pathlib import Path

import torch

_KEPT = []  # a library's schemas go when it does


def prepare() -> None:
    """Defines the two schemas, where torchvision is installed and its library does not load."""
    spec = find_spec("torchvision")
    if spec is None or hasattr(torch.ops.torchvision, "nms"):
        return
    folder = Path((spec.submodule_search_locations or [""])[0])
    try:
        torch.ops.load_library(folder / "_C.so")
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
