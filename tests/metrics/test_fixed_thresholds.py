"""A threshold from elsewhere is honest: it gives what it gives."""

import numpy as np
import pytest

from wsl.errors import UserError
from wsl.metrics import MaxBoxAcc, TorchMetric
from wsl.metrics.bootstrap import percentile_interval
from wsl.results import BoxOrigin

LEVELS = (0.3, 0.5, 0.7)


def test_thresholds_from_elsewhere_give_no_more_than_the_best(finding, annotated, boxes):
    """Chosen on one half and used on the other; on the half that they were chosen on they are the best."""
    rng = np.random.default_rng(11)
    halves = [MaxBoxAcc(["dog"], LEVELS) for _ in range(2)]
    for i in range(40):
        y, x = np.mgrid[:9, :9]
        cx, cy = rng.uniform(2, 7, 2)
        score_map = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8).astype(np.float32)
        side = rng.uniform(20, 60)
        target = [10 * cx - side / 2, 10 * cy - side / 2, 10 * cx + side / 2, 10 * cy + side / 2]
        found = finding(f"{i}.jpg", (90, 90), maps={"dog": score_map})
        halves[i % 2].update(found, annotated(boxes(("dog", target)), f"{i}.jpg", (90, 90)))
    chosen = halves[0].best_thresholds()
    early = halves[0].at(chosen, "here")
    assert [m.value for m in early] == [m.value for m in halves[0].compute()]
    assert [m.interval for m in early] == [m.interval for m in halves[0].at(chosen, "here")]
    for level, fixed in enumerate(halves[0].at((0.2,) * 3, "given")):
        right = halves[0].totals.drawn[0].reshape(3, 100, -1)[level, :21].sum(axis=0)
        accuracy = right / halves[0].totals.drawn_trials[0]
        assert fixed.interval == pytest.approx(percentile_interval(accuracy, fixed.value))
        assert fixed.interval[0] < fixed.value < fixed.interval[1]
    honest, optimistic = halves[1].at(chosen, "selected on train"), halves[1].compute()
    for mine, best, threshold, level in zip(honest, optimistic, chosen, LEVELS, strict=True):
        assert mine.name == f"BoxAcc@{level:g}"
        assert mine.value <= best.value
        assert mine.baseline == best.baseline
        assert mine.note == f"single-object images; threshold {threshold:g}, selected on train"
        curve = halves[1].curves()[level]
        assert (mine.value, best.value) == pytest.approx((curve[round(threshold * 100)], curve.max()))
    assert honest != optimistic
    with pytest.raises(UserError, match="expected one per level: 3"):
        halves[1].at(chosen[:2], "given")


def test_without_a_map_a_threshold_from_elsewhere_measures_nothing():
    assert [metric.value for metric in MaxBoxAcc(["dog"]).at((0.2,) * 3, "given")] == [None] * 3


def test_a_torch_metric_measures_at_the_threshold_of_the_boxes_too(finding, annotated, boxes):
    metric = MaxBoxAcc(["dog"], LEVELS, boxes=BoxOrigin(threshold=0.304, box_rule="largest", origin="given"))
    pair = (
        finding("a.jpg", (8, 2), maps={"dog": [[0, 2, 4, 1]]}),
        annotated(boxes(("dog", [2, 0, 6, 2])), "a.jpg", (8, 2)),
    )
    whole = TorchMetric(metric)
    whole.update(*pair)
    metric.update(*pair)
    assert whole.compute() == metric.compute()
    assert [one.value for one in whole.compute()[3:]] == [1, 1, 1]
    assert whole.compute()[3].note == "single-object images; threshold 0.3, nearest to 0.304, given"
