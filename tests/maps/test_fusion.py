"""Boxes of maps and of a detector as one."""

import numpy as np
import pytest

from wsl.maps import ExtractedBoxes, fuse_many, nms
from wsl.maps.fusion import _LEAST as LEAST
from wsl.maps.fusion import _SAME as SAME


def some(rng, count, size=100):
    """Boxes near a few middles, and their scores."""
    middles = rng.choice([25, 60, 70], (count, 2)) + rng.normal(0, 3, (count, 2))
    half = rng.uniform(8, 25, (count, 2))
    xyxy = np.clip(np.concatenate([middles - half, middles + half], 1), 0, size).astype(np.float32)
    return xyxy, rng.uniform(0.05, 1, count).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_is_written_down(reference, seed):
    """Several maps at once: some without a box, some where the detector is not sure of any."""
    rng = np.random.default_rng(seed)
    drawn = [ExtractedBoxes(*some(rng, count)) for count in (3, 0, 1, 5)]
    xyxy, scores = (np.stack(part) for part in zip(*(some(rng, 12) for _ in drawn), strict=True))
    for boxes, found, sure, fused in zip(drawn, xyxy, scores, fuse_many(drawn, xyxy, scores), strict=True):
        found, sure = found[sure >= LEAST], sure[sure >= LEAST]
        kept = nms(found, sure, 0.5)
        both = [(box.tolist(), float(score), 0) for box, score in zip(*boxes, strict=True)]
        both += [(box.tolist(), float(score), 1) for box, score in zip(found[kept], sure[kept], strict=True)]
        expected = reference.fusion.fused(both, SAME)
        np.testing.assert_allclose(fused.scores, [score for _, score in expected], rtol=1e-5)
        np.testing.assert_allclose(fused.xyxy, [box for box, _ in expected], rtol=1e-4, atol=1e-3)


def test_a_detector_that_agrees_leaves_the_boxes_where_they_are():
    boxes = ExtractedBoxes(np.float32([[0, 0, 40, 40], [50, 50, 90, 90]]), np.float32([1, 0.5]))
    (found,) = fuse_many([boxes], boxes.xyxy[None], boxes.scores[None])
    np.testing.assert_array_equal(found.xyxy, boxes.xyxy)
    np.testing.assert_array_equal(found.scores, boxes.scores)


def test_boxes_of_no_score_and_no_maps():
    nothing = ExtractedBoxes(np.empty((0, 4), np.float32), np.empty(0, np.float32))
    (found,) = fuse_many([nothing], np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32))
    assert np.isfinite(found.xyxy).all()
    assert not found.scores.any()
    assert fuse_many([], np.zeros((0, 3, 4), np.float32), np.zeros((0, 3), np.float32)) == []
