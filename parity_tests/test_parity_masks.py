"""Attention with dropout, which is computed anew to be given its mask, is torch's attention."""

import math

import numpy as np
import pytest
import torch

from fdl.parity import TOLERANCE
from fdl.parity._calls import Calls
from fdl.parity._masks import Mask, Masks
from fdl.parity.judge import distance, root_mean_square

BATCH, HEADS, QUERIES, KEYS, WIDTH = 2, 4, 3, 5, 6
RATE = 0.25


def tensors(key_heads: int = HEADS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(BATCH, HEADS, QUERIES, WIDTH), *[(BATCH, key_heads, KEYS, WIDTH)] * 2]
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]


def attended(given: list[torch.Tensor], rate: float, **options) -> list[np.ndarray]:
    """Attention and its gradients; where something may be dropped, nothing is."""
    kept = Mask(np.ones((BATCH, HEADS, QUERIES, KEYS), bool), 1 - rate)
    masks = Masks([kept], np.random.default_rng(0))
    with Calls(masks).watching():
        output = torch.nn.functional.scaled_dot_product_attention(*given, dropout_p=rate, **options)
    assert len(masks.used) == (rate > 0)
    gradients = torch.autograd.grad(output.square().sum(), given)
    return [tensor.detach().numpy() for tensor in (output, *gradients)]


def blocked_row() -> torch.Tensor:
    mask = torch.rand(QUERIES, KEYS, generator=torch.Generator().manual_seed(1)) > 0.4
    mask[1] = False
    return mask


def infinite_row() -> torch.Tensor:
    return torch.zeros(QUERIES, KEYS, dtype=torch.float64).masked_fill(~blocked_row(), -math.inf)


CASES = {
    "a query that may attend to nothing": {"attn_mask": blocked_row()},
    "minus infinity throughout a row": {"attn_mask": infinite_row()},
    "shared key heads": {"enable_gqa": True},
    "shared key heads and a mask": {"enable_gqa": True, "attn_mask": blocked_row()},
    "scale 0": {"scale": 0.0},
    "scale 2": {"scale": 2.0},
    "causal": {"is_causal": True},
    "plain": {},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_attention_with_dropout_is_torchs(options):
    given = tensors(HEADS // 2 if "enable_gqa" in options else HEADS)
    expected, *slopes = attended(given, 0.0, **options)
    got, *gradients = attended(given, RATE, **options)
    kept = 1 / (1 - RATE)
    pairs = [(got, kept * expected)]
    pairs += [(g, kept**2 * slope) for g, slope in zip(gradients, slopes, strict=True)]
    for tensor, oracle in pairs:
        scale = max(root_mean_square(oracle), TOLERANCE.noise)
        assert distance(tensor, oracle, scale, root_mean_square) <= TOLERANCE.float64


def test_a_query_that_may_attend_to_nothing_gets_zeros():
    output, *gradients = attended(tensors(), RATE, attn_mask=blocked_row())
    np.testing.assert_array_equal(output[:, :, 1], 0)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
