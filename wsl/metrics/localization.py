"""Is the one box right: CorLoc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
import torch

from wsl.errors import UserError
from wsl.metrics.hit_rate import HitMetric
from wsl.metrics.overlap import best_iou, centre_box, require_iou_threshold, whole_box
from wsl.metrics.protocol import annotated_boxes
from wsl.results import Localization, Metric
from wsl.samples import Sample


def corloc(
    boxes: Sequence[npt.ArrayLike | None], ground_truth: Sequence[npt.ArrayLike], iou_threshold: float = 0.5
) -> float:
    """The fraction of images whose one box overlaps some instance of the class by at least ``iou_threshold``.

    Shape:
        one box (4,) xyxy, or None where none was found (a miss), and one (n, 4) array an image.

    Raises:
        UserError: lengths differ, nothing was given, a box has another shape, or the threshold is out of range.

    Source: Deselaers et al., Weakly Supervised Localization and Learning with Generic Knowledge, IJCV 2012.

    >>> corloc([[0, 0, 10, 10], None], [[[0, 0, 10, 5], [50, 50, 60, 60]], [[0, 0, 9, 9]]])
    0.5
    """
    require_iou_threshold(iou_threshold)
    if len(boxes) != len(ground_truth) or not boxes:
        raise UserError(
            f"{len(boxes)} boxes with instances of {len(ground_truth)} images, expected as many, at least 1"
        )
    hits = (
        box is not None and _localized(box, instances, iou_threshold)
        for box, instances in zip(boxes, ground_truth, strict=True)
    )
    return sum(hits) / len(boxes)


class CorLoc(HitMetric):
    """Correct localization: how often the best box of a class that is present is right, mean over classes.

    A trial is an (image, class) pair: each class in ``sample.labels`` that has a box, so classes whose boxes are
    all difficult are out. Of the boxes found for the class the one of highest score (ties go to the first) must
    reach the IoU with any instance of it; difficult instances count as instances, since pointing at one is not
    wrong. A pair without a box is a miss, and the note counts them. The baseline is `centre_box`, 0.7 of each side.
    Keeps four counters a class, and two a replicate.

    >>> from wsl.boxes import Boxes
    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = CorLoc(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute().value, metric.compute().baseline
    (1.0, 0.0)
    """

    missing: torch.Tensor

    def __init__(
        self, classes: Sequence[str], iou_threshold: float = 0.5, *, report_classes: Sequence[str] = (), **settings: Any
    ) -> None:
        require_iou_threshold(iou_threshold)
        super().__init__(classes, report_classes, **settings)
        self.iou_threshold = iou_threshold
        self._add_counter("missing")

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the boxes of one image.

        Raises:
            UserError: the sample has no annotated boxes or a label is none of the classes.
        """
        ground_truth = annotated_boxes(sample)
        self._mean.require(sample.labels, sample.path)
        for label in sample.labels:
            instances, best = ground_truth.of(label).xyxy, found.boxes.best(label)
            if not len(instances):
                continue
            self.missing += best is None
            self._count(
                sample,
                label,
                [best is not None and _localized(best, instances, self.iou_threshold)],
                baseline=[_localized(centre_box(found.size), instances, self.iou_threshold)],
                whole=[_localized(whole_box(found.size), instances, self.iou_threshold)],
            )

    def compute(self) -> Metric:
        """The mean over classes; no value when no pair came with a box."""
        name = "CorLoc" if self.iou_threshold == 0.5 else f"CorLoc@{self.iou_threshold:g}"
        missing = f"; {int(self.missing)} missing: misses" if self.missing else ""
        measured = bool(self.missing < self.trials.sum())
        return self._rates(name, measured=measured, whole=True, note=f"(image, class) pairs{missing}")


def _localized(box: npt.ArrayLike, instances: npt.ArrayLike, iou_threshold: float) -> bool:
    return bool(best_iou(box, instances)[0] >= iou_threshold)
