"""Non-maximum suppression against its definition, box by box."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.maps import nms, non_max_suppression


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width, height = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(width, 0) * max(height, 0)
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def random_boxes(seed: int, offset: float = 0) -> Boxes:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 25))
    corner = rng.integers(0, 30, (n, 2)) + offset
    return Boxes(
        xyxy=np.hstack([corner, corner + rng.integers(1, 30, (n, 2))]),
        labels=tuple(rng.choice(["cat", "dog", "cow"], n)),
        scores=rng.permutation(n) / max(n, 1),
    )


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), iou=st.sampled_from([0.0, 0.3, 0.5, 0.7]), offset=st.sampled_from([0, -50]))
def test_kept_is_what_no_better_kept_box_of_the_class_overlaps(seed: int, iou: float, offset: float) -> None:
    boxes = random_boxes(seed, offset)
    kept: list[int] = []
    for i in np.argsort(-boxes.scores):
        rivals = [j for j in kept if boxes.labels[j] == boxes.labels[i]]
        if all(overlap(boxes.xyxy[j], boxes.xyxy[i]) <= iou for j in rivals):
            kept.append(int(i))
    expected, found = boxes.select(kept), non_max_suppression(boxes, iou)
    assert found.xyxy.tolist() == expected.xyxy.tolist()
    assert (found.labels, found.scores.tolist()) == (expected.labels, expected.scores.tolist())


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6), count=st.integers(0, 80), iou=st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)
)
def test_kept_is_what_torchvision_keeps(seed: int, count: int, iou: float) -> None:
    """Ties of scores, empty boxes and overlaps of exactly the limit among them."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 12, (count, 2))
    xyxy = (np.hstack([corner, corner + rng.integers(0, 12, (count, 2))]) * rng.choice([1, 0.25, 3])).astype(np.float32)
    scores = (rng.integers(0, 9, count) / 8).astype(np.float32)
    classes = rng.integers(0, 3, count)
    expected = batched_nms(
        torch.from_numpy(xyxy).double(), torch.from_numpy(scores).double(), torch.from_numpy(classes), iou
    )
    assert nms(xyxy, scores, iou, classes).tolist() == expected.tolist()


def test_the_same_box_of_two_classes_stays_twice() -> None:
    boxes = Boxes(xyxy=[[0, 0, 5, 5]] * 3, labels=["cat", "dog", "cat"], scores=[0.1, 0.2, 0.3])
    assert non_max_suppression(boxes, 0.5).labels == ("cat", "dog")


def test_the_overlap_is_a_fraction() -> None:
    with pytest.raises(UserError, match="nms iou is 50"):
        non_max_suppression(Boxes.empty(), 50)
