"""The paired bootstrap: nothing between equal runs, the same from either side, and what an engine of its own finds."""

import numpy as np
import pytest

from wsl.boxes import Boxes
from wsl.comparison import ComparedRun, Comparison
from wsl.metrics import ClassificationAP, PointingGame
from wsl.metrics.bootstrap import image_key, percentile_interval, poisson_weights
from wsl.metrics.paired import paired_differences, paired_interval
from wsl.results import Localization, Metric
from wsl.samples import Sample

SIZE = (200, 200)
TRUTH = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])


def measured(hits, order=None):
    """The pointing game over one image a number, hit where it is true."""
    metric = PointingGame(["dog"])
    for i in range(len(hits)) if order is None else order:
        point = (5.0, 5.0) if hits[i] else (199.0, 199.0)
        found = Localization(path=f"{i}.jpg", size=SIZE, scores={}, boxes=Boxes.empty(), points={"dog": point})
        metric.update(found, Sample(path=found.path, labels=["dog"], boxes=TRUTH))
    return metric.compute()[0]


def run(name, metric):
    return ComparedRun(name=name, source=name, metrics={} if metric is None else {metric.name: metric})


def test_equal_runs_differ_by_nothing():
    hits = np.random.default_rng(0).random(50) < 0.6
    one, other = measured(hits), measured(hits)
    assert one.interval[0] < one.interval[1]
    assert paired_interval(one, other) == (0, 0)
    (difference,) = paired_differences([run("a", one), run("b", other)], [one.name])
    assert (difference.value, difference.interval, difference.beyond_noise) == (0, (0, 0), False)


def test_the_order_of_the_images_does_not_matter():
    rng = np.random.default_rng(1)
    first, second = rng.random(60) < 0.7, rng.random(60) < 0.5
    expected = paired_interval(measured(first), measured(second))
    assert paired_interval(measured(first, rng.permutation(60)), measured(second)) == pytest.approx(expected)


def test_from_the_other_run_it_is_the_negative():
    rng = np.random.default_rng(2)
    one, other = measured(rng.random(60) < 0.7), measured(rng.random(60) < 0.5)
    low, high = paired_interval(one, other)
    assert paired_interval(other, one) == pytest.approx((-high, -low))
    differences = paired_differences([run("a", one), run("b", other)], [one.name])
    both = Comparison(
        runs=[run("a", one), run("b", other)],
        metrics=[one.name],
        differences=differences,
        baseline="a",
        images=60,
        split="val",
    )
    assert both.difference("a", "b", one.name) == both.difference("b", "a", one.name).reversed()
    assert both.difference("a", "b", one.name).value == pytest.approx(one.value - other.value)


def test_by_hand_it_is_the_drawn_mean_of_what_the_images_differ_by():
    """Over images of one class a resampled difference is the weighted mean of the differences by image."""
    first, second = np.array([1, 1, 0, 1, 0, 1, 1, 0, 1, 1]), np.array([1, 0, 0, 1, 1, 0, 1, 0, 1, 0])
    one, other = measured(first), measured(second)
    weights = poisson_weights([image_key(Sample(path=f"{i}.jpg").path) for i in range(10)], 1000).astype(float)
    drawn = ((first - second)[:, None] * weights).sum(axis=0) / weights.sum(axis=0)
    assert paired_interval(one, other) == pytest.approx(percentile_interval(drawn.round(12), 0.2))


def test_what_is_hard_for_both_does_not_widen_it():
    hits = np.random.default_rng(3).random(200) < 0.5
    better = hits.copy()
    better[np.flatnonzero(~hits)[:10]] = True
    one, other = measured(better), measured(hits)
    (difference,) = paired_differences([run("a", other), run("b", one)], [one.name])
    assert one.interval[0] < other.interval[1]
    assert difference.value == pytest.approx(0.05)
    assert difference.beyond_noise


def test_fewer_replicates_are_the_first_of_more():
    """A metric of a large run may rest on fewer: those that it has are of the same resampled data sets."""
    many, few = ClassificationAP(["dog"], replicates=400), ClassificationAP(["dog"], replicates=100)
    for i, score in enumerate(np.random.default_rng(4).random(40).tolist()):
        found = Localization(path=f"{i}.jpg", size=SIZE, scores={"dog": score}, boxes=Boxes.empty())
        for metric in (many, few):
            metric.update(found, Sample(path=found.path, labels=["dog"][: i % 2]))
    assert paired_interval(many.compute(), few.compute()) == (0, 0)


def test_without_resampling_there_is_no_interval():
    one, other = (Metric(name="COCO AP", value=value) for value in (0.5, 0.25))
    assert paired_interval(one, other) is None
    (difference,) = paired_differences([run("a", other), run("b", one)], ["COCO AP"])
    assert (difference.value, difference.interval, difference.beyond_noise) == (0.25, None, False)


def test_what_one_run_has_not_is_not_compared():
    metric = Metric(name="pointing", value=0.5)
    assert paired_differences([run("a", metric), run("b", None)], ["pointing"]) == ()


@pytest.mark.parametrize(("name", "best"), [("mAP", "c"), ("calibration error", "a")])
def test_the_best_is_named_where_it_leads_by_more_than_noise(name, best):
    draws = np.random.default_rng(5).normal(0, 0.1, 1000)
    runs = [
        run(label, Metric(name=name, value=value, replicates=draws + value, lower_is_better=best == "a"))
        for label, value in (("a", 0.2), ("b", 0.3), ("c", 0.4))
    ]
    settings = {"metrics": [name], "baseline": "a", "images": 9, "split": "val"}
    differences = paired_differences(runs, [name])
    assert Comparison(runs=runs, differences=differences, **settings).best(name) == best
    unpaired = np.random.default_rng(6).normal(0, 0.1, 1000)
    runs = [run("a", runs[0].metrics[name]), run("b", Metric(name=name, value=0.21, replicates=unpaired + 0.21))]
    assert Comparison(runs=runs, differences=paired_differences(runs, [name]), **settings).best(name) is None
