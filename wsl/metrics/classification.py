"""Which classes are in the image: average precision of the ranking of images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles, image_key, poisson_weights
from wsl.metrics.ranked import AveragePrecision
from wsl.metrics.ranking import Method, ranking_ap
from wsl.metrics.resampling import affordable, resampled_ap
from wsl.results import Localization, Metric
from wsl.samples import Sample


def average_precision(scores: npt.ArrayLike, targets: npt.ArrayLike, method: Method = "all-point") -> float:
    """Average precision of one class over images, by the rules of VOC.

    Targets are 1 (present), 0 (absent) and -1 (all objects difficult: the image is left out). ``all-point`` is the
    rule of VOC 2010 and later, ``11-point`` that of VOC 2007, ``sum`` the mean of the precision at each positive,
    which is scikit-learn's ``average_precision_score``. Images of equal score are one step of the curve, so that
    the order of the images has no say: one score for all gives the fraction of positives.

    Shape:
        ``scores`` and ``targets`` are (n,), one entry an image.

    Raises:
        UserError: lengths differ, a score is NaN, a target is another number, or no target is 1.

    Source: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010, section 4.2.

    >>> average_precision([0.9, 0.8, 0.7, 0.1], [1, 0, 1, -1])
    0.8333333333333333
    """
    scores, targets = np.asarray(scores, np.float64), np.asarray(targets)
    if scores.ndim != 1 or scores.shape != targets.shape:
        raise UserError(f"scores have shape {scores.shape}, targets {targets.shape}, expected two lists of one length")
    if not np.isin(targets, (-1, 0, 1)).all():
        raise UserError("a target is none of 1 (present), 0 (absent), -1 (left out)")
    counted = targets >= 0
    positive = targets[counted] == 1
    if not positive.any():
        raise UserError("no target is 1: average precision is undefined, leave the class out")
    return ranking_ap(scores[counted], positive, int(positive.sum()), method)


class ClassificationAP(AveragePrecision):
    """Mean over classes of the average precision of the class scores (mAP).

    ``counts`` are the images that contain the class. A class that ``found.scores`` does not name ranks last, tied
    with all others of that kind, and the note counts them. The baseline is chance: the fraction of positives, which
    is the AP of one score for all images (and, for many images, that of a random ranking).
    Keeps one float64 and one int8 an image and class; the interval costs as much time as it has replicates, of
    which very large data sets take fewer (`affordable`).

    >>> from wsl.boxes import Boxes
    >>> metric = ClassificationAP(["cat", "dog"])
    >>> for name, score in (("cat", 0.9), ("dog", 0.2)):
    ...     found = Localization(path="a.jpg", size=(4, 4), scores={"cat": score}, boxes=Boxes.empty())
    ...     metric.update(found, Sample(path="a.jpg", labels=[name]))
    >>> metric.compute().per_class
    {'cat': 1.0, 'dog': 0.5}
    """

    def __init__(
        self,
        classes: Sequence[str],
        method: Method = "all-point",
        *,
        report_classes: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(classes, method, report_classes, **settings)
        self._add_rows("scores", len(self._mean.classes), dtype=torch.float64)
        self._add_rows("targets", len(self._mean.classes), dtype=torch.int8)
        self._add_rows("keys", dtype=torch.int64)

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the scores of one image.

        Raises:
            UserError: a score is NaN or a label is none of the classes.
        """
        self._mean.require((*sample.labels, *sample.ignored), sample.path)
        for label, score in found.scores.items():
            if math.isnan(score):
                raise UserError(f"{found.path}: the score of {label!r} is NaN, expected a number: localize it again")
        classes, labels, ignored = self._mean.classes, set(sample.labels), set(sample.ignored)
        self._append("keys", [image_key(sample.path)])
        self._append("scores", [found.scores.get(label, -math.inf) for label in classes])
        self._append("targets", [1 if label in labels else -1 if label in ignored else 0 for label in classes])

    def _measured(self, method: Method) -> Metric:
        name = "mAP" if method == "all-point" else f"mAP ({method})"
        classes = self._mean.classes
        scores, targets = self._rows("scores"), self._rows("targets")
        missing = np.isneginf(scores)
        if missing.all():
            return self._mean.metric(name, {}, {})
        counts = dict(zip(classes, (targets == 1).sum(axis=0).tolist(), strict=True))
        columns = {label: i for i, label in enumerate(classes) if counts[label]}
        ap = {label: average_precision(scores[:, i], targets[:, i], method) for label, i in columns.items()}
        chance = {label: counts[label] / int((targets[:, i] >= 0).sum()) for label, i in columns.items()}
        lost = int(missing[:, list(columns.values())].sum())
        note = "positive images" + (f"; {lost} scores missing: ranked last" if lost else "")
        drawn = self._resampled(scores, targets, columns, method) if self.replicates else None
        return self._mean.metric(name, ap, counts, baseline=chance, note=note, resampled=drawn)

    def _resampled(
        self, scores: npt.NDArray[Any], targets: npt.NDArray[Any], columns: Mapping[str, int], method: Method
    ) -> dict[str, Doubles]:
        replicates = affordable(scores.size, self.replicates)
        weights = poisson_weights(self._rows("keys").tolist(), replicates).astype(np.float32)
        drawn = {}
        for label, i in columns.items():
            counted, positive = targets[:, i] >= 0, targets[:, i] == 1
            image = np.flatnonzero(counted)
            drawn[label] = resampled_ap(scores[image, i], positive[image], image, positive, weights, method)
        return drawn
