"""Expected calibration error against its definition, and against torchmetrics'."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import BinaryCalibrationError

from wsl.errors import UserError
from wsl.metrics import BoxCalibration, Calibration, calibration_error


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_it_is_that_of_torchmetrics(bins):
    rng = np.random.default_rng(0)
    values = rng.random(500).astype(np.float32)
    right = rng.random(500) < values**2
    expected = BinaryCalibrationError(n_bins=bins)(torch.from_numpy(values), torch.from_numpy(right).long())
    assert calibration_error(values, right, bins) == pytest.approx(float(expected), abs=1e-6)


def test_classes_count_alike_and_an_ignored_one_is_left_out(finding, annotated, boxes):
    metric = Calibration(["cat", "dog"])
    there = boxes(("dog", [0, 0, 9, 9]), ("cat", [0, 0, 9, 9], 1, "difficult"))
    metric.update(finding("a.jpg", scores={"cat": 0.9, "dog": 0.6}), annotated(there, "a.jpg"))
    metric.update(finding("b.jpg", scores={"cat": 0.25}), annotated(boxes(), "b.jpg"))
    result = metric.compute()
    assert result.per_class == pytest.approx({"cat": 0.25, "dog": 0.4})
    assert (result.value, result.counts, result.images) == (pytest.approx(0.325), {"cat": 1, "dog": 1}, 2)


def test_what_is_no_probability_gives_no_number(finding, annotated, boxes):
    metric = Calibration(["dog"])
    metric.update(finding(scores={"dog": 3.5}), annotated(boxes(("dog", [0, 0, 9, 9]))))
    assert metric.compute().value is None
    with pytest.raises(UserError, match="not in"):
        calibration_error([1.5], [True])
    with pytest.raises(UserError, match="as many"):
        calibration_error([], [])
    with pytest.raises(UserError, match="bins"):
        Calibration(["dog"], bins=0)


def test_boxes_at_difficult_ones_are_left_out(finding, annotated, boxes):
    metric = BoxCalibration(["dog"])
    there = boxes(("dog", [0, 0, 10, 10]), ("dog", [50, 50, 60, 60], 1, "difficult"))
    found = boxes(("dog", [0, 0, 10, 9], 0.75), ("dog", [50, 50, 60, 60], 0.5), ("dog", [80, 80, 90, 90], 0.25))
    metric.update(finding(boxes=found), annotated(there))
    result = metric.compute()
    assert (result.value, result.counts) == (pytest.approx(0.25), {"dog": 2})
    confidence, accuracy, number = metric.curve()
    assert (confidence.tolist(), accuracy.tolist(), number.tolist()) == ([0.25, 0.75], [0, 1], [1, 1])
