"""Every variant of the hypotheses about layers and losses runs: one that raises is never named."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fdl.parity._calls import Calls
from fdl.parity._masks import Masks
from fdl.parity.causes._trial import LAYER, LOSS, MARGIN, WEIGHTS

nn = torch.nn


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


IMAGE, SIGNAL, VECTOR = random(2, 4, 6, 6), random(2, 4, 7), random(6, 4)
CLASSES, SIGNS = torch.tensor([0, 1, 2, 3, 1, 2]), torch.tensor([1, -1, 1, 1, -1, -1])
WEIGHT, BAGS = torch.tensor([1.0, 2.0, 3.0, 4.0]).double(), torch.tensor([[1, 2, 0], [3, 0, 0]])
LABELS = (VECTOR > 0).double()

RESHAPING = ("windows that overhang are left out",)
"""What may give another shape; all other changes keep it."""
CALLS = {
    "max_pool2d": lambda: F.max_pool2d(IMAGE, 2, ceil_mode=True),
    "avg_pool1d": lambda: F.avg_pool1d(SIGNAL, 3, 2, 1, ceil_mode=True),
    "avg_pool2d": lambda: F.avg_pool2d(random(2, 4, 7, 7), 4, 3, 1, ceil_mode=True),
    "avg_pool3d": lambda: F.avg_pool3d(random(2, 2, 4, 4, 4), 3, 2, 1, ceil_mode=True),
    "adaptive_avg_pool1d": lambda: F.adaptive_avg_pool1d(SIGNAL, 3),
    "adaptive_avg_pool2d": lambda: F.adaptive_avg_pool2d(IMAGE, (4, None)),
    "bilinear": lambda: F.interpolate(IMAGE, (4, 4), mode="bilinear", align_corners=True),
    "bicubic": lambda: F.interpolate(IMAGE, scale_factor=1.7, mode="bicubic"),
    "nearest": lambda: F.interpolate(IMAGE, scale_factor=1.7),
    "nearest-exact": lambda: F.interpolate(SIGNAL, 5, mode="nearest-exact"),
    "conv_transpose1d": lambda: F.conv_transpose1d(SIGNAL, random(4, 4, 3), WEIGHT, 2, 1, 1),
    "conv_transpose2d": lambda: F.conv_transpose2d(IMAGE, random(4, 2, 3, 3), None, 2, groups=2),
    "pixel_shuffle": lambda: F.pixel_shuffle(random(2, 8, 3, 3), 2),
    "pixel_unshuffle": lambda: F.pixel_unshuffle(IMAGE, 2),
    "channel_shuffle": lambda: F.channel_shuffle(IMAGE, 2),
    "group_norm": lambda: F.group_norm(IMAGE, 2, WEIGHT),
    "instance_norm": lambda: F.instance_norm(IMAGE, WEIGHT.clone(), WEIGHT.clone()),
    "rms_norm": lambda: F.rms_norm(VECTOR, (4,), WEIGHT),
    "layer_norm": lambda: F.layer_norm(VECTOR, (4,), WEIGHT, WEIGHT),
    "local_response_norm": lambda: F.local_response_norm(IMAGE, 2),
    "embedding_bag": lambda: F.embedding_bag(BAGS, random(5, 3), padding_idx=0),
    "softplus": lambda: F.softplus(VECTOR, 2, 3),
    "hardtanh": lambda: nn.Hardtanh(-2, 2, inplace=True)(VECTOR.clone()),
    "clamp": lambda: VECTOR.clamp(-1, 1),
    "prelu": lambda: F.prelu(VECTOR, WEIGHT),
    "leaky_relu": lambda: F.leaky_relu(VECTOR),
    "gru": lambda: nn.GRU(7, 3, 2, bidirectional=True).double()(SIGNAL),
    "gru without biases": lambda: nn.GRU(7, 3, bias=False, batch_first=True).double()(SIGNAL),
    "lstm": lambda: nn.LSTM(7, 3, bidirectional=True, batch_first=True).double()(SIGNAL),
    "cross_entropy": lambda: F.cross_entropy(
        VECTOR, CLASSES, WEIGHT, ignore_index=2, label_smoothing=0.1
    ),
    "nll_loss": lambda: F.nll_loss(VECTOR, CLASSES, WEIGHT),
    "binary_cross_entropy_with_logits": lambda: F.binary_cross_entropy_with_logits(
        VECTOR, LABELS, WEIGHT, pos_weight=WEIGHT
    ),
    "smooth_l1_loss": lambda: F.smooth_l1_loss(VECTOR, LABELS, beta=0.3),
    "huber_loss": lambda: F.huber_loss(VECTOR, LABELS, delta=0.3),
    "kl_div": lambda: F.kl_div(VECTOR, LABELS.softmax(1), reduction="batchmean"),
    "kl_div of logarithms": lambda: F.kl_div(VECTOR, VECTOR, log_target=True),
    "poisson_nll_loss": lambda: F.poisson_nll_loss(VECTOR, LABELS),
    "gaussian_nll_loss": lambda: F.gaussian_nll_loss(VECTOR, LABELS, VECTOR.exp()),
    "multi_margin_loss": lambda: F.multi_margin_loss(VECTOR, CLASSES),
    "hinge_embedding_loss": lambda: F.hinge_embedding_loss(VECTOR[:, 0], SIGNS),
    "margin_ranking_loss": lambda: F.margin_ranking_loss(VECTOR[:, 0], VECTOR[:, 1], SIGNS),
    "cosine_embedding_loss": lambda: F.cosine_embedding_loss(VECTOR, LABELS, SIGNS),
    "triplet_margin_loss": lambda: F.triplet_margin_loss(VECTOR, LABELS, -VECTOR, p=1.0),
}


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("name", CALLS)
def test_every_variant_runs(name):
    seen = []

    def tried(call):
        output = call.run()
        for hypothesis in (*WEIGHTS, *LAYER, *LOSS, *MARGIN):
            if call.site.function in hypothesis.functions:
                for words, rewrite in hypothesis.variants(call):
                    seen.append(words)
                    changed = shapes(rewrite(call)) != shapes(output)
                    assert not changed or words in RESHAPING, words
        return output

    with Calls(Masks([], np.random.default_rng(0)), lambda site: tried).watching():
        CALLS[name]()
    assert seen


def shapes(output) -> list[tuple[int, ...]]:
    parts = output if isinstance(output, tuple) else (output,)
    return [tuple(t.shape) for part in parts for t in (part if isinstance(part, tuple) else [part])]
