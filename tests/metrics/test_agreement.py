"""Agreement: a run with itself, with its opposite, and with one that finds nothing."""

import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.metrics.agreement import Marks, agreement, resampled
from wsl.metrics.stability import map_correlation
from wsl.results import Localization
from wsl.samples import Sample

SAMPLES = [Sample(path=f"{i}.jpg", labels=["dog"]) for i in range(3)]


def marks(boxes, maps=None):
    """What a run found that has one box, or none, and one map, or none, an image."""
    one = Marks()
    for i, (box, sample) in enumerate(zip(boxes, SAMPLES, strict=True)):
        found = Boxes.empty() if box is None else Boxes(xyxy=[box], labels=["dog"])
        kept = None if maps is None or maps[i] is None else {"dog": np.asarray(maps[i], np.float32)}
        one.update(Localization(path=sample.path, size=(9, 9), scores={}, boxes=found, maps=kept), sample)
    return one


def test_a_run_agrees_with_itself():
    rng = np.random.default_rng(0)
    one = marks([[0, 0, 4, 4]] * 3, rng.random((3, 7, 5)))
    both = agreement("a", one, "b", one)
    assert (both.iou, both.boxes, both.maps) == (1, 3, 3)
    assert both.correlation == pytest.approx(1, abs=1e-6)


def test_opposite_maps_and_any_scale():
    rng = np.random.default_rng(1)
    values = rng.random((3, 6, 6))
    opposite = agreement("a", marks([None] * 3, values), "b", marks([None] * 3, 5 - 2 * values))
    assert opposite.correlation == pytest.approx(-1, abs=1e-6)
    assert opposite.iou is None


def test_the_mean_by_hand():
    """A third, a box that only one has, and an image in which neither has one."""
    first, second = marks([[0, 0, 2, 2], [0, 0, 2, 2], None]), marks([[1, 0, 3, 2], None, None])
    for one, other in ((first, second), (second, first)):
        both = agreement("a", one, "b", other)
        assert both.iou == pytest.approx((1 / 3 + 0) / 2)
        assert (both.boxes, both.correlation, both.maps) == (2, None, 0)


def test_maps_of_any_resolution_are_correlated():
    ramp, same = np.linspace(0, 1, 8)[None].repeat(4, axis=0), np.linspace(0, 1, 64)[None]
    assert map_correlation(resampled(ramp), resampled(same)) > 0.99
    one, other = np.random.default_rng(2).random((2, 32, 32))
    both = agreement("a", marks([None] * 3, [one] * 3), "b", marks([None] * 3, [other] * 3))
    assert both.correlation == pytest.approx(np.corrcoef(one.ravel(), other.ravel())[0, 1], abs=1e-6)


@pytest.mark.parametrize("values", [np.ones((4, 4)), np.array([[0, np.nan]]), np.array([[0, np.inf]])])
def test_maps_that_say_nothing_are_left_out(values):
    fine = [np.eye(4)] * 2
    both = agreement("a", marks([None] * 3, [values, *fine]), "b", marks([None] * 3, [np.eye(4), *fine]))
    assert both.maps == 2
