"""All boxes of all images in one ranking: detection AP by the rules of the VOC devkit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics.overlap import box_iou, centre_box, require_iou_threshold, whole_box
from wsl.metrics.protocol import annotated_boxes
from wsl.metrics.ranked import RankingMetric
from wsl.metrics.ranking import Method, ranking_ap
from wsl.results import Localization, Metric
from wsl.samples import Sample

Outcomes = npt.NDArray[np.int8]


def match_boxes(detections: Boxes, ground_truth: Boxes, iou_threshold: float = 0.5) -> Outcomes:
    """Which detections of one class in one image are right: 1 right, 0 wrong, -1 neither.

    As in the devkit's VOCevaldet each detection looks at the instance it overlaps most; ties go to the first. Below
    ``iou_threshold`` it is wrong; at a difficult instance it is left out; else the detection of highest score is
    right and every further one at the same instance is wrong. Boxes are half-open, with which IoU equals the
    devkit's "+1" IoU of its inclusive corners (see `box_iou`). Labels are not read.

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
    outcomes = np.zeros(len(detections), np.int8)
    if not len(detections) or not len(ground_truth):
        return outcomes
    overlap = box_iou(detections.xyxy, ground_truth.xyxy)
    instance = overlap.argmax(axis=1)
    meets = overlap.max(axis=1) >= iou_threshold
    outcomes[meets & ground_truth.difficult[instance]] = -1
    candidates = np.flatnonzero(meets & ~ground_truth.difficult[instance])
    ranked = candidates[np.argsort(-detections.scores[candidates], kind="stable")]
    _, first = np.unique(instance[ranked], return_index=True)
    outcomes[ranked[first]] = 1
    return outcomes


def voc_detection_ap(
    detections: Sequence[Boxes], ground_truth: Sequence[Boxes], iou_threshold: float = 0.5, method: Method = "all-point"
) -> float:
    """Detection AP of one class over images, by the rules of VOC; labels are not read.

    Boxes of equal score are one step of the curve, so that the order of the images has no say (in the devkit it
    decides ties). ``all-point`` is the rule of VOC 2010 and later, ``11-point`` that of VOC 2007.

    Shape:
        one `Boxes` of detections and one of true boxes an image.

    Raises:
        UserError: lengths differ, no true box is other than difficult, or a setting is out of range.

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


class VOCDetectionAP(RankingMetric):
    """Mean over classes of VOC's detection AP.

    ``counts`` are the annotated boxes that are not difficult; a class without any has no AP and its detections
    are not looked at. Every annotated image takes part, also those without the class, where each detection is
    wrong. The baseline finds the same classes in the same images with one `centre_box` each, at the class's score
    (at its best box's score where ``found.scores`` does not name it).
    Keeps 17 bytes a box found, and 34 for each class found in an image.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = VOCDetectionAP(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={"dog": 1}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> metric.compute().value, metric.compute().baseline
    (1.0, 0.0)
    """

    def __init__(
        self,
        classes: Sequence[str],
        iou_threshold: float = 0.5,
        method: Method = "all-point",
        *,
        report_classes: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        require_iou_threshold(iou_threshold)
        super().__init__(classes, method, report_classes, **settings)
        self.iou_threshold = iou_threshold

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the boxes of one image.

        Raises:
            UserError: the sample has no annotated boxes, or one of them is of none of the classes.
        """
        ground_truth = annotated_boxes(sample)
        self._mean.require(ground_truth.labels, sample.path)
        expected: dict[str, int] = {}
        rankings: dict[str, list[tuple[str, npt.ArrayLike, npt.ArrayLike]]] = {"found": [], "centre": [], "whole": []}
        blind = {"centre": centre_box(found.size), "whole": whole_box(found.size)}
        for label in sorted({label for label in (*ground_truth.labels, *found.boxes.labels) if label in self._mean}):
            truth, boxes = ground_truth.of(label), found.boxes.of(label)
            expected[label] = int((~truth.difficult).sum())
            if len(boxes):
                instead = {name: _instead(boxes, found, label, box) for name, box in blind.items()}
                for name, judged in {"found": boxes, **instead}.items():
                    rankings[name].append((label, judged.scores, match_boxes(judged, truth, self.iou_threshold)))
        self._record(sample, expected, **rankings)

    def _measured(self, method: Method) -> Metric:
        name = f"AP{100 * self.iou_threshold:g}" + ("" if method == "all-point" else f" ({method})")
        return self._ap(name, "boxes", method)


def _instead(boxes: Boxes, found: Localization, label: str, box: npt.ArrayLike) -> Boxes:
    score = found.scores.get(label, float(boxes.scores.max()))
    return Boxes(xyxy=np.array([box], np.float32), labels=(label,), scores=np.array([score], np.float32))
