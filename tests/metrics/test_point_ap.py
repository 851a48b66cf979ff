import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics import PointAP, PointingGame, average_precision, point_ap, point_within
from wsl.metrics.pointing import is_small_among_others
from wsl.samples import Sample


@given(st.tuples(st.integers(0, 60), st.integers(0, 60)), st.integers(0, 20))
def test_within_is_a_pixel_of_the_grown_box(point, tolerance):
    grown = np.zeros((100, 100), bool)
    grown[30 - tolerance + 20 : 40 + tolerance + 20, 25 - tolerance + 20 : 35 + tolerance + 20] = True
    x, y = point
    assert point_within(point, [[25, 30, 35, 40]], tolerance) == grown[y + 20, x + 20]


def test_a_worked_example():
    box = [[20, 20, 30, 30]]
    # Ranking: right, wrong place, no such thing, no point at all: one of three found, first.
    points, boxes = [(25, 25), (80, 80), (25, 25), None], [box, box, [], box]
    assert point_ap(points, [0.9, 0.8, 0.7, 0.99], boxes) == pytest.approx(1 / 3)
    assert point_ap(points, [0.7, 0.8, 0.9, 0.99], boxes) == pytest.approx(1 / 3 / 3)


def test_points_that_are_always_right_are_the_classification_of_images():
    rng = np.random.default_rng(0)
    there, scores = rng.random(40) < 0.4, rng.random(40)
    boxes = [[[0, 0, 9, 9]] if flag else [] for flag in there]
    assert point_ap([(1, 1)] * 40, scores, boxes) == pytest.approx(average_precision(scores, there.astype(int)))


def test_streaming_is_the_pure_function(finding, annotated, boxes):
    rng = np.random.default_rng(1)
    metric = PointAP(["cat", "dog"])
    points, scores, targets = [], [], []
    for i in range(30):
        truths = boxes(*[("dog", [20, 20, 60, 60])] * int(rng.random() < 0.6))
        points.append(tuple(rng.integers(0, 100, 2).tolist()))
        scores.append(rng.random())
        targets.append(truths.xyxy)
        metric.update(finding(scores={"dog": scores[-1]}, points={"dog": points[-1]}), annotated(truths, f"{i}.jpg"))
    result = metric.compute()
    assert result.per_class == {"dog": pytest.approx(point_ap(points, np.float32(scores), targets))}
    assert result.counts == {"dog": sum(len(target) > 0 for target in targets)}
    middle = point_ap([(49.5, 49.5)] * 30, np.float32(scores), targets)
    assert result.baseline == pytest.approx(middle)
    low, high = result.interval
    assert low < result.value < high


def test_images_with_difficult_objects_only_are_left_out_and_labels_without_a_box(finding, annotated, boxes):
    metric = PointAP(["dog"])
    at = finding(scores={"dog": 0.9}, points={"dog": (90, 90)})
    metric.update(at, annotated(boxes(("dog", [0, 0, 9, 9], 1, "difficult")), "a.jpg"))
    metric.update(at, Sample(path="b.jpg", labels=["dog"], boxes=Boxes.empty()))
    right = finding(scores={"dog": 0.1}, points={"dog": (1, 1)})
    metric.update(right, annotated(boxes(("dog", [0, 0, 9, 9], 1, "difficult"), ("dog", [50, 50, 60, 60])), "c.jpg"))
    assert metric.compute().value == 1
    metric.update(at, Sample(path="e.jpg", boxes=Boxes.empty()))  # a point where nothing is, and surer
    assert metric.compute().value == 0.5


def test_a_wrong_point_of_a_class_that_is_not_annotated_exhaustively_counts_neither_way(finding, annotated, boxes):
    """By hand; the images of cats, by falling score: wrong without a cat, wrong beside one, right."""
    cat, dog = ("cat", [0, 0, 9, 9]), ("dog", [0, 0, 9, 9])
    points = {"cat": (90, 90), "dog": (90, 90)}
    values = {}
    for classes in ((), ("cat",)):
        metric = PointAP(["cat", "dog"])
        for path, scores, of, at in (
            ("a.jpg", {"cat": 0.9, "dog": 0.9}, boxes(dog), points),
            ("b.jpg", {"cat": 0.8, "dog": 0.8}, boxes(cat, dog), points),
            ("c.jpg", {"cat": 0.7, "dog": 0.7}, boxes(cat, dog), {"cat": (1, 1), "dog": (1, 1)}),
        ):
            metric.update(finding(path, scores=scores, points=at), replace(annotated(of, path), not_exhaustive=classes))
        values[classes] = metric.compute()
    # One of two cats is found, third of three, or first of the only one; the cat of b.jpg is missed either way.
    assert values[()].per_class["cat"] == pytest.approx(1 / 2 / 3)
    assert values["cat",].per_class["cat"] == pytest.approx(1 / 2)
    assert values["cat",].per_class["dog"] == values[()].per_class["dog"] == pytest.approx(1 / 3 / 3)
    assert values["cat",].counts == values[()].counts == {"cat": 2, "dog": 3}


def test_a_missing_point_or_score_finds_nothing_and_is_counted(finding, annotated, boxes):
    metric = PointAP(["dog"])
    dog = boxes(("dog", [0, 0, 9, 9]))
    assert metric.compute().value is None
    metric.update(finding(points={"dog": (1, 1)}), annotated(dog, "a.jpg"))
    metric.update(finding(scores={"dog": 1}), annotated(dog, "b.jpg"))
    assert metric.compute().value is None
    metric.update(finding(scores={"dog": 1}, points={"dog": (1, 1)}), annotated(dog, "c.jpg"))
    assert metric.compute().value == pytest.approx(1 / 3)
    assert "2 missing" in metric.compute().note


def test_bad_input_is_refused(finding, annotated, boxes):
    dog = annotated(boxes(("dog", [0, 0, 9, 9])))
    with pytest.raises(UserError, match="NaN"):
        PointAP(["dog"]).update(finding(scores={"dog": math.nan}, points={"dog": (1, 1)}), dog)
    with pytest.raises(UserError, match="tolerance"):
        PointAP(["dog"], tolerance=-1)
    with pytest.raises(UserError, match="finite"):
        point_within((math.nan, 0), [])
    with pytest.raises(UserError, match="undefined"):
        point_ap([(1, 1)], [0.5], [[]])
    with pytest.raises(UserError, match="as many"):
        point_ap([(1, 1)], [0.5], [])


def test_the_difficult_subset_is_of_small_classes_among_others(finding, annotated, boxes):
    quarter, less = [0, 0, 50, 50], [0, 0, 50, 49]
    other = ("cat", [60, 60, 70, 70])
    for rows, hard in [
        ([("dog", quarter), other], False),
        ([("dog", less), other], True),
        ([("dog", less)], False),
        ([("dog", less), ("dog", less), other], True),  # twice the same place
        ([("dog", less), ("dog", [50, 50, 60, 60]), other], False),
    ]:
        assert is_small_among_others("dog", boxes(*rows), (100, 100)) is hard
    game = PointingGame(["cat", "dog"], subset="difficult")
    found = finding(points={"dog": (1, 1), "cat": (1, 1)})
    game.update(found, annotated(boxes(("dog", less), other), "a.jpg"))
    game.update(found, annotated(boxes(("dog", quarter), other), "b.jpg"))
    by_class, by_pair = game.compute()
    assert (by_class.name, by_pair.name) == ("pointing (difficult)", "pointing (difficult pairs)")
    assert by_class.counts == {"cat": 2, "dog": 1}
    assert (by_class.value, by_pair.value) == (0.5, pytest.approx(1 / 3))
    with pytest.raises(UserError, match="subset"):
        PointingGame(["dog"], subset="hard")
