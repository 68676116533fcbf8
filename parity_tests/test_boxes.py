"""Overlaps of boxes, and the choice among them."""

import numpy as np
import pytest
import torch
from faces_reference import nms as torch_nms
from faces_reference import nms_numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nearness import assert_equal
from torchvision.ops import box_iou as torch_box_iou

from fdl.models.detection import box_iou, nms
from fdl.models.face_detection import nms_by_smaller


@st.composite
def boxes_and_scores(draw):
    """Boxes on a coarse grid and few scores, so that ties and thresholds are met exactly."""
    count = draw(st.integers(0, 12))
    corners = draw(arrays(np.int64, (count, 2), elements=st.integers(-3, 9)))
    sizes = draw(arrays(np.int64, (count, 2), elements=st.integers(1, 6)))
    scores = draw(arrays(np.int64, count, elements=st.integers(0, 8)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return np.concatenate([corners, corners + sizes], 1).astype(dtype), scores.astype(dtype) / 8


thresholds = st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.7, 1.0])


@given(boxes_and_scores(), boxes_and_scores())
def test_overlaps_are_torchvisions(first, second):
    boxes1, boxes2 = first[0], second[0].astype(first[0].dtype)
    expected = torch_box_iou(torch.tensor(boxes1), torch.tensor(boxes2)).numpy()
    np.testing.assert_array_equal(box_iou(boxes1, boxes2), expected)


def test_overlaps_of_any_boxes_are_torchvisions():
    corners = np.random.default_rng(0).normal(size=(2, 50, 2, 2))
    boxes = np.sort(corners, axis=2).reshape(2, 50, 4)
    expected = torch_box_iou(*map(torch.tensor, boxes)).numpy()
    assert 0 < (expected > 0).mean() < 1
    assert_equal({"overlaps": box_iou(*boxes)}, {"overlaps": expected})


def test_boxes_without_area_overlap_as_torchvisions():
    boxes = np.array([[0.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 2, 2]])
    expected = torch_box_iou(torch.tensor(boxes), torch.tensor(boxes)).numpy()
    np.testing.assert_array_equal(box_iou(boxes, boxes), expected)
    assert nms(boxes, np.ones(3), 0.5).tolist() == [0, 1, 2]


@given(boxes_and_scores(), thresholds)
def test_kept_boxes_are_torchs(given, threshold):
    boxes, scores = given
    expected = torch_nms(torch.tensor(boxes), torch.tensor(scores), threshold)
    assert nms(boxes, scores, threshold).tolist() == expected.tolist()


@given(boxes_and_scores(), thresholds)
def test_kept_boxes_by_the_smaller_area_are_facenets(given, threshold):
    boxes, scores = given
    expected = nms_numpy(boxes, scores, threshold, "Min")
    assert nms_by_smaller(boxes, scores, threshold).tolist() == expected.tolist()


@given(boxes_and_scores(), thresholds)
def test_kept_boxes_do_not_overlap_and_dropped_ones_do(given, threshold):
    boxes, scores = given
    kept = nms(boxes, scores, threshold)
    overlaps = box_iou(boxes, boxes).astype(np.float64)
    among = overlaps[np.ix_(kept, kept)]
    assert (among[~np.eye(len(kept), dtype=bool)] <= threshold).all()
    assert (np.diff(scores[kept]) <= 0).all()
    for number in set(range(len(boxes))) - set(kept.tolist()):
        better = kept[scores[kept] >= scores[number]]
        assert (overlaps[number, better] > threshold).any()


@given(boxes_and_scores(), thresholds, st.randoms(use_true_random=False))
def test_order_of_boxes_does_not_matter(given, threshold, random):
    boxes, scores = given
    scores = scores / 2 + np.arange(len(scores), dtype=scores.dtype)  # no two alike
    order = np.array(random.sample(range(len(boxes)), len(boxes)), dtype=int)
    moved = nms(boxes[order], scores[order], threshold)
    assert order[moved].tolist() == nms(boxes, scores, threshold).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box_iou(np.ones(4), np.ones((2, 4))), r"box_iou: boxes1: .* got \(4,\)"),
        (lambda: box_iou(np.ones((2, 4)), np.ones((2, 3))), r"box_iou: boxes2: .* got \(2, 3\)"),
        (lambda: nms(np.ones((2, 5)), np.ones(2), 0.5), r"nms: boxes: .* got \(2, 5\)"),
        (lambda: nms(np.ones((2, 4)), np.ones(3), 0.5), r"nms: scores: .* got shape \(3,\)"),
    ],
)
def test_wrong_shapes_say_what_is_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
