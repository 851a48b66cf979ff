import numpy as np
import pytest

from wsl.errors import UserError
from wsl.metrics.class_mean import ClassMean

RATES, COUNTS = [1.0, 0.5, 0.0], [1, 2, 5]


def test_mean_takes_each_class_alike_and_pooled_each_trial_alike():
    mean = ClassMean(["a", "b", "c"])
    assert mean.metric("m", RATES, COUNTS).value == pytest.approx(0.5)
    assert mean.metric("m", RATES, COUNTS, pooled=True).value == pytest.approx(2 / 8)


def test_report_classes_narrow_the_mean_and_its_baseline_but_not_the_table():
    metric = ClassMean(["a", "b", "c"], ["c", "b"]).metric("m", RATES, COUNTS, baseline=RATES)
    assert metric.value == metric.baseline == pytest.approx(0.25)
    assert metric.per_class == {"a": 1.0, "b": 0.5, "c": 0.0}
    assert "2 of 3 classes (7 of 8)" in metric.note


def test_a_class_without_trials_enters_neither_mean_nor_table():
    metric = ClassMean(["a", "d"]).metric("m", [0.5, 0.0], [1, 0])
    assert (metric.value, metric.per_class, metric.counts) == (0.5, {"a": 0.5}, {"a": 1})


def test_nothing_behind_it_is_no_value_and_no_zero():
    metric = ClassMean(["a"]).metric("m", [np.nan], [0], baseline=[np.nan])
    assert (metric.value, metric.baseline, metric.count) == (None, None, 0)


def test_report_classes_without_trials_give_no_value_though_others_have_some():
    assert ClassMean(["a", "b"], ["b"]).metric("m", [1.0, np.nan], [3, 0]).value is None


@pytest.mark.parametrize(("classes", "report"), [([], []), (["a", "a"], []), ("ab", []), (["a"], ["b"])])
def test_classes_that_make_no_sense_are_refused(classes, report):
    with pytest.raises(UserError, match="expected"):
        ClassMean(classes, report)
