"""Detection AP and AR as COCO defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles, Weights, image_key, poisson_weights
from wsl.metrics.evidence import Evidence
from wsl.metrics.ranked import EXPECTED, summed
from wsl.metrics.resampling import affordable, drawn_sums, resampled_ap
from wsl.metrics.statistic import Observation, Records, Statistic, Totals
from wsl.results import Localization, Metric
from wsl.samples import Sample

IOU_THRESHOLDS = tuple(k / 100 for k in range(50, 100, 5))
"""COCO's ten: 0.50, 0.55, …, 0.95."""

RECALL_DETECTIONS = (1, 10, 100)
"""Numbers of detections per image and class for COCO's three average recalls."""

NAMES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")

MATCHES = [
    ("key", np.int64),
    ("order", np.int64),
    ("label", np.int32),
    ("score", np.float32),
    ("rank", np.int32),
    ("outcomes", np.int8, (len(IOU_THRESHOLDS),)),
]
_RECALLS = np.linspace(0, 1, 101)


class CocoTables(NamedTuple):
    """AP at each IoU threshold (classes, 10), mean recall by number of detections (classes, 3).

    NaN marks a class without ground truth. A bootstrap adds one more axis, the replicates.
    """

    ap: Doubles
    recall: Doubles


def coco_ap(detections: Sequence[Boxes], ground_truth: Sequence[Boxes], classes: Sequence[str]) -> Doubles:
    """COCO's AP of each class at each of its ten IoU thresholds, over boxes of all areas.

    The rules are COCOeval's: 101 recall points, at most 100 detections per image and class, difficult boxes as
    crowds (neither found nor missed, and several detections may match one). Scores that tie across images rank in
    the order of the images, as there.

    Shape:
        One `Boxes` of detections and one of true boxes per image to (classes, 10); NaN for a class whose true boxes are
        all difficult, or that has none. Boxes of other classes are left out.

    Raises:
        UserError: lengths differ.

    Source: Lin et al., Microsoft COCO, ECCV 2014; pycocotools, with which the tests compare.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> near = Boxes(xyxy=[[0, 0, 10, 8]], labels=["dog"])  # IoU 0.8: right at 7 of 10 thresholds
    >>> coco_ap([near], [truth], ["dog"]).mean().round(3).tolist()
    0.7
    """
    return _tables(detections, ground_truth, classes).ap


def coco_ar(detections: Sequence[Boxes], ground_truth: Sequence[Boxes], classes: Sequence[str]) -> Doubles:
    """COCO's average recall of each class, the mean over its ten IoU thresholds, at 1, 10 and 100 boxes per image.

    Shape:
        As for `coco_ap`, to (classes, 3).

    Raises:
        UserError: lengths differ.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> wrong_first = Boxes(xyxy=[[50, 50, 60, 60], [0, 0, 10, 10]], labels=["dog", "dog"], scores=[0.9, 0.8])
    >>> coco_ar([wrong_first], [truth], ["dog"]).tolist()
    [[0.0, 1.0, 1.0]]
    """
    return _tables(detections, ground_truth, classes).recall


class CocoStatistic(Statistic):
    """COCO's six numbers for predicted and true objects; a subclass computes their overlaps.

    Detections of classes that are `not_exhaustive` in an image count only if they are correct, as in LVIS's API.
    Scores that tie across images rank by the images' numbers in COCO's file, as there; if images have none, by their
    keys, so that the order of arrival does not matter. Keeps 34 bytes per detection, 17 per class and image.
    """

    records: Mapping[str, Any] = MappingProxyType({"found": MATCHES, "expected": EXPECTED})
    columns = 0
    unit = "boxes"
    prefix = "COCO"

    def report(self, totals: Totals) -> tuple[Metric, ...]:
        """AP, AP50, AP75, AR1, AR10 and AR100; no value if nothing was detected in any image."""
        names = [f"{self.prefix} {name}" for name in NAMES]
        found, expected = totals.records("found"), totals.records("expected")
        if not len(found):
            return tuple(self.mean.metric(name) for name in names)
        counts = summed(expected["label"], expected["number"], len(self.mean.classes))
        drawn = _numbers(self.resampled(totals)) if self.replicates else [None] * len(names)
        return tuple(
            self.mean.metric(
                name, values, counts, note=self.unit, resampled=resampled, images=len(np.unique(expected["key"]))
            )
            for name, values, resampled in zip(names, _numbers(self.tables(totals)), drawn, strict=True)
        )

    def tables(self, totals: Totals) -> CocoTables:
        """The numbers of each class."""
        found, expected = totals.records("found"), totals.records("expected")
        ap = np.full((len(self.mean.classes), len(IOU_THRESHOLDS)), np.nan)
        recall = np.full((len(self.mean.classes), len(RECALL_DETECTIONS)), np.nan)
        for row, matches in _by_class(found, len(ap)):
            positives = int(expected["number"][expected["label"] == row].sum())
            if positives:
                ranked = matches[np.argsort(-matches["score"], kind="stable")]
                ap[row] = [_coco_area(column, positives) for column in ranked["outcomes"].T]
                recall[row] = [_right(matches, limit).sum(axis=0).mean() / positives for limit in RECALL_DETECTIONS]
        return CocoTables(ap, recall)

    def resampled(self, totals: Totals, weights: Weights | None = None) -> CocoTables:
        """The numbers of each class in each replicate of a bootstrap; `weights` (images, replicates) may be given."""
        found, expected = totals.records("found"), totals.records("expected")
        keys = np.unique(np.concatenate([found["key"], expected["key"]]))
        replicates = affordable(len(found) * len(IOU_THRESHOLDS), self.replicates)
        drawn = poisson_weights(keys.tolist(), replicates) if weights is None else weights
        shape = len(self.mean.classes), drawn.shape[1]
        ap, recall = (
            np.full((shape[0], len(IOU_THRESHOLDS), shape[1]), np.nan),
            np.full((shape[0], 3, shape[1]), np.nan),
        )
        for row, matches in _by_class(found, shape[0]):
            mine = expected[(expected["label"] == row) & (expected["number"] > 0)]
            if not len(mine):
                continue
            positives = summed(np.searchsorted(keys, mine["key"]), mine["number"], len(keys))
            image = np.searchsorted(keys, matches["key"])
            for level, column in enumerate(matches["outcomes"].T):
                kept = column >= 0
                ap[row, level] = resampled_ap(
                    matches["score"][kept], column[kept] == 1, image[kept], positives, drawn, "101-point", ties=False
                )
            hits = [summed(image, _right(matches, limit).sum(axis=1), len(keys)) for limit in RECALL_DETECTIONS]
            total = drawn_sums(positives, drawn)
            share = drawn_sums(hits, drawn) / np.maximum(total, 1) / len(IOU_THRESHOLDS)
            recall[row] = np.where(total > 0, share, np.nan)
        return CocoTables(ap, recall)

    def matches(self, seen: Evidence, overlap: Doubles, labels: Any, scores: Any, crowd: Any) -> Records:
        """The records of an image's detections; their overlap (n, m) with true objects is -1 if the classes differ."""
        from wsl.metrics.kernels import coco_outcomes

        number = seen.sample.number
        found = np.zeros(len(labels), MATCHES)
        found["order"] = image_key(seen.sample.path) if number is None else number
        found["label"], found["score"] = labels, scores
        order = np.argsort(-scores, kind="stable")
        limits = np.array(IOU_THRESHOLDS)
        found["outcomes"], found["rank"] = coco_outcomes(overlap, labels, order, crowd, limits, RECALL_DETECTIONS[-1])
        found["outcomes"][seen.may_lack_boxes(labels)[:, None] & (found["outcomes"] == 0)] = -1
        return found[order]

    def expected(self, labels: Any) -> Records:
        """The records of an image's true objects of these classes."""
        numbers, counts = np.unique(labels, return_counts=True)
        expected = np.zeros(len(numbers), EXPECTED)
        expected["label"], expected["number"] = numbers, counts
        return expected


class CocoAP(CocoStatistic):
    """COCO's AP over IoU 0.50 to 0.95, AP50, AP75, and AR at 1, 10 and 100 boxes, each the mean over classes.

    ``counts`` are the annotated boxes that are not difficult. There is no baseline; see that of `VOCDetectionAP`.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = CocoAP(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> [(metric.name, round(metric.value, 3)) for metric in metric.compute()][:3]
    [('COCO AP', 1.0), ('COCO AP50', 1.0), ('COCO AP75', 1.0)]
    """

    needs = "boxes"

    def observe(self, seen: Evidence) -> Observation:
        """The outcome of each box at each IoU threshold."""
        mine, truth, overlap = seen.detections, seen.true_detections, seen.ious
        if truth.difficult.any():
            overlap = np.where(truth.difficult & (overlap >= 0), _inside(mine.xyxy, truth.xyxy), overlap)
        found = self.matches(seen, overlap, mine.labels, mine.scores, truth.difficult)
        return Observation(records={"found": found, "expected": self.expected(truth.labels[~truth.difficult])})


def _by_class(found: Records, classes: int) -> list[tuple[int, Records]]:
    """The detections of each class, in the order of the images and within an image in that of their scores."""
    ordered = found[np.lexsort((found["rank"], found["order"], found["label"]))]
    bounds = np.searchsorted(ordered["label"], np.arange(classes + 1)).tolist()
    return [(row, ordered[bounds[row] : bounds[row + 1]]) for row in range(classes)]


def _right(matches: Records, limit: int) -> npt.NDArray[np.bool_]:
    """Which detections are correct at each threshold and among the first of their image, (n, 10)."""
    return np.asarray((matches["outcomes"] == 1) & (matches["rank"][:, None] < limit))


def _coco_area(outcomes: npt.NDArray[np.int8], positives: int) -> float:
    """The mean over 101 recalls of the best precision at that recall or higher."""
    right = outcomes[outcomes >= 0] == 1
    if not len(right):
        return 0.0
    found = right.cumsum()
    # As in COCOeval, including the epsilon.
    precision = found / (np.arange(1, len(found) + 1) + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(found / positives, _RECALLS, side="left")
    return float(np.append(envelope, 0.0)[reached].mean())


def _inside(boxes: npt.NDArray[Any], crowds: npt.NDArray[Any]) -> Doubles:
    """The fraction of each box inside each crowd, (n, m): COCO's overlap with a crowd."""
    a, b = boxes[:, None].astype(np.float64), crowds[None].astype(np.float64)
    shared = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(axis=-1)
    area = (a[..., 2:] - a[..., :2]).prod(axis=-1)
    return np.asarray(np.divide(shared, area, out=np.zeros_like(shared), where=area > 0))


def _numbers(found: CocoTables) -> list[Doubles]:
    """COCO's six numbers of each class, (classes,), or (classes, replicates) for a bootstrap."""
    return [found.ap.mean(axis=1), found.ap[:, 0], found.ap[:, 5], *np.moveaxis(found.recall, 1, 0)]


def _tables(detections: Sequence[Boxes], ground_truth: Sequence[Boxes], classes: Sequence[str]) -> CocoTables:
    if not classes:
        return CocoTables(np.empty((0, len(IOU_THRESHOLDS))), np.empty((0, len(RECALL_DETECTIONS))))
    metric = box_evaluation(detections, ground_truth, classes)
    return metric.tables(metric.totals)


def box_evaluation(detections: Sequence[Boxes], ground_truth: Sequence[Boxes], classes: Sequence[str]) -> CocoAP:
    """`CocoAP` of images in the given order; true boxes of other classes are left out."""
    if len(detections) != len(ground_truth):
        raise UserError(
            f"detections of {len(detections)} images with true boxes of {len(ground_truth)}, expected as many"
        )
    metric = CocoAP(classes)
    for number, (found, truth) in enumerate(zip(detections, ground_truth, strict=True)):
        path = Path(str(number))
        known = truth.select([i for i, label in enumerate(truth.labels) if label in metric.mean])
        localization = Localization(path=path, size=(1, 1), scores={}, boxes=found)
        metric.update(localization, Sample(path=path, boxes=known, number=number))
    return metric
