"""CorLoc: accuracy of the best box of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from wsl.errors import UserError
from wsl.metrics.evidence import Evidence
from wsl.metrics.overlap import best_iou, require_iou_threshold
from wsl.metrics.statistic import Observation, Row, Statistic, Totals
from wsl.results import Metric


def corloc(
    boxes: Sequence[npt.ArrayLike | None], ground_truth: Sequence[npt.ArrayLike], iou_threshold: float = 0.5
) -> float:
    """The fraction of images whose box has an IoU of at least ``iou_threshold`` with some instance of the class.

    Shape:
        One box (4,) xyxy, or None if none was predicted (a miss), and one (n, 4) array per image.

    Raises:
        UserError: lengths differ or are 0, a box has another shape, or the threshold is out of range.

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
        box is not None and bool(best_iou(box, instances)[0] >= iou_threshold)
        for box, instances in zip(boxes, ground_truth, strict=True)
    )
    return sum(hits) / len(boxes)


class CorLoc(Statistic):
    """Correct localization: how often the best box of a present class is correct, averaged over classes.

    A trial is an (image, class) pair: each class in ``sample.labels`` that has a box, which excludes classes whose
    boxes are all difficult. The highest-scored box predicted for the class (ties go to the first) must reach the IoU
    with any instance of it; difficult instances count, because it is not wrong to find one. A pair without a predicted
    box is a miss, and the note counts them. The baseline is `centre_box`, 0.7 of each side.

    >>> from wsl import Boxes, Localization
    >>> from wsl.samples import Sample
    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = CorLoc(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute().value, metric.compute().baseline
    (1.0, 0.0)
    """

    needs = "boxes"
    views = ("found", "centre", "whole")

    def __init__(self, classes: Sequence[str], iou_threshold: float = 0.5, **settings: Any) -> None:
        require_iou_threshold(iou_threshold)
        super().__init__(classes, **settings)
        self.iou_threshold = iou_threshold

    def observe(self, seen: Evidence) -> Observation:
        """Whether each class's box is correct."""
        return Observation(
            [Row(label, [seen.overlap(label) >= self.iou_threshold], seen.box(label) is None) for label in seen.pairs]
        )

    def report(self, totals: Totals) -> Metric:
        """The mean over classes; no value if no pair has a predicted box."""
        return self.rate(totals, "CorLoc" if self.iou_threshold == 0.5 else f"CorLoc@{self.iou_threshold:g}")
