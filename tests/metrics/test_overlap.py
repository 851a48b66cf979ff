import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from wsl.errors import UserError
from wsl.metrics import box_iou, centre_box
from wsl.metrics.overlap import best_iou


def random_boxes(seed, n):
    corners = np.sort(np.random.default_rng(seed).integers(0, 30, (n, 2, 2)), axis=1)
    return corners.reshape(n, 4).astype(float)


def test_iou_is_that_of_pycocotools():
    a, b = random_boxes(0, 40), random_boxes(1, 30)
    a[:, 2:] += 1
    b[:, 2:] += 1
    xywh = [np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1) for boxes in (a, b)]
    np.testing.assert_allclose(box_iou(a, b), coco_mask.iou(*xywh, [0] * len(b)), atol=1e-12)


@given(st.integers(0, 10**6))
def test_half_open_iou_is_the_devkits_plus_one_iou_of_inclusive_corners(seed):
    # VOC's (xmin, ymin, xmax, ymax) is our (xmin - 1, ymin - 1, xmax, ymax).
    a, b = random_boxes(seed, 2) + 1
    inner = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1
    inter = inner.prod() if (inner > 0).all() else 0
    plus_one = inter / ((a[2:] - a[:2] + 1).prod() + (b[2:] - b[:2] + 1).prod() - inter)
    shift = np.array([1, 1, 0, 0])
    assert box_iou(a - shift, b - shift)[0, 0] == pytest.approx(plus_one)


def test_boxes_without_area_and_without_company_have_no_overlap():
    assert box_iou([3, 3, 3, 3], [3, 3, 3, 3]).tolist() == [[0.0]]
    assert box_iou([], [[0, 0, 1, 1]]).shape == (0, 1)
    assert best_iou([[0, 0, 1, 1]], []).tolist() == [0.0]


def test_centre_box_is_centred_and_covers_about_half():
    x0, y0, x1, y1 = centre_box((640, 480))
    assert (x0 + x1, y0 + y1) == pytest.approx((640, 480))
    assert (x1 - x0) * (y1 - y0) / (640 * 480) == pytest.approx(0.49)


@pytest.mark.parametrize("bad", [[[0, 0, 1]], [[0, 0, 1, np.nan]], [[0, 0, np.inf, 1]], np.zeros((2, 2, 4))])
def test_what_is_no_box_is_refused(bad):
    with pytest.raises(UserError, match="expected"):
        box_iou(bad, [0, 0, 1, 1])


@pytest.mark.parametrize(("size", "fraction"), [((10, 10), 0), ((10, 10), 1.1), ((0, 10), 0.5)])
def test_centre_box_refuses_what_is_outside(size, fraction):
    with pytest.raises(UserError, match="expected"):
        centre_box(size, fraction)


def test_iou_is_that_of_torchvision():
    a, b = random_boxes(2, 40), random_boxes(3, 30)
    a[:, 2:] += 1
    b[:, 2:] += 1
    theirs = torchvision.ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(box_iou(a, b), theirs, atol=1e-12)


def test_a_box_that_reaches_outside_the_image_has_the_iou_of_all_of_it():
    assert best_iou([-10, 0, 10, 10], [0, 0, 10, 10])[0] == 0.5
