"""Detection AP over the boxes of all images, by the rules of the VOC devkit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import BoolArray, Boxes
from wsl.errors import UserError
from wsl.metrics.evidence import Evidence
from wsl.metrics.overlap import box_iou, require_iou_threshold
from wsl.metrics.ranked import EXPECTED, RANKED, RankingStatistic
from wsl.metrics.ranking import Method, ranking_ap
from wsl.metrics.statistic import Observation, Totals
from wsl.results import Metric

Outcomes = npt.NDArray[np.int8]


def match_boxes(detections: Boxes, ground_truth: Boxes, iou_threshold: float = 0.5) -> Outcomes:
    """The outcomes of detections of one class in one image: 1 correct, 0 wrong, -1 left out.

    As in the devkit's VOCevaldet, each detection is matched with the instance it overlaps most; ties go to the first.
    Below ``iou_threshold`` it is wrong; if the instance is difficult, it is left out; else the detection of highest
    score is correct and every further one of the same instance is wrong. Boxes are half-open, so IoU equals the
    devkit's "+1" IoU of inclusive corners (see `box_iou`). Labels are not read.

    Shape:
        (n,) int8, in the order of ``detections``.

    Raises:
        UserError: the threshold is not in (0, 1].

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> twice = Boxes(xyxy=[[0, 0, 10, 9], [0, 0, 10, 10]], labels=["dog"] * 2, scores=[0.8, 0.9])
    >>> match_boxes(twice, truth).tolist()
    [0, 1]
    """
    require_iou_threshold(iou_threshold)
    overlap = box_iou(detections.xyxy, ground_truth.xyxy)
    return matched(overlap, detections.scores, ground_truth.difficult, iou_threshold)


def matched(
    overlap: npt.NDArray[np.float64], scores: npt.NDArray[Any], difficult: BoolArray, iou_threshold: float
) -> Outcomes:
    """`match_boxes` for boxes of any classes, whose overlap (n, m) is -1 if the classes differ.

    >>> matched(np.array([[0.9, -1.0], [-1.0, 0.3]]), np.array([0.5, 0.8]), np.array([False, False]), 0.5).tolist()
    [1, 0]
    """
    outcomes = np.zeros(len(scores), np.int8)
    if not overlap.size:
        return outcomes
    instance = overlap.argmax(axis=1)
    meets = overlap.max(axis=1) >= iou_threshold
    outcomes[meets & difficult[instance]] = -1
    candidates = np.flatnonzero(meets & ~difficult[instance])
    ranked = candidates[np.argsort(-scores[candidates], kind="stable")]
    _, first = np.unique(instance[ranked], return_index=True)
    outcomes[ranked[first]] = 1
    return outcomes


def voc_detection_ap(
    detections: Sequence[Boxes], ground_truth: Sequence[Boxes], iou_threshold: float = 0.5, method: Method = "all-point"
) -> float:
    """Detection AP of one class over images, by the rules of VOC; labels are not read.

    Boxes of equal score are one step of the curve, so the result does not depend on the order of the images (in the
    devkit the order decides ties). ``all-point`` is the rule of VOC 2010 and later, ``11-point`` that of VOC 2007.

    Shape:
        One `Boxes` of detections and one of true boxes per image.

    Raises:
        UserError: lengths differ, every true box is difficult, or a setting is out of range.

    Source: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010; its VOCevaldet.m.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> voc_detection_ap([truth, truth], [Boxes.empty(), truth])  # two detections of one score, one right
    0.5
    """
    if len(detections) != len(ground_truth):
        raise UserError(
            f"detections of {len(detections)} images with true boxes of {len(ground_truth)}, expected as many"
        )
    outcomes = [match_boxes(found, truth, iou_threshold) for found, truth in zip(detections, ground_truth, strict=True)]
    positives = sum(int((~truth.difficult).sum()) for truth in ground_truth)
    if not positives:
        raise UserError("no true box that is not difficult: average precision is undefined, leave the class out")
    scores, judged = np.concatenate([found.scores for found in detections]), np.concatenate(outcomes)
    return ranking_ap(scores[judged >= 0], judged[judged >= 0] == 1, positives, method)


class VOCDetectionAP(RankingStatistic):
    """Mean over classes of VOC's detection AP.

    ``counts`` are the annotated boxes that are not difficult; a class without any has no AP and its detections are
    ignored. Every annotated image counts, including those without the class, where each detection is wrong; if a class
    is `not_exhaustive` in an image, its detections there count only if they are correct. The baseline predicts the same
    classes in the same images with one `centre_box` each, at the class's score (or its best box's score if
    ``found.scores`` has none).

    >>> from wsl import Localization
    >>> from wsl.samples import Sample
    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = VOCDetectionAP(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={"dog": 1}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute().value, metric.compute().baseline
    (1.0, 0.0)
    """

    needs = "boxes"
    views = ("found", "centre", "whole")

    def __init__(
        self,
        classes: Sequence[str],
        iou_threshold: float = 0.5,
        method: Method | Sequence[Method] = "all-point",
        **settings: Any,
    ) -> None:
        require_iou_threshold(iou_threshold)
        super().__init__(classes, method, **settings)
        self.iou_threshold = iou_threshold

    def observe(self, seen: Evidence) -> Observation:
        """The outcome of each box."""
        truth, mine = seen.true_detections, seen.detections
        found = np.zeros(len(mine.labels), RANKED)
        found["label"], found["score"] = mine.labels, mine.scores
        outcomes = matched(seen.ious, mine.scores, truth.difficult, self.iou_threshold)
        found["outcome"] = np.where(seen.may_lack_boxes(mine.labels) & (outcomes == 0), -1, outcomes)
        if seen.blind:
            return Observation(records={seen.view: found})
        labels, numbers = np.unique(truth.labels[~truth.difficult], return_counts=True)
        expected = np.zeros(len(labels), EXPECTED)
        expected["label"], expected["number"] = labels, numbers
        return Observation(records={"found": found, "expected": expected})

    def measured(self, totals: Totals, method: Method) -> Metric:
        """The metric by one rule."""
        return self.average(totals, self.named(f"AP{100 * self.iou_threshold:g}", method), "boxes", method)
