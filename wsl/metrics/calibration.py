"""Expected calibration error of class probabilities and of box scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles
from wsl.metrics.detection import matched
from wsl.metrics.evidence import Evidence
from wsl.metrics.overlap import require_iou_threshold
from wsl.metrics.statistic import Observation, Row, Statistic, Totals, ratio
from wsl.results import Metric

BINS = 15


def calibration_error(probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, bins: int = BINS) -> float:
    """The expected calibration error: the mean difference between confidence and accuracy over predictions.

    Predictions are grouped into ``bins`` equal intervals of their probability; in each, the mean probability is
    compared with the fraction of correct predictions.

    Shape:
        (n,) probabilities in [0, 1] and (n,) outcomes, true for a correct prediction.

    Raises:
        UserError: lengths differ or are 0, a probability is not in [0, 1], or there are no bins.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3.

    >>> round(calibration_error([0.9, 0.9, 0.1], [True, False, False]), 3)
    0.3
    """
    _require_bins(bins)
    values, right = as_numbers(probabilities, "probabilities"), np.asarray(outcomes, np.bool_)
    if values.ndim != 1 or values.shape != right.shape or not values.size:
        raise UserError(f"{np.size(values)} probabilities with {np.size(right)} outcomes, expected as many, at least 1")
    return float(_error(_sums(values, right, bins)[None])[0])


class Calibration(Statistic):
    """Expected calibration error of the class probabilities, averaged over classes (0 is best).

    A trial is an (image, class) pair with a score, present or absent; a class whose objects are all difficult is left
    out. There is no value if a score is not in [0, 1], because it is not a probability then.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> metric = Calibration(["dog"])
    >>> found = Localization(path="a.jpg", size=(4, 4), scores={"dog": 0.8}, boxes=Boxes.empty())
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"]))
    >>> round(metric.compute().value, 3)
    0.2
    """

    reads_boxes = False
    unit = "(image, class) scores"
    sum_type = np.float64
    name = "calibration error"

    def __init__(self, classes: Sequence[str], *, bins: int = BINS, **settings: Any):
        _require_bins(bins)
        self.bins, self.columns = bins, 3 * bins + 1
        super().__init__(classes, **settings)

    def observe(self, seen: Evidence) -> Observation:
        """The bin of each class's score."""
        labels, scores = set(seen.sample.labels), seen.scores
        unknown = seen.sample.unknown(self.index)
        scored = [label for label in self.index if label in scores and label not in unknown]
        return self._rows(scored, [scores[label] for label in scored], [label in labels for label in scored])

    def _rows(self, labels: Sequence[str], scores: Sequence[float], right: Sequence[bool]) -> Observation:
        """One row per prediction: its count, its probability and whether it is correct, each in its bin."""
        values, rows = np.asarray(scores, np.float64), np.arange(len(labels))
        numbers = np.zeros((len(labels), self.columns))
        outside = (values < 0) | (values > 1)
        place = np.clip(values * self.bins, 0, self.bins - 1).astype(np.intp)
        for i, number in enumerate((np.ones(len(labels)), values, np.asarray(right, np.float64))):
            numbers[rows, i * self.bins + place] = number
        numbers[:, -1] = outside
        return Observation([Row(label, row) for label, row in zip(labels, numbers, strict=True)])

    def report(self, totals: Totals) -> Metric:
        """The mean over classes; no value if nothing was scored, or a score is not a probability."""
        sums = totals.sums()
        if sums[:, -1].any():
            return self.mean.metric(self.name)
        tables = sums[:, :-1].reshape(-1, 3, self.bins)
        drawn = None
        if self.replicates:
            drawn = _error(np.moveaxis(totals.drawn[:, :-1].reshape(-1, 3, self.bins, self.replicates), -1, 1))
        counts = tables[:, 0].sum(axis=1).astype(np.int64)
        note, images = f"{self.unit}; lower is better", int(totals.images[0])
        metric = self.mean.metric(self.name, _error(tables), counts, note=note, resampled=drawn, images=images)
        return replace(metric, lower_is_better=True)

    def curve(self) -> tuple[Doubles, Doubles, Doubles]:
        """Mean probability, fraction correct, and number of predictions in each bin, over the report classes."""
        table = self.totals.sums()[list(self.mean.reported), :-1].sum(axis=0).reshape(3, self.bins)
        some = table[0] > 0
        return table[1][some] / table[0][some], table[2][some] / table[0][some], table[0][some]


class BoxCalibration(Calibration):
    """Expected calibration error of box scores, averaged over classes: is a box of score 0.8 correct in 8 of 10 images?

    A trial is a predicted box; `match_boxes` says whether it is correct, or left out because it matches a difficult
    box. There is no value if a score is not in [0, 1].

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> metric, truth = BoxCalibration(["dog"]), Boxes(xyxy=[[0, 0, 9, 9]], labels=["dog"])
    >>> found = Localization(path="a.jpg", size=(9, 9), scores={}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute().value
    0.0
    """

    needs = "boxes"
    reads_boxes = True
    unit = "boxes found"
    name = "box calibration error"

    def __init__(self, classes: Sequence[str], iou_threshold: float = 0.5, **settings: Any) -> None:
        require_iou_threshold(iou_threshold)
        self.iou_threshold = iou_threshold
        super().__init__(classes, **settings)

    def observe(self, seen: Evidence) -> Observation:
        """The bin of each box's score."""
        found = seen.detections
        outcomes = matched(seen.ious, found.scores, seen.true_detections.difficult, self.iou_threshold)
        judged = outcomes >= 0
        labels = [self.mean.classes[number] for number in found.labels[judged].tolist()]
        return self._rows(labels, found.scores[judged].tolist(), (outcomes[judged] == 1).tolist())


def _require_bins(bins: int) -> None:
    if bins < 1:
        raise UserError(f"bins are {bins}, expected 1 or more: try {BINS}")


def _sums(values: Doubles, right: npt.NDArray[np.bool_], bins: int) -> Doubles:
    """The number, the summed probability and the number of correct predictions in each bin, (3, bins)."""
    if not ((values >= 0) & (values <= 1)).all():
        raise UserError("a probability is not in [0, 1], expected the output of a sigmoid or softmax")
    place = np.minimum((values * bins).astype(np.intp), bins - 1)
    return np.stack([np.bincount(place, weight, bins) for weight in (None, values, right)])


def _error(tables: Doubles) -> Doubles:
    """The error (...) from sums (..., 3, bins); NaN if nothing was counted."""
    number, confidence, right = np.moveaxis(tables, -2, 0)
    return ratio(np.abs(confidence - right).sum(axis=-1), number.sum(axis=-1))
