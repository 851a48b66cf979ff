import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from wsl.errors import UserError
from wsl.metrics import ClassificationAP, average_precision
from wsl.metrics.ranking import ranking_ap
from wsl.samples import Sample

INTERPOLATED = ("all-point", "11-point", "11-point-python", "11-point-matlab")
METHODS = (*INTERPOLATED, "sum")
methods = st.sampled_from(METHODS)


@st.composite
def rankings(draw, distinct=False):
    """Scores (whole numbers, so that ties are ties) and targets with at least one positive."""
    n = draw(st.integers(1, 30))
    scores = draw(st.lists(st.integers(-40, 40), min_size=n, max_size=n, unique=distinct))
    targets = draw(st.lists(st.sampled_from([1, 0, 0, -1]), min_size=n, max_size=n))
    targets[draw(st.integers(0, n - 1))] = 1
    return np.array(scores, float), np.array(targets)


@given(rankings())
def test_sum_is_scikit_learns_average_precision_ties_included(ranking):
    scores, targets = ranking
    counted = targets >= 0
    expected = average_precision_score(targets[counted] == 1, scores[counted])
    assert average_precision(scores, targets, "sum") == pytest.approx(expected)


@given(ranking=rankings(distinct=True), method=st.sampled_from(INTERPOLATED))
def test_without_ties_ap_is_that_of_the_voc_devkit(devkit, ranking, method):
    scores, targets = ranking
    expected = devkit.classification(scores.tolist(), targets.tolist(), method)
    assert average_precision(scores, targets, method) == pytest.approx(expected)


@given(ranking=rankings(), method=methods, seed=st.integers(0, 99))
def test_ap_is_a_fraction_that_depends_on_the_ranking_only(ranking, method, seed):
    scores, targets = ranking
    ap = average_precision(scores, targets, method)
    assert 0 <= ap <= 1
    order = np.random.default_rng(seed).permutation(len(scores))
    assert average_precision(scores[order], targets[order], method) == pytest.approx(ap, abs=1e-12)
    assert average_precision(np.exp(scores), targets, method) == ap
    assert average_precision(scores, targets, "sum") <= average_precision(scores, targets, "all-point") + 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_the_perfect_ranking_has_ap_one(method):
    assert average_precision([4, 3, 2, 1], [1, 1, 0, 0], method) == 1


@pytest.mark.parametrize("method", ["all-point", "sum"])
def test_one_score_for_all_gives_the_fraction_of_positives(method):
    assert average_precision([0.5] * 8, [1, 0, 0, 0, 1, 0, 0, 0], method) == pytest.approx(2 / 8)


def test_a_worked_example():
    # Ranking: + - + - -, one positive of three never found.
    right, scores = [True, False, True, False, False], [5, 4, 3, 2, 1]
    assert ranking_ap(scores, right, 3, "sum") == pytest.approx((1 + 2 / 3) / 3)
    assert ranking_ap(scores, right, 3, "all-point") == pytest.approx((1 + 2 / 3) / 3)
    # Recalls 0, .1, .2, .3 at precision 1; .4, .5, .6 at 2/3; nothing beyond.
    assert ranking_ap(scores, right, 3, "11-point") == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)


@pytest.mark.parametrize(
    ("method", "levels"), [("11-point", (4, 7, 8)), ("11-point-python", (3, 6, 7)), ("11-point-matlab", (3, 7, 8))]
)
def test_programs_differ_in_whether_a_recall_of_exactly_some_tenths_reaches_its_level(method, levels):
    # 3, 6 and 7 of 10 found at precision 1: the levels from 0 to as many tenths, but for those computed too high.
    reached = [11 * ranking_ap(range(found), [True] * found, 10, method) for found in (3, 6, 7)]
    assert reached == pytest.approx(levels)
    assert ranking_ap([2, 1], [True] * 2, 10, method) == pytest.approx(3 / 11)


@pytest.mark.parametrize("method", INTERPOLATED)
def test_every_recall_of_few_positives_reaches_the_levels_that_the_devkit_finds(devkit, method):
    for positives in range(1, 51):
        right = [i % 3 > 0 for i in range(positives)]  # two of three are right: every recall up to two thirds
        expected = devkit.ranked_ap(right, positives, method)
        assert ranking_ap(-np.arange(positives), right, positives, method) == pytest.approx(expected)


def test_a_metric_is_named_by_its_rule(finding):
    metric = ClassificationAP(["dog"], ("11-point", "11-point-python"))
    for i in range(10):  # the first three of ten images with a dog rank above two without
        metric.update(
            finding(f"{i}.jpg", scores={"dog": 0.9 if i < 3 else 0.1}), Sample(path=f"{i}.jpg", labels=["dog"])
        )
    for i in range(30):
        metric.update(finding(f"{i}x.jpg", scores={"dog": 0.5}), Sample(path=f"{i}x.jpg"))
    exact, port = metric.compute()
    assert (exact.name, port.name) == ("mAP (11-point)", "mAP (11-point-python)")
    assert exact.value - port.value == pytest.approx((1 - 10 / 40) / 11)


def test_images_with_difficult_objects_only_are_left_out():
    assert average_precision([0.9, 0.8, 0.7], [-1, 1, 0]) == 1


@pytest.mark.parametrize(
    ("scores", "targets", "method"),
    [
        ([0.1, math.nan], [1, 0], "sum"),
        ([0.1], [1, 0], "sum"),
        ([0.1, 0.2], [0, 0], "sum"),
        ([0.1, 0.2], [0, -1], "sum"),
        ([0.1, 0.2], [2, 1], "sum"),
        ([0.1, 0.2], [0.5, 1], "sum"),
        ([0.1, 0.2], [0, 1], "12-point"),
    ],
)
def test_what_has_no_average_precision_is_refused(scores, targets, method):
    with pytest.raises(UserError):
        average_precision(scores, targets, method)


def test_streaming_is_the_pure_function_per_class(finding):
    rng = np.random.default_rng(3)
    classes = ["cat", "dog", "emu"]
    scores, targets = rng.normal(size=(20, 3)), rng.integers(-1, 2, (20, 3))
    targets[:, 2] = 0
    metric = ClassificationAP(classes, "sum")
    for row, target in zip(scores, targets, strict=True):
        labels = [name for name, t in zip(classes, target, strict=True) if t == 1]
        ignored = [name for name, t in zip(classes, target, strict=True) if t == -1]
        sample = Sample(path="a.jpg", labels=labels, ignored=ignored)
        metric.update(finding(scores=dict(zip(classes, row.tolist(), strict=True))), sample)
    result = metric.compute()
    expected = {name: average_precision(scores[:, i], targets[:, i], "sum") for i, name in enumerate(classes[:2])}
    assert result.per_class == expected  # no emu: nothing to find
    assert result.value == pytest.approx(np.mean(list(expected.values())))
    assert result.counts == {"cat": int((targets[:, 0] == 1).sum()), "dog": int((targets[:, 1] == 1).sum())}
    fractions = [(targets[:, i] == 1).sum() / (targets[:, i] >= 0).sum() for i in range(2)]
    assert result.baseline == pytest.approx(np.mean(fractions))


def test_a_class_without_a_score_ranks_last_and_is_counted(finding):
    metric = ClassificationAP(["dog"])
    metric.update(finding(scores={}), Sample(path="a.jpg", labels=["dog"]))
    metric.update(finding(scores={"dog": -1e30}), Sample(path="b.jpg"))
    assert metric.compute().value == 0.5
    assert "1 scores missing" in metric.compute().note


def test_without_any_score_there_is_no_value(finding):
    metric = ClassificationAP(["dog"])
    assert metric.compute().value is None
    metric.update(finding(), Sample(path="a.jpg", labels=["dog"]))
    assert metric.compute().value is None


def test_a_nan_score_is_refused_by_name(finding):
    with pytest.raises(UserError, match=r"a\.jpg.*'dog'.*NaN"):
        ClassificationAP(["dog"]).update(finding(scores={"dog": math.nan}), Sample(path="a.jpg"))


def test_an_unknown_label_is_refused(finding):
    with pytest.raises(UserError, match="unknown class 'emu'"):
        ClassificationAP(["dog"]).update(finding(), Sample(path="a.jpg", labels=["emu"]))


def test_classes_that_nobody_verified_count_neither_way(finding):
    """As if the image were left out of their AP: it would rank above the one that shows a dog."""
    metric = ClassificationAP(["cat", "dog"])
    metric.update(finding(scores={"cat": 0.9, "dog": 0.9}), Sample(path="a.jpg", labels=["cat"], negatives=[]))
    metric.update(finding(scores={"cat": 0.1, "dog": 0.5}), Sample(path="b.jpg", labels=["dog"], negatives=["cat"]))
    assert metric.compute().per_class == {"cat": 1.0, "dog": 1.0}
