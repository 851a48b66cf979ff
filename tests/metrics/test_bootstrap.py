from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsl.errors import UserError
from wsl.metrics import ClassificationAP, CorLoc, MaxBoxAcc, PointingGame, VOCDetectionAP, resampling
from wsl.metrics.bootstrap import image_key, percentile_interval, poisson_weights, weighted_sums
from wsl.metrics.class_mean import ClassMean
from wsl.metrics.ranking import Method, ranking_ap
from wsl.metrics.resampling import resampled_ap
from wsl.results import EvaluationReport
from wsl.samples import Sample
from wsl.tables import report_table


def test_draws_are_poisson_and_those_of_two_images_are_independent():
    weights = poisson_weights(range(400), 500).astype(float)
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.var() == pytest.approx(1, abs=0.02)
    assert (weights == 0).mean() == pytest.approx(np.exp(-1), abs=0.005)
    assert np.abs(np.corrcoef(weights[:40]) - np.eye(40)).max() < 0.2
    assert not np.array_equal(weights, poisson_weights(range(400), 500, seed=1))


@pytest.mark.parametrize(("kind", "highest"), [(np.bool_, 1), (np.int8, 3), (np.int64, 10**9), (np.float64, 1)])
@pytest.mark.parametrize("density", [1.0, 0.01])
def test_sums_are_those_of_images_as_often_as_they_were_drawn(kind, highest, density):
    rng = np.random.default_rng(3)
    values = (rng.integers(-highest, highest, (20, 50), endpoint=True) * (rng.random((20, 50)) < density)).astype(kind)
    weights, sums = poisson_weights(range(20), 40), np.ones((50, 40))
    weighted_sums(sums, values, weights)
    assert np.array_equal(sums - 1, values.T.astype(object) @ weights.astype(object))


def test_an_image_is_drawn_alike_wherever_the_data_set_lies():
    here, there = Path("/a/VOC2012/JPEGImages/x.jpg"), Path("VOC2012/JPEGImages/x.jpg")
    assert image_key(here) == image_key(there)
    assert image_key(here) != image_key(Path("/a/VOC2012/JPEGImages/y.jpg"))
    assert len({image_key(Path(f"{label}/{i}.jpg")) for label in "ab" for i in range(1000)}) == 2000
    assert -(2**63) <= image_key(Path("x")) < 2**63


@pytest.mark.parametrize("method", get_args(Method))
@given(seed=st.integers(0, 10**6))
def test_resampled_ap_is_the_ap_of_images_as_often_as_they_were_drawn(method, seed):
    rng = np.random.default_rng(seed)
    images, n = 7, int(rng.integers(0, 25))
    scores, correct, image = rng.integers(0, 9, n), rng.random(n) < 0.4, rng.integers(0, images, n)
    positives = np.bincount(image[correct], minlength=images) + rng.integers(0, 2, images)
    weights = poisson_weights(range(seed, seed + images), 12)
    found = resampled_ap(scores, correct, image, positives, weights, method)
    for replicate, times in enumerate(weights.T):
        again = np.repeat(np.arange(n), times[image])
        total = int(times @ positives)
        if total:
            assert found[replicate] == pytest.approx(ranking_ap(scores[again], correct[again], total, method))
        else:
            assert np.isnan(found[replicate])


@pytest.mark.parametrize(
    ("method", "levels"),
    [
        ("11-point", [k / 10 for k in range(11)]),
        ("11-point-python", np.arange(0.0, 1.1, 0.1)),
        ("11-point-matlab", [*(k * 0.1 for k in range(6)), *(1 - k * 0.1 for k in range(4, -1, -1))]),
        ("101-point", np.linspace(0, 1, 101)),
    ],
)
def test_resampled_recalls_reach_the_levels_of_their_rule(method, levels):
    # An image with one of the positives found, and one with the others: replicate f finds f of the total.
    total = 100 if method == "101-point" else 10
    for found in range(1, total + 1):
        weights = np.uint8([[found], [total - found]])
        ap = resampled_ap([1.0], [True], [0], [1, 1], weights, method, ties=False)
        assert ap[0] == pytest.approx(sum(found / total >= level for level in levels) / len(levels))


@pytest.mark.parametrize("chunk", [1, 50])
def test_resampled_ap_is_the_same_in_parts(chunk, monkeypatch):
    rng = np.random.default_rng(1)
    n, images = 200, 60
    scores, correct, image = rng.integers(0, 90, n), rng.random(n) < 0.3, rng.integers(0, images, n)
    positives, weights = np.bincount(image[correct], minlength=images), poisson_weights(range(images), 50)
    whole = resampled_ap(scores, correct, image, positives, weights)
    monkeypatch.setattr(resampling, "_CHUNK", chunk)
    np.testing.assert_allclose(resampled_ap(scores, correct, image, positives, weights), whole, rtol=1e-15)


def test_the_interval_of_a_rate_is_as_wide_as_the_binomial_says(finding, annotated, boxes):
    metric = PointingGame(["dog"])
    for i in range(400):
        sample = annotated(boxes(("dog", [0, 0, 9, 9])), f"{i}.jpg")
        metric.update(finding(points={"dog": (1, 1) if i % 4 else (90, 90)}), sample)
    low, high = metric.compute()[0].interval
    assert low < 0.75 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.1)


def test_pairs_of_one_image_are_drawn_together(finding, annotated, boxes):
    widths = []
    for pairs in (1, 4):
        metric = PointingGame(list("abcd"))
        for i in range(100):
            of = boxes(*((label, [0, 0, 9, 9]) for label in "abcd"[:pairs]))
            metric.update(
                finding(points=dict.fromkeys("abcd", (1, 1) if i % 2 else (90, 90))), annotated(of, f"{i}.jpg")
            )
        low, high = metric.compute()[1].interval
        widths.append(high - low)
    assert widths[0] == pytest.approx(widths[1])  # four pairs that always agree tell no more than one


def test_a_class_that_a_replicate_lacks_is_left_out_of_its_mean():
    values, draws = np.array([[1.0] * 100, [0.5, np.nan] * 50]), np.array([[3] * 100, [1, 0] * 50])
    mean = ClassMean(["a", "b"])
    metric = mean.metric("m", [1, 0.5], [3, 1], resampled=values)
    assert metric.interval == percentile_interval([0.75, 1.0] * 50, 0.75)
    pooled = mean.metric("m", [1, 0.5], [3, 1], pooled=True, resampled=values, draws=draws)
    assert pooled.interval == percentile_interval([3.5 / 4, 1.0] * 50, 3.5 / 4)


def test_where_half_the_replicates_are_empty_there_is_no_interval():
    assert percentile_interval([np.nan] * 6 + [0.5] * 5, 0.5) is None
    assert percentile_interval([0.5] * 10, 0.5) == (0.5, 0.5)
    assert percentile_interval([], 0.5) is None


def test_replicates_that_lie_too_high_are_taken_lower():
    values = np.random.default_rng(0).normal(0.52, 0.02, 4000)
    low, high = percentile_interval(values, 0.50)  # resampling adds 0.02, so that the value itself has it once
    assert (low, high) == pytest.approx((0.48 - 1.96 * 0.02, 0.48 + 1.96 * 0.02), abs=0.004)
    # Beyond all replicates: from the value itself to their edge.
    assert percentile_interval(values, 0.0) == pytest.approx((0.0, values.min()), abs=1e-5)


@pytest.mark.parametrize("kind", [ClassificationAP, CorLoc, MaxBoxAcc, PointingGame, VOCDetectionAP])
def test_intervals_can_be_switched_off_and_hold_the_value_when_on(kind, finding, annotated, boxes):
    rng = np.random.default_rng(2)
    on, off = kind(["cat", "dog"]), kind(["cat", "dog"], replicates=0)
    for i in range(40):
        label, (x, y) = ["cat", "dog"][i % 2], rng.integers(0, 50, 2)
        there = boxes((label, [20, 20, 70, 70]))
        found = finding(
            scores={"cat": rng.random(), "dog": rng.random()},
            boxes=boxes((label, [x, y, x + 50, y + 50], rng.random())),
            points={label: (int(2 * x), int(2 * y))},
            maps={label: rng.random((3, 3)).astype(np.float32)},
        )
        for metric in (on, off):
            metric.update(found, annotated(there, f"{i}.jpg"))
    for with_interval, without in zip(
        *(m if isinstance(m, tuple) else (m,) for m in (on.compute(), off.compute())), strict=True
    ):
        assert without.interval is None
        assert (with_interval.value, with_interval.per_class) == (without.value, without.per_class)
        low, high = with_interval.interval
        assert 0 <= low <= with_interval.value <= high <= 1
        assert (low < high) == (0 < with_interval.value < 1)


def test_too_few_replicates_are_refused():
    with pytest.raises(UserError, match="expected 0"):
        CorLoc(["dog"], replicates=10)


def test_the_report_shows_the_interval(finding):
    metric = ClassificationAP(["dog"])
    for i in range(10):
        metric.update(finding(scores={"dog": i % 3}), Sample(path=f"{i}.jpg", labels=["dog"][: i % 2]))
    report = EvaluationReport(metrics=(metric.compute(),), images=10, source="x")
    low, high = metric.compute().interval
    header, _, row = report_table(report).split("\n\n")[1].splitlines()
    assert header.split("|")[3].strip() == "95 %"
    assert row.split("|")[3].strip() == f"{low:.3f}–{high:.3f}"
    assert report.to_json()["metrics"]["mAP"]["interval"] == [low, high]
