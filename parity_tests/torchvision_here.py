"""Importing this makes torchvision importable beside a CPU build of torch.

Its compiled operators do not load there; its models are plain Python, and only need the schemas of
two operators to be known.
"""

import torch

_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, _name):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
