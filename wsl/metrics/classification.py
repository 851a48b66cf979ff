"""Classification: average precision of images ranked by class score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.arrays import as_numbers
from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles, poisson_weights
from wsl.metrics.evidence import Evidence
from wsl.metrics.ranked import APStatistic
from wsl.metrics.ranking import Method, ranking_ap
from wsl.metrics.resampling import affordable, resampled_ap
from wsl.metrics.statistic import Observation, Totals
from wsl.results import Metric


def average_precision(scores: npt.ArrayLike, targets: npt.ArrayLike, method: Method = "all-point") -> float:
    """Average precision of one class over images, by the rules of VOC.

    Targets are 1 (present), 0 (absent) and -1 (unknown: the image is left out). ``all-point`` is the rule of VOC 2010
    and later, ``11-point`` that of VOC 2007, ``sum`` the mean of the precision at each positive, which is
    scikit-learn's ``average_precision_score``. Images of equal score are one step of the curve, so the result does
    not depend on the order of the images: the same score for all gives the fraction of positives.

    Shape:
        ``scores`` and ``targets`` are (n,), one entry per image.

    Raises:
        UserError: lengths differ, a score is NaN, a target is another number, or no target is 1.

    Source: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010, section 4.2.

    >>> average_precision([0.9, 0.8, 0.7, 0.1], [1, 0, 1, -1])
    0.8333333333333333
    """
    scores, targets = as_numbers(scores, "scores"), as_numbers(targets, "targets", None)
    if scores.ndim != 1 or scores.shape != targets.shape:
        raise UserError(f"scores have shape {scores.shape}, targets {targets.shape}, expected two lists of one length")
    if not np.isin(targets, (-1, 0, 1)).all():
        raise UserError("a target is not one of 1 (present), 0 (absent), -1 (left out)")
    counted = targets >= 0
    positive = targets[counted] == 1
    if not positive.any():
        raise UserError("no target is 1: average precision is undefined, leave the class out")
    return ranking_ap(scores[counted], positive, int(positive.sum()), method)


class ClassificationAP(APStatistic):
    """Mean over classes of the average precision of the class scores (mAP).

    ``counts`` are the images that contain the class. A class without a score in ``found.scores`` ranks last, tied with
    all others without one, and the note counts them. The baseline is chance: the fraction of positives, which is the AP
    of the same score for all images (and, for many images, of a random ranking).
    Keeps one float64 and one int8 per image and class. The interval takes time in proportion to the number of
    replicates, which is reduced for very large data sets (`affordable`).

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> metric = ClassificationAP(["cat", "dog"])
    >>> for name, score in (("cat", 0.9), ("dog", 0.2)):
    ...     found = Localization(path="a.jpg", size=(4, 4), scores={"cat": score}, boxes=Boxes.empty())
    ...     metric.update(found, Sample(path="a.jpg", labels=[name]))
    >>> metric.compute().per_class
    {'cat': 1.0, 'dog': 0.5}
    """

    reads_boxes = False

    def __init__(
        self, classes: Sequence[str], method: Method | Sequence[Method] = "all-point", **settings: Any
    ) -> None:
        shape = (len(classes),)
        self.records = {"images": [("key", np.int64), ("scores", np.float64, shape), ("targets", np.int8, shape)]}
        super().__init__(classes, method, **settings)

    def observe(self, seen: Evidence) -> Observation:
        """The score and the target of each class."""
        image = np.zeros(1, self.records["images"])
        scores, labels, unknown = seen.scores, set(seen.sample.labels), seen.sample.unknown(self.mean.classes)
        image["scores"] = [scores.get(label, -math.inf) for label in self.mean.classes]
        image["targets"] = [1 if c in labels else -1 if c in unknown else 0 for c in self.mean.classes]
        return Observation(records={"images": image})

    def measured(self, totals: Totals, method: Method) -> Metric:
        """The metric by one rule."""
        name, images = self.named("mAP", method), totals.records("images")
        scores, targets = images["scores"], images["targets"]
        missing, counts = np.isneginf(scores), (targets == 1).sum(axis=0)
        if missing.all():
            return self.mean.metric(name)
        rows = np.flatnonzero(counts).tolist()
        ap, chance = np.full((2, len(counts)), np.nan)
        for i in rows:
            ap[i] = average_precision(scores[:, i], targets[:, i], method)
            chance[i] = counts[i] / (targets[:, i] >= 0).sum()
        lost = int(missing[:, rows].sum())
        note = "positive (image, class) pairs" + (f"; {lost} scores missing: ranked last" if lost else "")
        drawn = self._resampled(images, rows, method) if self.replicates else None
        return self.mean.metric(name, ap, counts, baseline=chance, note=note, resampled=drawn, images=len(images))

    def _resampled(self, images: npt.NDArray[Any], rows: Sequence[int], method: Method) -> Doubles:
        scores, targets = images["scores"], images["targets"]
        replicates = affordable(scores.size, self.replicates)
        weights = poisson_weights(images["key"].tolist(), replicates)
        drawn = np.full((len(self.mean.classes), replicates), np.nan)
        for i in rows:
            counted, positive = targets[:, i] >= 0, targets[:, i] == 1
            image = np.flatnonzero(counted)
            drawn[i] = resampled_ap(scores[image, i], positive[image], image, positive, weights, method)
        return drawn
