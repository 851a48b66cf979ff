"""Detection AP and AR as COCO defines them, computed by pycocotools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsl.boxes import Boxes
from wsl.errors import UserError
from wsl.metrics.bootstrap import Doubles, image_key, poisson_weights
from wsl.metrics.coco_eval import IOU_THRESHOLDS, CocoTables, Kind, box_outline, evaluated, resampled_tables, tables
from wsl.metrics.protocol import StreamingMetric, annotated_boxes
from wsl.results import Localization, Metric
from wsl.samples import Sample


def coco_ap(detections: Sequence[Boxes], ground_truth: Sequence[Boxes], classes: Sequence[str]) -> Doubles:
    """COCO's AP of each class at each of its ten IoU thresholds, over boxes of all areas.

    The rules are COCOeval's: 101 recall points, at most 100 detections an image and class, difficult boxes as
    crowds (neither found nor missed, and several detections may lie on one). Scores that tie across images rank in
    the order of the images, as there.

    Shape:
        one `Boxes` of detections and one of true boxes an image to (classes, 10); NaN for a class without a true
        box that is not difficult. Boxes of other classes are left out.

    Raises:
        UserError: lengths differ.

    Source: Lin et al., Microsoft COCO, ECCV 2014; pycocotools.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> near = Boxes(xyxy=[[0, 0, 10, 8]], labels=["dog"])  # IoU 0.8: right at 7 of 10 thresholds
    >>> coco_ap([near], [truth], ["dog"]).mean().round(3).tolist()
    0.7
    """
    return _tables(detections, ground_truth, classes).ap


def coco_ar(detections: Sequence[Boxes], ground_truth: Sequence[Boxes], classes: Sequence[str]) -> Doubles:
    """COCO's average recall of each class, the mean over its ten IoU thresholds, at 1, 10 and 100 boxes an image.

    Shape:
        as `coco_ap`, to (classes, 3).

    Raises:
        UserError: lengths differ.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> wrong_first = Boxes(xyxy=[[50, 50, 60, 60], [0, 0, 10, 10]], labels=["dog", "dog"], scores=[0.9, 0.8])
    >>> coco_ar([wrong_first], [truth], ["dog"]).tolist()
    [[0.0, 1.0, 1.0]]
    """
    return _tables(detections, ground_truth, classes).recall


class CocoMetric(StreamingMetric):
    """COCO's six numbers of objects, found and true, of which a subclass says what they are.

    A subclass keeps the outline of each object in rows of its own, and gives back objects as pycocotools holds them.
    Scores that tie across images rank by the images' keys, so that the order in which they came has no say.
    """

    prefix = "COCO"
    kind: Kind = "bbox"

    def __init__(self, classes: Sequence[str], *, report_classes: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(classes, report_classes, **settings)
        self._add_rows("keys", dtype=torch.int64)
        for name in ("found", "true"):
            # An image's objects follow each other; how many they are tells where the next image's begin.
            self._add_rows(f"{name}_counts", dtype=torch.int64)
            self._add_rows(f"{name}_labels", dtype=torch.int32)
            self._add_rows(f"{name}_scores", dtype=torch.float32)
            self._add_rows(f"{name}_difficult", dtype=torch.int8)

    def compute(self) -> tuple[Metric, ...]:
        """AP, AP50, AP75, AR1, AR10 and AR100; no value when nothing was detected in any image."""
        names = [f"{self.prefix} {name}" for name in NAMES]
        if not len(self._rows("found_labels")):
            return tuple(self._mean.metric(name, {}, {}) for name in names)
        classes = self._mean.classes
        easy = self._rows("true_labels")[self._rows("true_difficult") == 0]
        counts = dict(zip(classes, np.bincount(easy, minlength=len(classes)).tolist(), strict=True))
        evaluator = evaluated(self._objects("true"), self._objects("found"), len(classes), self.kind)
        weights = poisson_weights(np.sort(self._rows("keys")).tolist(), self.replicates)
        drawn = _numbers(resampled_tables(evaluator, weights)) if self.replicates else None
        return tuple(
            self._mean.metric(
                name,
                dict(zip(classes, values.tolist(), strict=True)),
                counts,
                note="boxes" if self.kind == "bbox" else "objects",
                resampled=dict(zip(classes, drawn[i], strict=True)) if drawn else None,
            )
            for i, (name, values) in enumerate(zip(names, _numbers(tables(evaluator)), strict=True))
        )

    def _keep(self, name: str, labels: Sequence[str], scores: npt.ArrayLike, difficult: npt.ArrayLike) -> None:
        self._append(f"{name}_counts", [len(labels)])
        self._append(f"{name}_labels", [self._index[label] for label in labels])
        self._append(f"{name}_scores", scores)
        self._append(f"{name}_difficult", difficult)

    def _objects(self, name: str) -> list[list[dict[str, Any]]]:
        """The objects of each image, in the order of the images' keys."""
        columns = (self._rows(f"{name}_{column}").tolist() for column in ("labels", "scores", "difficult"))
        rows = [
            {"category_id": label + 1, "score": score, "iscrowd": difficult, **outline}
            for label, score, difficult, outline in zip(*columns, self._outlines(name), strict=True)
        ]
        ends = np.cumsum(self._rows(f"{name}_counts")).tolist()
        images = [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        return [images[i] for i in np.argsort(self._rows("keys"), kind="stable")]

    def _outlines(self, name: str) -> list[dict[str, Any]]:
        raise NotImplementedError(f"{type(self).__name__} has no outlines")


class CocoAP(CocoMetric):
    """COCO's AP over IoU 0.50 to 0.95, AP50, AP75, and AR at 1, 10 and 100 boxes, each the mean over classes.

    ``counts`` are the annotated boxes that are not difficult. There is no baseline: that of `VOCDetectionAP` tells
    the same. Keeps all boxes, found and true.

    >>> truth = Boxes(xyxy=[[0, 0, 10, 10]], labels=["dog"])
    >>> metric = CocoAP(["dog"])
    >>> found = Localization(path="a.jpg", size=(90, 90), scores={}, boxes=truth)
    >>> metric.update(found, Sample(path="a.jpg", labels=["dog"], boxes=truth))
    >>> [(metric.name, round(metric.value, 3)) for metric in metric.compute()][:3]
    [('COCO AP', 1.0), ('COCO AP50', 1.0), ('COCO AP75', 1.0)]
    """

    def __init__(self, classes: Sequence[str], *, report_classes: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(classes, report_classes=report_classes, **settings)
        for name in ("found", "true"):
            self._add_rows(f"{name}_xyxy", 4, dtype=torch.float32)

    def update(self, found: Localization, sample: Sample) -> None:
        """Take in the boxes of one image.

        Raises:
            UserError: the sample has no annotated boxes, or one of them is of none of the classes.
        """
        ground_truth = annotated_boxes(sample)
        self._mean.require(ground_truth.labels, sample.path)
        boxes = found.boxes.select([i for i, label in enumerate(found.boxes.labels) if label in self._mean])
        self._append("keys", [image_key(sample.path)])
        for name, kept in (("found", boxes), ("true", ground_truth)):
            self._keep(name, kept.labels, kept.scores, kept.difficult & (name == "true"))
            self._append(f"{name}_xyxy", kept.xyxy)

    def _outlines(self, name: str) -> list[dict[str, Any]]:
        return [box_outline(xyxy) for xyxy in self._rows(f"{name}_xyxy").tolist()]


NAMES = ("AP", "AP50", "AP75", "AR1", "AR10", "AR100")


def _numbers(found: CocoTables) -> list[Doubles]:
    """COCO's six numbers of each class, (classes,) or, of a bootstrap, (classes, replicates)."""
    return [found.ap.mean(axis=1), found.ap[:, 0], found.ap[:, 5], *np.moveaxis(found.recall, 1, 0)]


def _tables(detections: Sequence[Boxes], ground_truth: Sequence[Boxes], classes: Sequence[str]) -> CocoTables:
    if len(detections) != len(ground_truth):
        raise UserError(
            f"detections of {len(detections)} images with true boxes of {len(ground_truth)}, expected as many"
        )
    if not ground_truth or not classes:
        return CocoTables(np.full((len(classes), len(IOU_THRESHOLDS)), np.nan), np.full((len(classes), 3), np.nan))
    return tables(box_evaluation(detections, ground_truth, classes))


def box_evaluation(detections: Sequence[Boxes], ground_truth: Sequence[Boxes], classes: Sequence[str]) -> Any:
    """COCOeval over boxes, a list entry an image."""
    numbers = {label: number for number, label in enumerate(classes, start=1)}
    found, truth = ([_box_objects(boxes, numbers) for boxes in images] for images in (detections, ground_truth))
    return evaluated(truth, found, len(classes), "bbox")


def _box_objects(boxes: Boxes, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "category_id": numbers[boxes.labels[i]],
            "score": float(boxes.scores[i]),
            "iscrowd": int(boxes.difficult[i]),
            **box_outline(xyxy),
        }
        for i, xyxy in enumerate(boxes.xyxy.tolist())
        if boxes.labels[i] in numbers
    ]
