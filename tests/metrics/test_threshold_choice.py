"""A threshold is chosen once for a data set, and what is reported of it is what it gives."""

import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.maps import boxes_from_map
from wsl.metrics import ThresholdChoice, box_iou
from wsl.results import BoxOrigin, Localization
from wsl.samples import Sample

RULES = ("largest", "peak")


def smooth(rng, side=7):
    """Two hills, so that the largest component need not hold the peak."""
    y, x = np.mgrid[:side, :side]
    hills = [
        rng.uniform(0.4, 1) * np.exp(-((x - a) ** 2 + (y - b) ** 2) / rng.uniform(0.5, 6))
        for a, b in rng.uniform(0, side, (2, 2))
    ]
    return np.float32(sum(hills))


@pytest.fixture(scope="module")
def images():
    """Each with one or two classes, maps of most of them, and a box that some threshold of its own would give."""
    rng, pairs = np.random.default_rng(3), []
    for i in range(30):
        labels = ["cat", "dog"][: 1 + i % 2] if i % 3 else ["dog"]
        maps = {label: smooth(rng) for label in labels}
        drawn = [
            boxes_from_map(m, threshold=rng.uniform(0.1, 0.8), rule=RULES[i % 2], size=(90, 90)).xyxy[0]
            for m in maps.values()
        ]
        if i == 4:
            maps.popitem()
        found = Localization(path=f"{i}.jpg", size=(90, 90), scores={}, boxes=Boxes.empty(), maps=maps)
        truths = Boxes(xyxy=np.array(drawn), labels=labels)
        pairs.append((found, Sample(path=f"{i}.jpg", labels=labels, boxes=truths)))
    return pairs


def hits(found, sample, threshold, rule):
    """How many classes of an image get a right box, the plain way."""
    right = 0
    for label in sample.labels:
        if label in found.maps:
            boxes = boxes_from_map(found.maps[label], threshold=threshold, rule=rule, size=found.size)
            right += len(boxes) > 0 and box_iou(boxes.xyxy[0], sample.boxes.of(label).xyxy).max() >= 0.5
    return right


def test_the_choice_is_that_of_trying_everything(images):
    choice = ThresholdChoice(["cat", "dog"], num_thresholds=20)
    for pair in images:
        choice.update(*pair)
    pairs = sum(len(sample.labels) for _, sample in images)
    curves = choice.accuracies()
    for rule in RULES:
        expected = [sum(hits(*pair, i / 20, rule) for pair in images) / pairs for i in range(20)]
        np.testing.assert_allclose(curves[rule], expected, atol=1e-12)
    best = choice.choose()
    assert best.pairs == pairs
    assert best.accuracy == max(curve.max() for curve in curves.values())
    assert sum(hits(*pair, best.threshold, best.box_rule) for pair in images) == pytest.approx(best.accuracy * pairs)
    metric = choice.compute()[1]
    assert metric.value == pytest.approx(best.accuracy)
    assert "best on the evaluated split (optimistic)" in metric.note
    assert "1 without a map: misses" in metric.note


def test_one_threshold_an_image_would_be_better_and_is_not_what_is_reported(images):
    choice = ThresholdChoice(["cat", "dog"], num_thresholds=20)
    for pair in images:
        choice.update(*pair)
    pairs = sum(len(sample.labels) for _, sample in images)
    cheating = sum(max(hits(*pair, i / 20, rule) for i in range(20) for rule in RULES) for pair in images) / pairs
    assert choice.compute()[1].value < cheating - 0.1


def test_halves_add_up(images):
    whole, one, other = (ThresholdChoice(["cat", "dog"], num_thresholds=20) for _ in range(3))
    for i, pair in enumerate(images):
        whole.update(*pair)
        (one if i < 11 else other).update(*pair)
    one.merge(other)
    assert one.choose() == whole.choose()
    assert one.compute() == whole.compute()


def test_the_boxes_found_are_measured_beside_it(images):
    """With boxes drawn at the best threshold and rule the two numbers are one."""
    choice = ThresholdChoice(["cat", "dog"], num_thresholds=20)
    for pair in images:
        choice.update(*pair)
    best = choice.choose()
    origin = BoxOrigin(threshold=best.threshold, box_rule=best.box_rule, origin="selected on train")
    again = ThresholdChoice(["cat", "dog"], num_thresholds=20, boxes=origin)
    for found, sample in images:
        drawn = Boxes.concatenate(
            [
                boxes_from_map(m, threshold=best.threshold, rule=best.box_rule, size=found.size, label=label)
                for label, m in found.maps.items()
            ]
        )
        again.update(Localization(path=found.path, size=found.size, scores={}, boxes=drawn, maps=found.maps), sample)
    selected, optimistic = again.compute()
    assert selected.value == pytest.approx(optimistic.value)
    assert "selected on train" in selected.note
    assert selected.interval[0] <= selected.value <= selected.interval[1]


def test_nothing_to_choose_from():
    choice = ThresholdChoice(["dog"])
    with pytest.raises(UserError, match="no class map"):
        choice.choose()
    assert [metric.value for metric in choice.compute()] == [None, None]
    there = Boxes(xyxy=[[0, 0, 9, 9]], labels=["dog"])
    found = Localization(path="a.jpg", size=(9, 9), scores={}, boxes=there, maps={"dog": np.full((2, 2), np.nan)})
    choice.update(found, Sample(path="a.jpg", labels=["dog"], boxes=there))
    with pytest.raises(UserError, match="no class map"):
        choice.choose()
    assert [metric.value for metric in choice.compute()] == [1.0, None]
