"""Maps and boxes against those of the mirror image."""

import numpy as np
import pytest

from wsl.metrics import FlipStability, map_correlation
from wsl.samples import Sample


def test_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 7, 9))
    assert map_correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_what_moves_with_the_image_agrees_and_what_stays_does_not(finding, boxes):
    left = np.zeros((4, 6), np.float32)
    left[1:3, :2] = 1
    mine = finding(size=(60, 40), maps={"dog": left}, boxes=boxes(("dog", [0, 10, 20, 30])))
    moved = finding(size=(60, 40), maps={"dog": left[:, ::-1]}, boxes=boxes(("dog", [40, 10, 60, 30])))
    sample = Sample(path="a.jpg", labels=["dog"])
    for other, expected in ((moved, [1, 1]), (mine, [0, 0])):
        metric = FlipStability(["dog"], mirrored=lambda path, other=other: other)
        metric.update(mine, sample)
        assert [one.value for one in metric.compute()] == pytest.approx(expected)


def test_without_a_map_in_both_a_pair_is_left_out(finding):
    metric = FlipStability(["cat", "dog"], mirrored=lambda path: finding(maps={"dog": np.eye(3)}))
    maps = {"cat": np.eye(3), "dog": np.full((3, 3), np.nan)}
    metric.update(finding(maps=maps), Sample(path="a.jpg", labels=["cat", "dog"]))
    assert [one.value for one in metric.compute()] == [None, None]
    metric.update(finding("b.jpg", maps={"dog": np.eye(3)[::-1]}), Sample(path="b.jpg", labels=["dog"]))
    correlation, _ = metric.compute()
    assert (correlation.value, correlation.count) == (pytest.approx(1), 1)
    assert "2 without a map: left out" in correlation.note
