"""The small convolutional network."""

from functools import partial

import fdl
from fdl.parity import twins
from zoo.case import Case, classified

_WRITTEN = "`features` and `classifier`, written out in `fdl.parity.twins`"


def _case(*shape: int, **options) -> Case:
    options = {"image_size": shape[2:], "in_channels": shape[1], "hidden": 16, **options}
    model, twin = partial(fdl.models.cnn, **options), partial(twins.cnn, **options)
    return Case(model, twin, "cross_entropy", classified(*shape), _WRITTEN)


CASES = {
    "cnn": _case(8, 1, 12, 12),
    "cnn, three blocks": _case(8, 3, 17, 19, channels=(4, 6, 8), dropout=0.0),
}
